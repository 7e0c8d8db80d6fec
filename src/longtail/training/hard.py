"""Hard instances: how many training samples of each class a loss that weighs samples counts for much (Figure 4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longtail.difficulty import all_reduce_sum

__all__ = ["HardInstances"]

THRESHOLD = 0.8
"""A sample whose weight is above this is hard (Section 4.1.6)."""


class HardInstances:
    """Counts the hard samples of one epoch, by class, as the batches see them.

    Args:
        criterion: A loss with ``instance_weight(logits, target) -> [B]``, weights in [0, 1]; with any other, nothing
            is counted.
        num_classes: Number of classes.
    """

    def __init__(self, criterion: Any, num_classes: int) -> None:
        self.weigh = getattr(criterion, "instance_weight", None)
        self.counts = torch.zeros(2, num_classes, dtype=torch.int64)  # hard, all

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """One batch of this process, as it was before the step: ``[B, C]`` and ``[B]``."""
        if self.weigh is not None:
            hard = self.weigh(logits.detach(), target) > THRESHOLD
            self.counts = self.counts.to(target.device)
            self.counts.index_add_(1, target, torch.stack([hard, torch.ones_like(hard)]).long())

    def rows(self, epoch: int) -> list[dict[str, int]]:
        """Rows of ``hard.csv`` over all processes, each of which must call this; epochs count from 0 here."""
        if self.weigh is None:
            return []
        hard, seen = all_reduce_sum(self.counts).tolist()
        return [{"epoch": epoch + 1, "class": c, "seen": seen[c], "hard": hard[c]} for c in range(len(seen))]
