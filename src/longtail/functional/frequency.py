"""Class weights and sampling laws from class counts. Counts are handled in float64 on the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from longtail.checks import check_range, counts_as_float64, numbers
from longtail.errors import LongtailError

__all__ = [
    "difficulty_probabilities",
    "effective_number_weights",
    "power_law_probabilities",
    "power_law_weights",
    "progressive_probabilities",
]


def effective_number_weights(class_counts: Tensor | Sequence[int], *, beta: float = 0.9999) -> Tensor:
    """Class-balanced weights ``(1 - beta) / (1 - beta ** n)``, scaled to sum to C (Cui et al., CVPR 2019).

    beta = 0 weights all classes alike; beta -> 1 tends to inverse frequency, which beta = 1 gives exactly.

    Args:
        class_counts: Training samples of each class, ``[C]``. A class without samples gets weight 1, the mean of
            the others: it never occurs in training and does not shift the scale.
        beta: In [0, 1].

    Returns:
        Weights ``[C]`` in the default dtype.

    Raises:
        LongtailError: negative counts, or beta outside [0, 1].
    """
    check_range(beta, "beta", 0, 1)
    counts = counts_as_float64(class_counts)
    if beta == 1:
        effective = counts
    elif beta == 0:
        effective = torch.ones_like(counts)
    else:
        # log1p and expm1 keep the digits that 1 - beta ** n loses for beta near 1.
        effective = torch.expm1(counts * math.log1p(beta - 1)) / (beta - 1)
    return _mean_one(1 / effective, counts > 0, class_counts)


def power_law_weights(class_counts: Tensor | Sequence[int], *, exponent: float = 1.0) -> Tensor:
    """Weights ``n ** -exponent``, scaled to sum to C: 1 is inverse frequency, 1/2 its square root, 0 none.

    Args:
        class_counts: Training samples of each class, ``[C]``. A class without samples gets weight 1, the mean of
            the others.
        exponent: Any finite number.

    Returns:
        Weights ``[C]`` in the default dtype.

    Raises:
        LongtailError: negative counts, or an exponent that is not finite.
    """
    check_range(exponent, "exponent", -math.inf, math.inf, open_low=True, open_high=True)
    counts = counts_as_float64(class_counts)
    return _mean_one(_powers(counts, -exponent), counts > 0, class_counts)


def power_law_probabilities(class_counts: Tensor | Sequence[int], *, exponent: float = 0.5) -> Tensor:
    """Class probabilities ``n ** q / sum(n ** q)`` of frequency-based sampling (Kang et al., ICLR 2020).

    q = 1 samples instances uniformly, 0 classes uniformly, 1/2 is square-root sampling (Mikolov et al., 2013).

    Args:
        class_counts: Training samples of each class, ``[C]``; a class without samples has probability 0 for every q.
        exponent: q, any finite number.

    Returns:
        Probabilities ``[C]``, float64.

    Raises:
        LongtailError: negative counts, no sample at all, or an exponent that is not finite.
    """
    check_range(exponent, "exponent", -math.inf, math.inf, open_low=True, open_high=True)
    counts = counts_as_float64(class_counts)
    return _probabilities(_powers(counts, exponent), counts > 0, class_counts)


def progressive_probabilities(class_counts: Tensor | Sequence[int], *, epoch: int, epochs: int) -> Tensor:
    """Progressively balanced sampling: from instances to classes as training goes on (Kang et al., ICLR 2020).

    ``(1 - t / T) * n / N + (t / T) / C`` with t = ``epoch`` and T = ``epochs``, over the classes that have samples.

    Args:
        class_counts: Training samples of each class, ``[C]``; a class without samples has probability 0.
        epoch: Current epoch, from 0; past the end it stays class-balanced.
        epochs: Length of the training in epochs.

    Returns:
        Probabilities ``[C]``, float64.

    Raises:
        LongtailError: negative counts, no sample at all, or a negative epoch or length.
    """
    if epoch < 0 or epochs < 1:
        raise LongtailError(f"epoch {epoch} of {epochs}: epochs count from 0 and there must be at least 1")
    progress = min(epoch / epochs, 1.0)
    instance = power_law_probabilities(class_counts, exponent=1.0)
    balanced = power_law_probabilities(class_counts, exponent=0.0)
    return (1 - progress) * instance + progress * balanced


def difficulty_probabilities(weight: Tensor | Sequence[float], class_counts: Tensor | Sequence[int]) -> Tensor:
    """Class probabilities of difficulty-based sampling (Eq. 15): ``w / sum(w)``.

    Args:
        weight: Class weights ``[C]`` >= 0, from `difficulty_weights`; their scale does not matter.
        class_counts: Training samples of each class, ``[C]``; a class without samples has probability 0.
            If no class with samples has any weight, these classes are equally likely.

    Returns:
        Probabilities ``[C]``, float64.

    Raises:
        LongtailError: weights that are negative or not finite, other lengths, or no sample at all.
    """
    counts = counts_as_float64(class_counts)
    weight = numbers(weight, "class weights", dtype=torch.float64).detach().cpu()
    if weight.shape != counts.shape:
        raise LongtailError(f"{list(weight.shape)} weights for {len(counts)} classes: give one per class")
    if not bool(torch.isfinite(weight).all()) or bool((weight < 0).any()):
        raise LongtailError("class weights must be finite numbers >= 0")
    present = counts > 0
    if not bool(weight[present].any()):
        weight = torch.ones_like(weight)
    return _probabilities(weight, present, class_counts)


def _powers(counts: Tensor, exponent: float) -> Tensor:
    """``counts ** exponent`` up to a factor that keeps every exponent from overflowing; anything where counts = 0."""
    logs = exponent * counts.clamp(min=1).log()
    return torch.exp(logs - logs[counts > 0].max()) if bool(counts.any()) else counts


def _mean_one(raw: Tensor, present: Tensor, like: Tensor | Sequence[int]) -> Tensor:
    """Weights with mean 1 over the classes that are present, and 1 for the others."""
    raw = raw.where(present, 0)
    weight = (raw * (present.sum() / raw.sum())).where(present, 1)
    return weight.to(like.device if isinstance(like, Tensor) else "cpu", torch.get_default_dtype())


def _probabilities(raw: Tensor, present: Tensor, like: Tensor | Sequence[int]) -> Tensor:
    if not bool(present.any()):
        raise LongtailError("no class has a training sample: there is nothing to sample from")
    raw = raw.where(present, 0)
    return (raw / raw.sum()).to(like.device if isinstance(like, Tensor) else "cpu")
