"""Class difficulty: from the performance of each class to its weight (Eq. 1-10 of the paper)."""

from __future__ import annotations

import math
from numbers import Real
from typing import Literal, get_args

import torch
from torch import Tensor

from longtail.checks import check_choice, check_range, checked_performance, full_precision
from longtail.errors import LongtailError

__all__ = ["TauRule", "difficulty_shift", "difficulty_weights", "dynamic_tau", "performance_bias", "resolve_tau"]

TauRule = Literal["linear", "poly", "log", "sigmoid", "accv", "code2020"]
"""Rules that turn the bias into tau: the paper's four, and those of the 2020 conference paper and its code."""


def performance_bias(performance: Tensor, *, eps: float = 0.01, quantile: float = 0.0) -> Tensor:
    """How unevenly the classes perform (Eq. 5): ``max(max(A) / (min(A) + eps) - 1, 0)``.

    Zero exactly when no two classes differ by more than ``eps``; at most ``1 / eps - 1``. With many classes one of them
    nearly always has performance 0, and the bias stays near its bound. A ``quantile`` q replaces the best and the worst
    class by the (1 - q) and q quantiles of the classes (with linear interpolation); it is never larger than Eq. 5.

    Args:
        performance: Performance of each class, ``[C]`` in [0, 1], higher is better (accuracy, AP, ...).
        eps: Keeps the bias finite when a class has performance 0; in (0, 1).
        quantile: In [0, 0.5); 0 is Eq. 5.

    Returns:
        Scalar >= 0, float32 (float64 for float64 input).

    Raises:
        LongtailError: a value is NaN (class not measured) or outside [0, 1].
    """
    check_range(eps, "eps", 0, 1, open_low=True, open_high=True)
    check_range(quantile, "bias_quantile", 0, 0.5, open_high=True)
    performance = checked_performance(performance)
    best, worst = performance.max(), performance.min()
    if quantile > 0:
        best, worst = performance.quantile(1 - quantile), performance.quantile(quantile)
    return (best / (worst + eps) - 1).clamp(min=0)


def dynamic_tau(
    bias: Tensor | float,
    *,
    growth: TauRule = "sigmoid",
    max_tau: float = 5.0,
    eps: float = 0.01,
    power: float = 2.0,
) -> Tensor:
    """The focusing parameter tau from the bias (Eq. 6-10).

    With ``B = 1 / eps - 1``, the largest bias possible:

    ============ ================================================== =======================================
    growth       tau                                                source
    ============ ================================================== =======================================
    ``linear``   ``max_tau * bias / B``                             Eq. 7
    ``poly``     ``max_tau * (bias / B) ** power``                  Eq. 8
    ``log``      ``max_tau * log(bias + 1) / log(B + 1)``           Eq. 9, without its misprinted minus
    ``sigmoid``  ``max_tau * (2 * sigmoid(bias) - 1)``              Eq. 10
    ``accv``     ``2 * sigmoid(bias)``, in [1, 2]                   ACCV 2020; the authors' ImageNet-LT code
    ``code2020`` ``sigmoid(bias + 1)``, in [0.73, 1]                the authors' CIFAR-LT and EGTEA code
    ============ ================================================== =======================================

    The first four are 0 at bias 0 and ``max_tau`` at the largest bias. The authors' code does not clamp the bias at 0
    as Eq. 5 does; its tau differs from ours only while no two classes differ by more than ``eps``.

    Args:
        bias: Performance bias, a scalar >= 0 (any shape works).
        growth: The rule.
        max_tau: Upper bound of tau (T_M; the paper uses 5); not used by the last two rules.
        eps: The same as in `performance_bias`.
        power: Exponent p of ``poly``, above 0; the paper asks for an integer above 1 and does not print its value.

    Returns:
        tau, of the shape of ``bias``.

    Raises:
        LongtailError: unknown rule, or a hyperparameter outside its range.
    """
    check_choice(growth, "tau rule", get_args(TauRule))
    check_range(max_tau, "max_tau", 0, math.inf, open_high=True)
    check_range(eps, "eps", 0, 1, open_low=True, open_high=True)
    check_range(power, "power", 0, math.inf, open_low=True, open_high=True)
    bias = full_precision(torch.as_tensor(bias))
    max_bias = 1 / eps - 1
    match growth:
        case "linear":
            return max_tau * (bias / max_bias)
        case "poly":
            return max_tau * (bias / max_bias) ** power
        case "log":
            return max_tau * (torch.log1p(bias) / math.log1p(max_bias))
        case "sigmoid":
            return max_tau * torch.tanh(bias / 2)  # = 2 sigmoid(bias) - 1, without the cancellation near 0
        case "accv":
            return 2 * torch.sigmoid(bias)
        case "code2020":
            return torch.sigmoid(bias + 1)


