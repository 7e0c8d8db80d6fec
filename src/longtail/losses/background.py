"""A loss of the C foreground classes, made one of C + 1: boxes have a background too."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor

from longtail.errors import LongtailError
from longtail.losses.sources import Padded, weight_of
from longtail.losses.weighted import ClassWeightedLoss

__all__ = ["with_background"]

Criterion = Callable[[Tensor, Tensor], Tensor]


def with_background(criterion: Criterion, num_classes: int) -> Criterion:
    """Let class weights and shifts of logits that know the foreground classes only take the background for what it is.

    The background, label 0, gets weight 1 and no shift. Other criteria, and those that know C + 1 classes, stay as they
    are.

    Args:
        criterion: ``(logits [N, C + 1], labels [N]) -> scalar``; it is not changed.
        num_classes: Number of classes.

    Raises:
        LongtailError: weights for another number of classes.
    """
    if not isinstance(criterion, ClassWeightedLoss):
        return criterion
    padded = copy.copy(criterion)
    for source, neutral, take in (
        (criterion.source, 1.0, padded.set_weight),
        (criterion.shift, 0.0, padded.set_shift),
    ):
        given = num_classes + 1 if source is None else len(weight_of(source))
        if given == num_classes:
            take(Padded(source, neutral))
        elif given != num_classes + 1:
            raise LongtailError(f"{given} class weights for a detector of {num_classes} classes and the background")
    return padded
