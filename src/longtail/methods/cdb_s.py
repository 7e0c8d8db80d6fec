"""CDB-S: class-difficulty based sampling."""

from __future__ import annotations

import dataclasses

from longtail.methods._difficulty import DifficultyMethod
from longtail.methods.base import ClassStats, Parts, register
from longtail.samplers import ClassWeightedSampler

__all__ = ["CDBS"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class CDBS(DifficultyMethod):
    r"""Class-difficulty based sampling (CDB-S): classes that the model finds hard are drawn more often.

    Formula:
        ``P(c) = w_c / sum_k w_k`` with ``w_c = d_c ** tau`` (Eq. 15), then a sample uniformly within the class: a
        sample of class c has probability ``w_c / (n_c * sum_k w_k)``. The loss is cross-entropy.

    When to use:
        As CDB-W, where the loss should stay as it is, or where weighted losses are unstable. The first epoch, before
        any measurement, is class-balanced.

    Hyperparameters:
        As in ``cdb-w``, without a reduction; ``normalize`` changes nothing here. With ``min_difficulty`` = 0 a class
        without held-out errors is not drawn at all until the next measurement.
        Presets: ``paper``; ``code2020-cifar`` and ``code2020-imagenet`` have the tau rules of the public code, which
        holds no CDB-S itself.

    Reference:
        Sinha, Ohashi and Nakamura, Class-Difficulty Based Methods for Long-Tailed Visual Recognition, IJCV 2022.
    """

    name = "cdb-s"
    title = "CDB-S (difficulty-based sampling)"

    def parts(self, stats: ClassStats) -> Parts:
        difficulty = self.difficulty(stats.class_counts)
        return Parts(sampler=ClassWeightedSampler(stats.labels, difficulty, seed=stats.seed), difficulty=difficulty)
