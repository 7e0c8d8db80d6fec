"""What it takes to go on within an epoch, beside the model and its optimiser: plain values, of all processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longtail.difficulty import ClassDifficulty, all_reduce_sum
from longtail.training.ending import random_state, set_random_state
from longtail.training.hard import HardInstances

__all__ = ["go_on", "inside"]


def inside(step: int, total: Tensor, hard: HardInstances, *, world: int) -> dict[str, Any]:
    """Where an epoch is left; every process must call this.

    Args:
        step: Batches that are done.
        total: Sum of the losses of this process's samples.
        hard: What this process counted.
        world: Number of processes.
    """
    random: list[Any] = [random_state()]
    if world > 1:
        random *= world
        torch.distributed.all_gather_object(random, random[0])
    counted = {"total": all_reduce_sum(total.clone()).cpu(), "hard": all_reduce_sum(hard.counts).cpu()}
    return {"step": step, "random": random} | counted


def go_on(
    inside: dict[str, Any], total: Tensor, hard: HardInstances, learner: ClassDifficulty | None, *, rank: int
) -> Tensor:
    """Take up what `inside` told: what was counted by all stands in one place, the first process.

    Args:
        inside: Where the epoch was left.
        total: A sum of losses that is 0.
        hard: Fresh.
        learner: A difficulty that is measured on the training batches, as the checkpoint holds it.
        rank: Number of this process.

    Returns:
        The sum of the losses to go on with.
    """
    if rank == 0:
        total, hard.counts = inside["total"].to(total.device), inside["hard"].to(hard.counts)
    elif learner is not None:
        learner.set_extra_state(torch.zeros_like(learner.get_extra_state()))
    if rank < len(inside["random"]):
        set_random_state(inside["random"][rank])
    return total
