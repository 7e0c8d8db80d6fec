"""Equalisation loss as a module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from longtail.checks import check_choice, check_range, counts_as_float64
from longtail.functional.logits import by_class
from longtail.functional.rivals import sigmoid_equalization_loss, softmax_equalization_loss
from longtail.losses.weighted import ClassWeightedLoss

__all__ = ["EqualizationForm", "EqualizationLoss"]

EqualizationForm = Literal["softmax", "sigmoid"]


class _PerSample(nn.Module):
    tail: Tensor

    def __init__(self, tail: Tensor, gamma: float, form: EqualizationForm) -> None:
        super().__init__()
        self.gamma = gamma
        self.loss = softmax_equalization_loss if form == "softmax" else sigmoid_equalization_loss
        self.register_buffer("tail", tail, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        drawn = torch.rand(logits.shape, device=logits.device) < self.gamma
        return self.loss(logits, target, drawn & by_class(self.tail, logits.detach()).bool())


class EqualizationLoss(ClassWeightedLoss):
    """Equalisation loss: rare classes are left out, at random, where they are a wrong answer.

    In every forward pass, each sample ignores each rare class with probability gamma, unless it is its own. The draws
    come from torch's global generator.

    Args:
        class_counts: Training samples of each class, ``[C]``.
        threshold: A class is rare if its share of the samples is below this; None: ``1 / (2 C)``, half of an equal
            share. 0 is cross-entropy.
        gamma: Probability in [0, 1].
        form: ``"softmax"`` or ``"sigmoid"`` (binary cross-entropy summed over the classes).
        weight: Class weights, or their source, as in `ClassWeightedLoss`.
        **options: ``reduction`` and ``ignore_index`` of `ClassWeightedLoss`.
    """

    takes_logits = True
    smooths = False  # a class that has a share in the target is not left out

    def __init__(
        self,
        class_counts: Tensor | Sequence[int],
        *,
        threshold: float | None = None,
        gamma: float = 0.9,
        form: EqualizationForm = "softmax",
        weight: Any = None,
        **options: Any,
    ) -> None:
        check_choice(form, "form", get_args(EqualizationForm))
        check_range(gamma, "gamma", 0, 1)
        counts = counts_as_float64(class_counts)
        if threshold is None:
            threshold = 0.5 / len(counts)
        check_range(threshold, "threshold", 0, 1)
        tail = counts < threshold * counts.sum()
        super().__init__(weight, base=_PerSample(tail, gamma, form), **options)
