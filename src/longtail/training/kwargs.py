"""Hyperparameters as the command line gives them; see `longtail.kwargs`."""

from __future__ import annotations

from longtail.kwargs import parse_kwargs, parse_method

__all__ = ["parse_kwargs", "parse_method"]
