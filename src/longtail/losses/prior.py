"""Losses whose logits are scaled and shifted by the class prior: VS and its special cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from longtail.checks import check_range
from longtail.functional.logits import class_temperatures, log_prior, shifted_cross_entropy
from longtail.losses.weighted import ClassWeightedLoss

__all__ = ["BalancedSoftmaxLoss", "CDTLoss", "LogitAdjustedLoss", "VSLoss"]


class _ShiftedCrossEntropy(nn.Module):
    """`shifted_cross_entropy` with the numbers of the classes on the device of the module."""

    temperature: Tensor | None
    shift: Tensor | None

    def __init__(self, temperature: Tensor | None, shift: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("temperature", temperature, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return shifted_cross_entropy(logits, target, temperature=self.temperature, shift=self.shift)


class VSLoss(ClassWeightedLoss):
    """Vector-scaling loss: cross-entropy of ``z_c / (n_max / n_c) ** gamma + tau * log(n_c / N)``.

    gamma = 0 is logit adjustment, tau = 0 is CDT. In evaluation the logits are taken as they are.

    Args:
        class_counts: Training samples of each class, ``[C]``; a class without samples counts like the rarest other.
        gamma: At least 0.
        tau: At least 0.
        weight: Class weights, or their source, as in `ClassWeightedLoss`.
        **options: ``reduction`` and ``ignore_index`` of `ClassWeightedLoss`.
    """

    takes_logits = True

    def __init__(
        self,
        class_counts: Tensor | Sequence[int],
        *,
        gamma: float = 0.3,
        tau: float = 1.0,
        weight: Any = None,
        **options: Any,
    ) -> None:
        check_range(tau, "tau", 0, math.inf, open_high=True)
        temperature = class_temperatures(class_counts, gamma=gamma) if gamma else None
        shift = tau * log_prior(class_counts) if tau else None
        super().__init__(weight, base=_ShiftedCrossEntropy(temperature, shift), **options)


class LogitAdjustedLoss(VSLoss):
    """Logit-adjusted loss: cross-entropy of ``z_c + tau * log(n_c / N)``; arguments as in `VSLoss`."""

    def __init__(self, class_counts: Tensor | Sequence[int], *, tau: float = 1.0, **options: Any) -> None:
        super().__init__(class_counts, gamma=0, tau=tau, **options)


class BalancedSoftmaxLoss(VSLoss):
    """Balanced softmax: cross-entropy of ``z_c + tau * log n_c``; arguments as in `VSLoss`."""

    def __init__(self, class_counts: Tensor | Sequence[int], *, tau: float = 1.0, **options: Any) -> None:
        super().__init__(class_counts, gamma=0, tau=tau, **options)


class CDTLoss(VSLoss):
    """Class-dependent temperatures: cross-entropy of ``z_c / (n_max / n_c) ** gamma``; arguments as in `VSLoss`."""

    def __init__(self, class_counts: Tensor | Sequence[int], *, gamma: float = 0.2, **options: Any) -> None:
        super().__init__(class_counts, gamma=gamma, tau=0, **options)
