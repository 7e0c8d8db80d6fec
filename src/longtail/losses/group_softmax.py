"""Balanced group softmax (BAGS): classes compete only with classes about as frequent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.checks import check_range, class_indices, counts_as_float64, full_precision
from longtail.errors import LongtailError

__all__ = ["GroupSoftmaxLoss"]


class GroupSoftmaxLoss(nn.Module):
    """Cross-entropy within groups of classes of similar frequency, for boxes with background (Li et al., CVPR 2020).

    The foreground classes are put into groups by their number of training instances. Every group is a softmax of its
    own with one logit more, for "others". Group 0 holds the background, and its others are the foreground. A group sees
    the boxes of its classes and ``beta`` times as many others, drawn at random; a group without a box of its own in the
    batch has no loss. Each group's loss is a mean over the boxes that it sees, and the groups' losses are added.

    Logits ``[N, C + 1 + G]``: the background, the C classes in their order, and the others of the G groups. Without
    ``bins`` there is a single group of everything, no others, and the loss is the plain softmax's.

    Args:
        instance_counts: Training instances of each foreground class, ``[C]``.
        bins: Bounds of the groups: fewer than the first, from the first to below the second, and so on.
        beta: Others for each box of the group's own, >= 0.
    """

    group: Tensor
    columns: Tensor  # of the logits of each group, side by side, that of its others last
    places: Tensor  # [G, C + 1], where a label stands among them

    def __init__(
        self, instance_counts: Tensor | Sequence[int], *, bins: Sequence[float] = (10, 100, 1000), beta: float = 8.0
    ) -> None:
        super().__init__()
        check_range(beta, "beta", 0, math.inf, open_high=True)
        if any(low >= high for low, high in pairwise(bins)):
            raise LongtailError(f"bins are {list(bins)}: they must increase")
        counts = counts_as_float64(instance_counts)
        self.beta, self.num_classes = beta, len(counts)
        bounds = torch.tensor(list(bins), dtype=torch.float64)
        found = torch.bucketize(counts, bounds, right=True).unique(return_inverse=True)[1] + 1  # empty groups vanish
        group = F.pad(found, (1, 0)) if len(bounds) else torch.zeros(len(counts) + 1, dtype=torch.int64)
        self.num_groups = int(group.max()) + 1 if int(group.max()) else 0
        """G, the background's included; 0 for the plain softmax, which has no others."""
        members = [(group == g).nonzero().flatten() for g in range(self.num_groups)]
        columns = [F.pad(own, (0, 1), value=self.num_classes + 1 + g) for g, own in enumerate(members)]
        places = torch.empty(self.num_groups, len(group), dtype=torch.int64)
        for g, own in enumerate(members):
            places[g] = len(own)  # others
            places[g, own] = torch.arange(len(own))
        self._sizes = [len(own) for own in columns]
        self.register_buffer("group", group, persistent=False)
        self.register_buffer("columns", torch.cat(columns) if columns else group[:0], persistent=False)
        self.register_buffer("places", places, persistent=False)

    @property
    def num_logits(self) -> int:
        """Logits that the classifier must give, ``C + 1 + G``."""
        return self.num_classes + 1 + self.num_groups

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of the boxes of a batch.

        Args:
            logits: ``[N, C + 1 + G]``.
            labels: ``[N]``, 0 for the background.
        """
        logits = full_precision(logits)
        self._check(logits)
        labels = class_indices(labels)
        if not self.num_groups:
            return F.cross_entropy(logits, labels)
        group_of, places = self.group.to(logits.device), self.places.to(logits.device)
        own_group, total = group_of[labels], logits.sum() * 0
        for group, columns in enumerate(self.columns.to(logits.device).split(self._sizes)):
            own, place = own_group == group, places[group]
            kept = own if group else torch.ones_like(own)  # all boxes tell background from foreground
            if group:
                key = torch.rand(labels.shape, device=logits.device).masked_fill(own, 2.0)
                rank = key.argsort().argsort()
                kept = own | (rank < (self.beta * own.sum()).round())
            weight = (kept & own.any()) if group else kept
            loss = F.cross_entropy(logits[:, columns], place[labels], reduction="none")
            total = total + (loss * weight).sum() / weight.sum().clamp(min=1)
        return total

    def scores(self, logits: Tensor) -> Tensor:
        """Scores ``[N, C + 1]`` in [0, 1], background first: P(foreground) times the softmax within the group."""
        logits = full_precision(logits)
        self._check(logits)
        if not self.num_groups:
            return logits.softmax(1)
        scores = logits.new_zeros(len(logits), self.num_classes + 1)
        first, *rest = self.columns.to(logits.device).split(self._sizes)
        background, foreground = logits[:, first].softmax(1).unbind(1)
        scores[:, 0] = background
        for columns in rest:
            scores[:, columns[:-1]] = logits[:, columns].softmax(1)[:, :-1] * foreground[:, None]
        return scores

    def _check(self, logits: Tensor) -> None:
        if logits.ndim != 2 or logits.shape[1] != self.num_logits:
            raise LongtailError(
                f"logits have shape {list(logits.shape)}: {self.num_classes} classes in {self.num_groups} groups "
                f"(the background is one) take [N, {self.num_logits}]"
            )
