"""Counting predictions: right answers of each class, scores of a confusion matrix, top-k hits."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.checks import check_labels, class_indices, extremes
from longtail.errors import LongtailError

__all__ = ["answers", "correct_counts", "per_class_scores", "predicted_classes", "top_k_hits"]

IGNORE_HINT = " (ignore_index=... leaves out targets of one value)"


def counted_labels(
    target: Tensor, num_classes: int, *, values: bool, ignore_index: int
) -> tuple[Tensor, Tensor | None]:
    """Targets as int64, checked where ``values`` may be read, and which of them count.

    Returns:
        Labels of the shape of ``target``, 0 where they are ignored; bool of that shape, None where all count.
    """
    label = class_indices(target)
    found = extremes(label) if values else None
    if found is not None and found[0] >= 0 and found[1] < num_classes and not found[0] <= ignore_index <= found[1]:
        return label, None
    counts = label != ignore_index
    label = label.masked_fill(~counts, 0)
    if values:
        check_labels(label, num_classes, hint=IGNORE_HINT)
    return label, counts


def predicted_classes(
    prediction: Tensor, target: Tensor, *, num_classes: int, values: bool = True, ignore_index: int = -100
) -> Tensor:
    """Class indices from logits or indices, checked against the targets.

    Args:
        prediction: Logits ``[B, C]`` (dense: ``[B, C, d1, ...]``), or class indices of the shape of ``target``.
        target: Class indices of any integer type, ``[B]`` (dense: ``[B, d1, ...]``).
        num_classes: Number of classes.
        values: Check the values too, for which a GPU must be waited for; False: only shapes and types.
        ignore_index: Targets with this value may stand beside anything.

    Returns:
        Class indices of the shape of ``target``.

    Raises:
        LongtailError: shapes or types that do not fit, another label outside [0, C), or NaN among the logits.
    """
    counts = counted_labels(target, num_classes, values=values, ignore_index=ignore_index)[1]
    return _predicted(prediction, target, counts, num_classes=num_classes, values=values)


def _predicted(prediction: Tensor, target: Tensor, counts: Tensor | None, *, num_classes: int, values: bool) -> Tensor:
    if not isinstance(prediction, Tensor):
        raise LongtailError(f"predictions must be a tensor of logits or class indices, not {type(prediction).__name__}")
    shape = target.shape
    if prediction.shape == shape and not prediction.is_floating_point():
        return prediction
    if prediction.shape != (*shape[:1], num_classes, *shape[1:]):
        raise LongtailError(
            f"predictions of shape {list(prediction.shape)} and type {str(prediction.dtype).removeprefix('torch.')} "
            f"do not fit targets of shape {list(shape)}: give logits [B, {num_classes}] or integer class indices [B]"
        )
    value, index = prediction.detach().max(1)
    if values and prediction.is_floating_point():
        broken = value.isnan()  # max is NaN wherever a logit is
        if counts is not None:
            broken &= counts.to(broken.device)
        if bool(broken.any()):
            raise LongtailError(
                f"{int(broken.sum())} of {value.numel()} predictions have NaN logits: the model has diverged "
                "(lower the learning rate) or its input is broken"
            )
    return index


def answers(
    prediction: Tensor, target: Tensor, *, num_classes: int, check: bool = True, ignore_index: int = -100
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What is to be counted of one batch.

    Args:
        prediction, target, num_classes, ignore_index: As in `predicted_classes`.
        check: Look for labels out of range and for NaN, for which a GPU must be waited for; False: only for such labels
            on the CPU.

    Returns:
        Predicted classes and labels (0 where ignored), int64 ``[B]``, and which of them count, bool ``[B]`` or None for
        all; on the device of ``prediction``.
    """
    values = check or (isinstance(target, Tensor) and target.device.type == "cpu")
    label, counts = counted_labels(target, num_classes, values=values, ignore_index=ignore_index)
    predicted = _predicted(prediction, target, counts, num_classes=num_classes, values=check)
    if label.device != predicted.device:
        label, counts = label.to(predicted.device), None if counts is None else counts.to(predicted.device)
    if label.ndim != 1:
        predicted, label, counts = predicted.flatten(), label.flatten(), None if counts is None else counts.flatten()
    return predicted.to(torch.int64), label, counts


def correct_counts(prediction: Tensor, target: Tensor, *, num_classes: int, ignore_index: int = -100) -> Tensor:
    """Right answers and samples of each class: m_c and M_c of Eq. 1.

    Args:
        prediction: Logits ``[B, C]`` or class indices ``[B]``; an index that is no class (such as a detector's
            background) is a wrong answer.
        target: Class indices of any integer type, ``[B]``.
        num_classes: Number of classes.
        ignore_index: Targets with this value are not counted.

    Returns:
        int64 ``[2, C]``: right answers, samples.

    Raises:
        LongtailError: see `predicted_classes`.
    """
    predicted, label, counted = answers(prediction, target, num_classes=num_classes, ignore_index=ignore_index)
    if counted is not None:
        predicted, label = predicted[counted], label[counted]
    right = label[predicted == label]
    return torch.stack([torch.bincount(labels, minlength=num_classes) for labels in (right, label)])


def top_k_hits(logits: Tensor, target: Tensor, *, k: int) -> Tensor:
    """Whether the true class is among the k largest logits; with fewer than k classes it always is.

    Args:
        logits: ``[B, C]``.
        target: Class indices of any integer type, ``[B]``; one that is no class is never hit.
        k: At least 1.

    Returns:
        bool ``[B]``.
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (best == class_indices(target).to(best.device).unsqueeze(1)).any(1)


def confusion_cells(confusion: Tensor) -> Tensor:
    """The cells of a confusion matrix that are not 0.

    Args:
        confusion: Counts ``[C, C]``, dense or sparse.

    Returns:
        ``[3, n]`` on the CPU: true class, predicted class and count of each cell, row by row.
    """
    confusion = confusion.to("cpu")
    sparse = (confusion if confusion.is_sparse else confusion.to_sparse()).coalesce()
    return torch.cat([sparse.indices(), sparse.values().unsqueeze(0)])


def per_class_scores(confusion: Tensor) -> dict[str, Tensor]:
    """Recall, precision and F1 of each class from a confusion matrix.

    A class that is never predicted has precision 0. A class without samples has NaN in all three, so that
    ``nanmean`` gives the macro average over the classes that the split has.

    Args:
        confusion: Counts ``[C, C]``, dense or sparse: rows are true classes, columns predicted ones.

    Returns:
        ``{"recall", "precision", "f1"}``, each float64 ``[C]``; recall is the accuracy of the class.
    """
    rows, columns, count = confusion_cells(confusion)
    nothing, hit = torch.zeros(len(confusion), dtype=torch.float64), rows == columns
    right = nothing.index_add(0, rows[hit].long(), count[hit].double())
    true, predicted = (nothing.index_add(0, place.long(), count.double()) for place in (rows, columns))
    present = true > 0
    scores = {
        "recall": right / true,
        "precision": right / predicted.clamp(min=1),
        "f1": 2 * right / (true + predicted),
    }
    return {name: score.where(present, torch.nan) for name, score in scores.items()}
