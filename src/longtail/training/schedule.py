"""Learning rate and stages as plain functions of the epoch: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from collections.abc import Sequence

from longtail.config import RunConfig
from longtail.methods import Stage

__all__ = ["first_drop", "learning_rate", "schedule_span", "stage_bounds"]


def learning_rate(config: RunConfig, progress: float, *, span: int | None = None) -> float:
    """Learning rate at a point of training.

    Args:
        config: A resolved configuration.
        progress: Epochs done, with fraction: 0.5 is the middle of the first epoch.
        span: Epochs that the schedule covers; default: the whole run. Warm-up and milestones scale with it.
    """
    from longtail.tasks.find import task_class  # a loop of one's own has no task, and torch alone

    assert config.lr and config.epochs and config.warmup_epochs is not None
    span = span or config.epochs
    stretch = span / config.epochs
    warmup = config.warmup_epochs * stretch
    if progress < warmup and task_class(config.task).warms_up_by_step:
        return config.lr * max(progress / warmup, 1e-3)
    if progress < warmup:
        return config.lr * (int(progress / stretch) + 1) / config.warmup_epochs
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (span - warmup))))
    if config.schedule == "multistep":
        assert config.milestones is not None and config.gamma is not None
        return config.lr * config.gamma ** sum(progress >= m * stretch for m in config.milestones)
    return config.lr


def first_drop(config: RunConfig) -> float:
    """Share of the training after which the learning rate first falls by a step; 0: it never does."""
    assert config.epochs and config.gamma is not None
    if config.schedule != "multistep" or config.gamma >= 1:
        return 0.0
    return min((m for m in config.milestones or () if m < config.epochs), default=0) / config.epochs


def stage_bounds(stages: Sequence[Stage], epochs: int) -> list[tuple[Stage, int, int]]:
    """Each stage with its first and its last-plus-one epoch, counted from 0; every stage gets at least one epoch
    (with fewer epochs than stages, the first ones get none)."""
    stages = stages or (Stage(name="train"),)
    total, share, start, bounds = sum(s.epochs for s in stages), 0.0, 0, []
    for i, stage in enumerate(stages):
        share += stage.epochs
        later = len(stages) - i - 1
        end = epochs if later == 0 else max(start, min(max(start + 1, round(epochs * share / total)), epochs - later))
        bounds.append((stage, start, end))
        start = end
    return bounds


def schedule_span(bounds: Sequence[tuple[Stage, int, int]], first: int) -> tuple[int, int]:
    """First and last-plus-one epoch of the learning-rate schedule that epoch ``first`` belongs to: from one stage that
    restarts to the next."""
    starts = {0, *(start for stage, start, _ in bounds if stage.restart)}
    end = bounds[-1][2]
    return max(s for s in starts if s <= first), min((s for s in starts if s > first), default=end)
