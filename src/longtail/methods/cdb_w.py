"""CDB-W: class-difficulty based weighted cross-entropy."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from longtail.functional._checks import check_choice
from longtail.losses import ClassWeightedLoss
from longtail.methods._difficulty import DifficultyMethod
from longtail.methods.base import ClassStats, Parts, register

__all__ = ["CDBW"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class CDBW(DifficultyMethod):
    r"""Class-difficulty based weighted cross-entropy (CDB-W-CE): classes that the model finds hard weigh more.

    Formula:
        ``d_c = 1 - accuracy of class c`` on a held-out split, measured after every epoch; ``w_c = d_c ** tau``;
        ``loss = -w_y * log p_y`` (Eq. 2-12). tau is a number, or follows from the bias between the classes (Eq. 5-10).

    When to use:
        When class counts are a poor guide to what the model finds hard, or are unknown. It needs a held-out split with
        some samples of every class.

    Hyperparameters:
        tau: A number >= 0, or ``linear``, ``poly``, ``log``, ``sigmoid`` (the paper's rules), ``accv``, ``code2020``.
        max_tau: T_M of the paper's rules; the paper uses 5.
        eps: 0.01 (paper).
        power: Exponent of ``poly``; the paper does not print it.
        min_difficulty: Floor of d. Above 0 it keeps a perfect class from getting weight 0.
        momentum: Smoothing of the accuracy from epoch to epoch.
        normalize: ``samples``: the mean weight of a training sample is 1, so that the steps keep their size; True: the
            weights sum to C, as in the public code; False: neither, as in the paper's formula.
        absent: What becomes of a class that the held-out split lacks: ``keep``, ``hard`` or ``error``.
        reduction: ``mean`` (plain; the code for CIFAR and EGTEA) or ``weighted_mean`` (the code for ImageNet-LT).
        Presets: ``paper``, ``code2020-cifar``, ``code2020-imagenet``.

    Reference:
        Sinha, Ohashi and Nakamura, Class-Difficulty Based Methods for Long-Tailed Visual Recognition, IJCV 2022.
    """

    name = "cdb-w"
    title = "CDB-W (difficulty-weighted cross-entropy)"

    reduction: Literal["mean", "weighted_mean"] = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.reduction, "reduction", ("mean", "weighted_mean"))

    def parts(self, stats: ClassStats) -> Parts:
        difficulty = self.difficulty(stats.class_counts)
        return Parts(criterion=ClassWeightedLoss(difficulty, reduction=self.reduction), difficulty=difficulty)

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """Those of all difficulty-based methods, each with its reduction."""
        presets = super().presets()
        return {n: p | {"reduction": "weighted_mean" if n.endswith("imagenet") else "mean"} for n, p in presets.items()}
