"""Focal loss as a module."""

from __future__ import annotations

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
