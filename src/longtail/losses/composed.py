"""A source of class weights acts on a loss that is there already, whatever that loss is."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import nn

from longtail.checks import check_choice, check_range
from longtail.errors import LongtailError
from longtail.losses.reduction import Reduction
from longtail.losses.sources import Product, Shift, as_source
from longtail.losses.weighted import ClassWeightedLoss

__all__ = ["WeightForm", "class_weighted", "smooth_labels"]

WeightForm = Literal["weight", "logit"]
"""Whether class weights multiply the loss of a sample, or shift the logits of its class."""


def class_weighted(
    criterion: Any,
    source: Any,
    *,
    form: WeightForm = "weight",
    strength: float = 1.0,
    reduction: Reduction | None = None,
) -> ClassWeightedLoss:
    """Let class weights act on a loss, on top of what it does itself.

    Weights of 1 change nothing, bit for bit, but for torch's own cross-entropy, which sums in another order.

    Args:
        criterion: A `ClassWeightedLoss` of any kind, which is changed and returned, or a plain
            ``nn.CrossEntropyLoss``, which is replaced.
        source: Class weights ``[C]``, or an object whose ``weight`` they are (`ClassDifficulty`).
        form: ``"weight"``: they multiply the loss of a sample, and the class weights that the criterion has.
            ``"logit"``: the criterion sees ``z_c - strength * log(w_c / max(w))``
            (`longtail.functional.difficulty_shift`), before any adjustment of its own.
        strength: Of ``"logit"``, at least 0.
        reduction: In place of the criterion's; None: keep that.

    Raises:
        LongtailError: another criterion, weights that are not finite numbers >= 0, or an option outside its range.
    """
    check_choice(form, "form", get_args(WeightForm))
    check_range(strength, "strength", 0, float("inf"), open_high=True)
    if type(criterion) is nn.CrossEntropyLoss and criterion.weight is None and criterion.reduction == "mean":
        options = {"label_smoothing": criterion.label_smoothing, "ignore_index": criterion.ignore_index}
        criterion = ClassWeightedLoss(None, **options)
    if not isinstance(criterion, ClassWeightedLoss):
        raise LongtailError(f"the loss {type(criterion).__name__} takes no class weights")
    source = as_source(source)
    if reduction is not None:
        check_choice(reduction, "reduction", get_args(Reduction))
        criterion.reduction = reduction
    if form == "logit":
        criterion.set_shift(Shift(source, strength))
    else:
        own = criterion.source
        criterion.set_weight(source if own is None else Product(own, source))
    return criterion


def smooth_labels(criterion: Any, share: float) -> Any:
    """Smooth the labels that a loss sees: all classes together get a share of each target.

    Args:
        criterion: A `ClassWeightedLoss` of any kind or an ``nn.CrossEntropyLoss``, which is changed and returned.
        share: In [0, 1).

    Raises:
        LongtailError: another criterion, one that tells one true class from the others (seesaw, equalisation), or a
            share outside its range.
    """
    check_range(share, "label_smoothing", 0, 1, open_high=True)
    if type(criterion) is nn.CrossEntropyLoss:
        criterion.label_smoothing = share
    elif isinstance(criterion, ClassWeightedLoss):
        criterion.set_label_smoothing(share)
    elif share:
        raise LongtailError(f"the loss ({getattr(criterion, '__name__', type(criterion).__name__)}) smooths no labels")
    return criterion
