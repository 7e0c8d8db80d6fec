"""Counting predictions: right answers of each class, confusion matrix, top-k hits."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.checks import check_labels
from longtail.errors import LongtailError

__all__ = ["correct_counts", "per_class_scores", "predicted_classes", "top_k_hits"]


def predicted_classes(prediction: Tensor, target: Tensor, *, num_classes: int, values: bool = True) -> Tensor:
    """Class indices from logits or indices, checked against the targets.

    Args:
        prediction: Logits ``[B, C]`` (dense: ``[B, C, d1, ...]``), or class indices of the shape of ``target``.
        target: Class indices ``[B]`` (dense: ``[B, d1, ...]``).
        num_classes: C.
        values: Check the values too, for which a GPU must be waited for; False: only shapes and types.

    Returns:
        Class indices of the shape of ``target``.

    Raises:
        LongtailError: shapes or types that do not fit, a label outside [0, C), or NaN among the logits.
    """
    check_labels(target, num_classes, values=values)
    if not isinstance(prediction, Tensor):
        raise LongtailError(f"predictions must be a tensor of logits or class indices, not {type(prediction).__name__}")
    shape = tuple(target.shape)
    if prediction.shape == target.shape and not prediction.is_floating_point():
        return prediction
    if tuple(prediction.shape) != (*shape[:1], num_classes, *shape[1:]):
        raise LongtailError(
            f"predictions of shape {list(prediction.shape)} and type {str(prediction.dtype).removeprefix('torch.')} "
            f"do not fit targets of shape {list(shape)}: give logits [B, {num_classes}] or integer class indices [B]"
        )
    value, index = prediction.max(1)
    if values and prediction.is_floating_point() and bool(value.isnan().any()):  # max is NaN wherever a logit is
        raise LongtailError(
            f"{int(value.isnan().sum())} of {value.numel()} predictions have NaN logits: the model has diverged "
            "(lower the learning rate) or its input is broken"
        )
    return index


def correct_counts(prediction: Tensor, target: Tensor, *, num_classes: int) -> Tensor:
    """Right answers and samples of each class: m_c and M_c of Eq. 1.

    Args:
        prediction: Logits ``[B, C]`` or class indices ``[B]``; an index that is no class (such as a detector's
            background) is a wrong answer.
        target: Class indices ``[B]``.
        num_classes: C.

    Returns:
        int64 ``[2, C]``: right answers, samples.

    Raises:
        LongtailError: see `predicted_classes`.
    """
    predicted = predicted_classes(prediction, target, num_classes=num_classes)
    target = target.to(predicted.device, torch.int64)
    right = target[predicted == target]
    return torch.stack([torch.bincount(labels.flatten(), minlength=num_classes) for labels in (right, target)])


def top_k_hits(logits: Tensor, target: Tensor, *, k: int) -> Tensor:
    """Whether the true class is among the k largest logits; with fewer than k classes it always is.

    Args:
        logits: ``[B, C]``.
        target: Class indices ``[B]``.
        k: At least 1.

    Returns:
        bool ``[B]``.
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (best == target.to(best.device).unsqueeze(1)).any(1)


def per_class_scores(confusion: Tensor) -> dict[str, Tensor]:
    """Recall, precision and F1 of each class from a confusion matrix.

    A class that is never predicted has precision 0. A class without samples has NaN in all three, so that
    ``nanmean`` gives the macro average over the classes that the split has.

    Args:
        confusion: Counts ``[C, C]``: rows are true classes, columns predicted ones.

    Returns:
        ``{"recall", "precision", "f1"}``, each float64 ``[C]``; recall is the accuracy of the class.
    """
    confusion = confusion.to("cpu")
    right = confusion.diagonal().double()
    true, predicted = confusion.sum(1).double(), confusion.sum(0).double()
    present = true > 0
    scores = {
        "recall": right / true,
        "precision": right / predicted.clamp(min=1),
        "f1": 2 * right / (true + predicted),
    }
    return {name: score.where(present, torch.nan) for name, score in scores.items()}
