"""Focal loss as a module."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.checks import class_indices, full_precision
from longtail.functional.targets import expected, is_soft
from longtail.losses.weighted import ClassWeightedLoss, Reduction

__all__ = ["FocalLoss"]


class FocalLoss(ClassWeightedLoss):
    """Focal loss, softmax form (Eq. 13), without class weights; see `longtail.functional.focal_loss`.

    Args:
        gamma: Focusing parameter >= 0; 0 is cross-entropy.
        reduction: As in `ClassWeightedLoss`.
        ignore_index: Targets with this value contribute nothing.
    """

    def __init__(self, *, gamma: float = 1.0, reduction: Reduction = "mean", ignore_index: int = -100) -> None:
        super().__init__(None, base="focal", reduction=reduction, gamma=gamma, ignore_index=ignore_index)

    def instance_weight(self, prediction: Tensor, target: Tensor) -> Tensor:
        """``(1 - p) ** gamma`` of each sample: what its cross-entropy counts, in [0, 1]; 0 for ignored ones.

        Class weights, where the loss has some, do not enter.

        Args:
            prediction: Logits ``[N, C]`` or dense ``[N, C, d1, ...]``.
            target: Class indices ``[N]`` or ``[N, d1, ...]``, or soft targets of the shape of the logits.
        """
        if is_soft(target, prediction):
            miss = 1 - full_precision(prediction).softmax(1)
            return expected(miss ** self._options["gamma"], target)
        label = class_indices(target)
        loss = F.cross_entropy(full_precision(prediction), label, reduction="none", ignore_index=self.ignore_index)
        weight = (-torch.expm1(-loss)).clamp(min=0) ** self._options["gamma"]
        return torch.where(label == self.ignore_index, 0, weight)
