"""Seesaw loss for boxes, with the background told apart on its own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.checks import class_indices, full_precision
from longtail.errors import LongtailError
from longtail.losses.seesaw import SeesawLoss

__all__ = ["BoxSeesawLoss"]


class BoxSeesawLoss(nn.Module):
    """Seesaw loss of the foreground boxes, and a cross-entropy that tells foreground from background.

    Logits ``[N, C + 2]``: the background, the C classes, and the foreground. Both losses are means over all N boxes,
    and are added (Wang et al., CVPR 2021, section 3.3 and their code). The counts of the classes are learned on the way
    and are part of the ``state_dict``; see `SeesawLoss`.

    Args:
        num_classes: Number of classes.
        **options: ``p``, ``q`` and ``eps`` of `SeesawLoss`.
    """

    def __init__(self, num_classes: int, **options: Any) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.classes = SeesawLoss(num_classes, reduction="sum", **options)

    @property
    def num_logits(self) -> int:
        """Logits that the classifier must give, ``C + 2``."""
        return self.num_classes + 2

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits ``[N, C + 2]`` and labels ``[N]``, 0 for the background."""
        logits = full_precision(logits)
        self._check(logits)
        labels = class_indices(labels)
        found = labels > 0
        total = self.classes(logits[:, 1:-1], torch.where(found, labels - 1, self.classes.ignore_index))
        total = total + F.cross_entropy(logits[:, [0, -1]], found.long(), reduction="sum")
        return total / max(labels.shape[0], 1)

    def scores(self, logits: Tensor) -> Tensor:
        """Scores ``[N, C + 1]``, background first: P(foreground) times the softmax of the classes; they sum to 1."""
        logits = full_precision(logits)
        self._check(logits)
        background, foreground = logits[:, [0, -1]].softmax(1).split(1, dim=1)
        return torch.cat([background, foreground * logits[:, 1:-1].softmax(1)], dim=1)

    def _check(self, logits: Tensor) -> None:
        if logits.ndim != 2 or logits.shape[1] != self.num_logits:
            raise LongtailError(
                f"logits have shape {list(logits.shape)}: {self.num_classes} classes take C + 2 columns"
            )