def resolve_tau(
    bias: Tensor, *, tau: float | TauRule, max_tau: float = 5.0, eps: float = 0.01, power: float = 2.0
) -> Tensor:
    """tau as a scalar tensor, whether it is a fixed number or a rule of `dynamic_tau`."""
    if isinstance(tau, str):
        return dynamic_tau(bias, growth=tau, max_tau=max_tau, eps=eps, power=power)
    if isinstance(tau, bool) or not isinstance(tau, Real) or not 0 <= tau < math.inf:
        raise LongtailError(f"tau is {tau!r}: it must be a number >= 0 or one of {', '.join(get_args(TauRule))}")
    check_range(tau, "tau", 0, math.inf, open_high=True)
    return torch.full_like(bias, tau)


def difficulty_weights(
    performance: Tensor,
    *,
    tau: float | TauRule = "sigmoid",
    max_tau: float = 5.0,
    eps: float = 0.01,
    power: float = 2.0,
    min_difficulty: float = 0.0,
    normalize: bool = True,
) -> Tensor:
    """Class weights from class performance: ``w = (1 - A) ** tau`` (Eq. 2-6).

    The defaults are the paper's. tau = 0 gives ones, also where the difficulty is 0 (``0 ** 0 = 1``). When every
    difficulty is 0 and tau is not, the normalised weights are ones and the others are the formula's zeros.

    Args:
        performance: Performance of each class, ``[C]`` in [0, 1], higher is better.
        tau: A number >= 0, or a rule of `dynamic_tau`.
        max_tau: See `dynamic_tau`.
        eps: See `performance_bias`.
        power: See `dynamic_tau`.
        min_difficulty: Floor of the difficulty ``1 - A``, in [0, 1]; above 0, a perfect class keeps some weight.
        normalize: Scale the weights so that they sum to C; the paper's formula does not, the authors' code does.

    Returns:
        Weights ``[C]`` >= 0, float32 (float64 for float64 input); at most 1 unless normalised.

    Raises:
        LongtailError: a performance is NaN (class not measured) or outside [0, 1], or a hyperparameter is invalid.
    """
    check_range(min_difficulty, "min_difficulty", 0, 1)
    performance = checked_performance(performance)
    exponent = resolve_tau(performance_bias(performance, eps=eps), tau=tau, max_tau=max_tau, eps=eps, power=power)
    difficulty = (1 - performance).clamp(min=min_difficulty, max=1)
    if not normalize:
        return difficulty**exponent
    # Dividing by the hardest first changes nothing after normalising, and keeps large tau from underflowing.
    hardest = difficulty.max()
    relative = torch.where(hardest > 0, difficulty / hardest.clamp(min=torch.finfo(difficulty.dtype).tiny), 1)
    weight = relative**exponent
    return weight * (len(weight) / weight.sum())


def difficulty_shift(weight: Tensor, *, strength: float = 1.0) -> Tensor:
    """What class weights add to the logits in training: ``-strength * log(w_c / max(w))``.

    The cross-entropy of shifted logits is ``log(1 + sum_j exp(z_j - z_y + strength * log(w_y / w_j)))``: class y must
    be ahead of class j by a margin that grows with its weight. Hence the minus, as with the prior ``log n_c`` of
    balanced softmax, whose handicap goes to the rare classes. In evaluation the logits are taken as they are. The scale
    of the weights does not matter, and a ratio below 1/1000 (an imbalance of 1000, for a prior) counts as that.

    Args:
        weight: ``[C]`` >= 0.
        strength: At least 0.

    Returns:
        ``[C]``, at least 0: 0 for the class with the largest weight; all 0 where all weights are equal.
    """
    weight = full_precision(weight)
    largest = weight.max()
    ratio = torch.where(largest > 0, weight / largest.clamp(min=torch.finfo(weight.dtype).tiny), 1)
    return -strength * ratio.clamp(min=1e-3).log()
