"""Measures of class performance, from sums over the samples that add up over batches and processes.

All sums are int64: they do not depend on the order of the samples, nor on how processes share them.

============= ============================================= ===============================================
measure       performance of class c                        sums of each class
============= ============================================= ===============================================
``recall``    accuracy of the class (Eq. 1)                 right answers, samples
``precision`` right answers among its predictions           right answers, samples, predictions
``f1``        harmonic mean of both                         the same
``soft``      mean probability of the true class            probabilities in units of 2^-24, samples
``loss``      ``exp(-mean cross-entropy)``                  cross-entropies (at most 100) likewise, samples
``ap``        average precision of c against all others     histograms of its probability: own samples, all
============= ============================================= ===============================================

``precision`` is 0 for a class that is never predicted. ``loss`` is the geometric mean of the true class's probability,
so one confident mistake weighs more than in ``soft``, the arithmetic mean. ``ap`` counts the log-odds of the class's
probability in 256 bins of 1/8 from -16 to 16: it is exactly scikit-learn's ``average_precision_score`` of the scores
rounded down to bins, which takes samples of one bin as tied. It depends on the class frequencies of the split.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from longtail.checks import check_choice, check_range, full_precision
from longtail.errors import LongtailError
from longtail.functional.counting import answers

__all__ = [
    "Measure",
    "add_class_sums",
    "class_performance",
    "class_sums",
    "shrinkage_strength",
    "shrunk_performance",
    "sums_shape",
]

Measure = Literal["recall", "precision", "f1", "soft", "loss", "ap"]
"""How well a class does."""

_UNIT = 2**24  # the precision of float32
_MAX_LOSS = 100.0
_BINS, _BINS_A_UNIT = 256, 8


def sums_shape(measure: Measure, num_classes: int) -> tuple[int, ...]:
    """Shape of the sums of a measure."""
    check_choice(measure, "measure", get_args(Measure))
    rows = {"precision": 3, "f1": 3}.get(measure, 2)
    return (rows, num_classes, _BINS) if measure == "ap" else (rows, num_classes)


def class_sums(
    prediction: Tensor,
    target: Tensor,
    *,
    num_classes: int,
    measure: Measure = "recall",
    check: bool = True,
    ignore_index: int = -100,
) -> Tensor:
    """What one batch adds to the sums of a measure.

    Args:
        prediction: Logits ``[B, C]`` or dense ``[B, C, d1, ...]``; for ``recall``, ``precision`` and ``f1`` also class
            indices ``[B]`` (an index that is no class, such as a detector's background, is a wrong answer).
        target: Class indices of any integer type, ``[B]``, dense ``[B, d1, ...]``.
        num_classes: Number of classes.
        measure: See above.
        check: Look for labels out of range and for NaN, for which a GPU must be waited for; False: only for such labels
            on the CPU.
        ignore_index: Targets with this value are not counted.

    Returns:
        int64 of the `sums_shape`, on the device of ``prediction``.

    Raises:
        LongtailError: shapes, types or (where checked) values that do not fit; class indices where logits are needed.
    """
    device = prediction.device if isinstance(prediction, Tensor) else None
    sums = torch.zeros(sums_shape(measure, num_classes), dtype=torch.int64, device=device)
    add_class_sums(sums, prediction, target, measure=measure, check=check, ignore_index=ignore_index)
    return sums


def add_class_sums(
    sums: Tensor,
    prediction: Tensor,
    target: Tensor,
    *,
    measure: Measure = "recall",
    check: bool = True,
    ignore_index: int = -100,
) -> None:
    """Add to ``sums``, in place, what `class_sums` says of one batch: its time does not depend on the classes.

    Raises:
        LongtailError: as `class_sums`; ``sums`` is as it was then.
    """
    num_classes = sums.shape[1]
    options: dict[str, Any] = {"num_classes": num_classes, "check": check, "ignore_index": ignore_index}
    if isinstance(prediction, Tensor) and prediction.device != sums.device:
        sums += class_sums(prediction, target, measure=measure, **options).to(sums.device)
        return
    predicted, label, counted = answers(prediction, target, **options)
    ones = torch.ones_like(label) if counted is None else counted.to(torch.int64)
    if measure in ("recall", "precision", "f1"):
        right, samples, *others = sums.unbind()
        hit = (predicted == label) if counted is None else (predicted == label) & counted
        right.index_add_(0, label, hit.to(torch.int64))
        samples.index_add_(0, label, ones)
        for predictions in others:
            known = (predicted >= 0) & (predicted < num_classes)
            predictions.index_add_(0, predicted.clamp(0, num_classes - 1), known * ones)
    elif prediction.shape == target.shape and not prediction.is_floating_point():
        raise LongtailError(f"measure {measure!r} needs logits [B, {num_classes}]: class indices hold no probability")
    else:
        _add_probabilities(sums, prediction.detach(), label, ones, measure)


def _add_probabilities(sums: Tensor, prediction: Tensor, label: Tensor, ones: Tensor, measure: Measure) -> None:
    """The sums of the measures that need logits."""
    num_classes = sums.shape[1]
    logits = full_precision(prediction).movedim(1, -1).reshape(-1, num_classes)
    log_p = logits.log_softmax(1).nan_to_num(nan=-math.inf, neginf=-math.inf)
    if measure == "ap":
        bins = (_log_odds(logits, log_p) * _BINS_A_UNIT).floor() + _BINS // 2
        bins = bins.nan_to_num(nan=0).clamp(0, _BINS - 1).to(torch.int64)
        cell = bins + torch.arange(num_classes, device=bins.device) * _BINS
        own = cell.gather(1, label.unsqueeze(1)).flatten()
        sums[0].view(-1).index_add_(0, own, ones)
        sums[1].view(-1).index_add_(0, cell.flatten(), ones.unsqueeze(1).expand_as(cell).flatten())
        return
    own = log_p.gather(1, label.unsqueeze(1)).flatten()
    value = own.exp() if measure == "soft" else (-own).clamp(max=_MAX_LOSS)
    sums[0].index_add_(0, label, (value * _UNIT).round().to(torch.int64) * ones)
    sums[1].index_add_(0, label, ones)


def _log_odds(logits: Tensor, log_p: Tensor) -> Tensor:
    """``log(p / (1 - p))``; of the largest p, near 1, by way of the others."""
    largest = logits.argmax(1, keepdim=True)
    rest = logits.scatter(1, largest, -math.inf).logsumexp(1, keepdim=True)
    log_odds = log_p - torch.log1p(-log_p.exp())
    return log_odds.scatter(1, largest, logits.gather(1, largest) - rest)


def class_performance(sums: Tensor, *, measure: Measure = "recall") -> tuple[Tensor, Tensor]:
    """Performance and number of samples of each class.

    Args:
        sums: Added up `class_sums`.
        measure: The same.

    Returns:
        Performance, float32 ``[C]`` in [0, 1], higher is better, NaN for a class without samples; samples, int64
        ``[C]``.
    """
    first, samples = sums[0], sums[1]
    if measure == "ap":
        samples = first.sum(1)
        right, all_ = (rows.cpu().double().flip(1) for rows in (first, sums[1]))  # the most likely come first
        precision = right.cumsum(1) / all_.cumsum(1).clamp(min=1)
        average = (right * precision).sum(1) / samples.cpu()
        return average.float().to(sums.device), samples
    if measure in ("precision", "f1"):
        count = sums[2].clamp(min=1) if measure == "precision" else (samples + sums[2]) / 2
        return (first.to(torch.float32) / count).where(samples > 0, torch.nan), samples
    value = first.to(torch.float32) / samples  # 0 / 0 is NaN: absent
    if measure == "soft":
        value = value / _UNIT
    if measure == "loss":
        value = (-value / _UNIT).exp()
    return value, samples


def shrinkage_strength(performance: Tensor, samples: Tensor) -> Tensor:
    """Strength of the Beta prior of the classes' accuracies, estimated by moments (Kleinman, JASA 1973).

    Accuracies ``A_c`` of ``n_c`` samples spread around the pooled accuracy m by chance and because the classes differ.
    With ``N = sum(n)``, the expectation of ``sum(n * (A - m) ** 2) / (m * (1 - m))`` is
    ``(C - 1) + rho * (N - sum(n ** 2) / N - (C - 1))``, which is solved for rho; the strength is ``1 / rho - 1``. For
    other measures than the accuracy, whose chance is smaller, the same formula shrinks more than needed.

    Args:
        performance: ``[C]`` in [0, 1]; classes without samples may hold anything.
        samples: n, ``[C]``.

    Returns:
        Scalar float64 on the CPU, 0 or more; infinite where the classes differ no more than by chance.
    """
    n, a = _present(performance, samples)
    total, spare = n.sum(), len(n) - 1
    mean = (n * a).sum() / total
    chance = mean * (1 - mean)
    room = total - n.square().sum() / total - spare
    if not bool((chance > 0) & (room > 0)):  # no class with a spread that could be told from chance
        return torch.full_like(total, torch.inf)
    rho = ((n * (a - mean).square()).sum() / chance - spare) / room
    return 1 / rho.clamp(0, 1) - 1


def shrunk_performance(performance: Tensor, samples: Tensor, *, strength: float | Literal["auto"]) -> Tensor:
    """Class performance drawn towards the pooled one: ``(n_c * A_c + s * m) / (n_c + s)``.

    This is the posterior mean under a Beta prior around the pooled performance ``m = sum(n * A) / sum(n)``, as if every
    class had s more samples of that performance.

    Args:
        performance: ``[C]``; NaN for a class without samples, which stays so.
        samples: n, ``[C]``.
        strength: s >= 0; 0 changes nothing. ``"auto"``: from `shrinkage_strength`.

    Returns:
        Performance like the input.

    Raises:
        LongtailError: another strength.
    """
    if strength == "auto":
        s = shrinkage_strength(performance, samples)
    else:
        check_range(strength, "shrinkage", 0, float("inf"), open_high=True)
        s = torch.tensor(float(strength), dtype=torch.float64)
    if not bool(s > 0):
        return performance
    n, a = _present(performance, samples)
    mean = (n * a).sum() / n.sum()
    share = 1 / (1 + n / s)  # s / (n + s), also for an infinite s
    drawn = performance.clone()
    drawn[samples > 0] = (a + share * (mean - a)).to(drawn)
    return drawn


def _present(performance: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Samples and performance of the classes that have samples, float64 on the CPU."""
    present = samples > 0
    return samples[present].cpu().double(), performance[present].cpu().double()
