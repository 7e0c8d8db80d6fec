"""The colours of every figure: those of Okabe and Ito, which stay apart under every common colour-vision deficiency."""

from __future__ import annotations

__all__ = ["BLUE", "BRIGHT", "COLOURS", "GREEN", "ORANGE", "PURPLE", "SKY", "VERMILION", "YELLOW"]

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW = "#E69F00", "#56B4E9", "#F0E442"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, YELLOW)
BRIGHT = (ORANGE, SKY, YELLOW)
"""Text on these is black."""
