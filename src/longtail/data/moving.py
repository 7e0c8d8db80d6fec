"""`moving-digits`: a handwritten digit that moves in one of twelve ways; only the motion tells the class.

Where a digit is, how it is turned and how large it is at one moment is uniformly distributed for every class: the
picture is a torus, so that what leaves it on one side comes back on the other, the angle is a circle, and a size that
grows beyond the largest begins again at the smallest. Each clip starts anywhere on these, so a single frame says
nothing about the class, exactly, and neither does the digit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from longtail.data.arrays import read_digits
from longtail.data.base import Split
from longtail.data.counts import long_tail_counts
from longtail.errors import LongtailError

__all__ = ["WAYS", "read_moving", "read_moving_digits"]

WAYS = (
    "move left", "turn left", "move up", "grow", "circle left", "move right",
    "sway", "move down", "turn right", "shrink", "bob", "circle right",
)  # fmt: skip
"""Opposites are far apart: the long tail, in this order, gives one of them many clips and the other few."""
MOST = 400
"""Training clips of the first class."""
HELD_OUT = {"val": 30, "test": 60}
"""Clips of each class."""
SHARES = {"train": (0.0, 0.6), "val": (0.6, 0.75), "test": (0.75, 1.0)}
"""Each split has handwritten digits of its own."""
SIDE, MOMENTS = 28, 10
SMALLEST, LARGEST = 1.0, 2.0
"""Times the digits' 8 pixels."""


def read_moving(
    path: None, *, imbalance: float, imbalance_kind: str, data_seed: int, frames: int
) -> tuple[dict[str, Split], list[str], list[str]]:
    """The set with its long tail, as the catalogue's readers return it."""
    if frames != MOMENTS:
        raise LongtailError(f"moving-digits has clips of {MOMENTS} frames, not {frames}: leave out --frames")
    counts = [max(1, n) for n in long_tail_counts(MOST, len(WAYS), imbalance=imbalance, kind=imbalance_kind)]
    return read_moving_digits(counts, seed=data_seed), list(WAYS), []


def read_moving_digits(counts: Sequence[int], *, seed: int = 0) -> dict[str, Split]:
    """A training split and balanced held-out splits.

    Args:
        counts: Training clips of each of the twelve classes.
        seed: A clip is a function of it, of the split, of the class and of its number in the class.

    Returns:
        For each split uint8 ``[N, T, 1, S, S]`` and the class of each clip, an index into `WAYS`.
    """
    digits = read_digits().images
    assert isinstance(digits, Tensor)
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(digits)))
    splits = {}
    for number, (split, share) in enumerate(SHARES.items()):
        first, last = (int(end * len(digits)) for end in share)
        pool = digits[order[first:last], 0]
        own = counts if split == "train" else [HELD_OUT[split]] * len(WAYS)
        clips = [_clips(way, n, pool, (seed, number, c)) for c, (way, n) in enumerate(zip(WAYS, own, strict=True))]
        splits[split] = Split(torch.cat(clips), torch.arange(len(WAYS)).repeat_interleave(torch.tensor(own)))
    return splits


def _clips(way: str, count: int, pool: Tensor, seed: Sequence[int]) -> Tensor:
    # One row a clip, so that more clips leave the first ones as they are.
    u = torch.from_numpy(np.random.RandomState((*seed, 0)).uniform(size=(count, 10)))
    digit = pool[_chosen(u, len(pool))]
    x, y = u[:, 1:2] * SIDE, u[:, 2:3] * SIDE
    angle, size = u[:, 3:4] * 2 * math.pi, u[:, 4:5]
    time = torch.arange(MOMENTS, dtype=torch.float64)
    x, y, angle, size = _moved(way, time, (x, y, angle, size), *u[:, 5:8].split(1, dim=1))
    scale = SMALLEST * (LARGEST / SMALLEST) ** size
    frames = _drawn(digit, x, y, angle, scale)
    dark, contrast = 0.3 * u[:, 8].view(-1, 1, 1, 1), 0.3 + 0.4 * u[:, 9].view(-1, 1, 1, 1)
    noise = torch.from_numpy(np.random.RandomState((*seed, 1)).normal(scale=0.03, size=frames.shape))
    return ((dark + contrast * frames + noise) * 255).round_().clamp_(0, 255).byte().unsqueeze(2)


def _chosen(u: Tensor, size: int) -> Tensor:
    """Which of ``size`` digits each clip shows."""
    return (u[:, 0] * size).long()


def _moved(
    way: str, time: Tensor, start: tuple[Tensor, ...], speed: Tensor, reach: Tensor, phase: Tensor
) -> tuple[Tensor, ...]:
    """Position, angle and size at each ``time``, ``[N, T]``, from those at the start, ``[N, 1]``."""
    kind, _, direction = way.partition(" ")
    sign = -1 if direction in ("left", "up") or kind == "shrink" else 1
    walked = sign * (0.8 + 2 * speed) * time  # pixels
    swing, radius = 2 * math.pi * phase + sign * (0.4 + 0.5 * speed) * time, 3 + 4 * reach
    x, y, angle, size = (value + torch.zeros_like(time) for value in start)
    if way in ("move left", "move right"):
        x = x + walked
    elif kind == "move":
        y = y + walked
    elif kind == "turn":
        angle = angle + sign * (0.12 + 0.3 * speed) * time
    elif kind in ("grow", "shrink"):
        size = size + sign * (0.05 + 0.12 * speed) * time
    if kind in ("sway", "circle"):
        x = x + radius * swing.cos()
    if kind in ("bob", "circle"):
        y = y + radius * swing.sin()
    return x, y, angle, size % 1


def _drawn(digit: Tensor, x: Tensor, y: Tensor, angle: Tensor, scale: Tensor) -> Tensor:
    """Each digit ``[N, 8, 8]`` at its places, ``[N, T]`` each, on a torus: ``[N, T, S, S]`` in [0, 1]."""
    place = torch.arange(SIDE, dtype=torch.float64)
    right = (place - x.unsqueeze(-1) + SIDE / 2) % SIDE - SIDE / 2  # from the digit's centre, the short way round
    down = (place - y.unsqueeze(-1) + SIDE / 2) % SIDE - SIDE / 2
    right, down = right.unsqueeze(-2), down.unsqueeze(-1)
    cos, sin = ((f(angle) / scale / 4)[..., None, None] for f in (torch.cos, torch.sin))  # 4: half a digit
    grid = torch.stack([right * cos + down * sin, down * cos - right * sin], dim=-1)
    clips = digit.double().div(255).unsqueeze(1)
    drawn = F.grid_sample(clips, grid.flatten(1, 2), mode="bilinear", padding_mode="zeros", align_corners=False)
    return drawn.view(*x.shape, SIDE, SIDE)
