"""CDB-S: class-difficulty based sampling."""

from __future__ import annotations

import dataclasses
from typing import Any

from longtail.difficulty import describe_options
from longtail.errors import LongtailError
from longtail.methods._compose import base_method
from longtail.methods._difficulty import DifficultyMethod
from longtail.methods.base import ClassStats, Method, Parts, register
from longtail.samplers import ClassWeightedSampler

__all__ = ["CDBS"]


@register
@describe_options
@dataclasses.dataclass(frozen=True, kw_only=True)
class CDBS(DifficultyMethod):
    r"""Class-difficulty based sampling (CDB-S): classes that the model finds hard are drawn more often.

    Formula:
        :math:`P(c) = \frac{w_c}{\sum_k w_k}, \quad w_c = d_c^\tau`

        with the difficulty d_c = 1 - accuracy of class c (Eq. 15), then a sample uniformly within the class: a sample
        of class c has probability P(c) / n_c. The loss is cross-entropy, or another method's.

    When to use:
        As CDB-W, where the loss should stay as it is, or where weighted losses are unstable. The first epoch, before
        any measurement, is class-balanced. With boxes an image is drawn by any of the categories that it shows, and
        images that show nothing are left out.

    Hyperparameters:
        loss: The method whose loss is used, as NAME or NAME:key=value,key=value; default ``ce``. Its head, stages and
            finish come along. Not: methods with a sampler, a difficulty, a training step, or stages with more than a
            loss of their own.
        {options}
        Here ``normalize`` changes nothing. With ``min_difficulty`` = 0 a class without held-out errors is not drawn at
        all until the next measurement; with ``source`` = ``train`` it would never be measured again, so that this needs
        a floor.
        Presets: ``paper``; ``code2020-cifar`` and ``code2020-imagenet`` have the tau rules of the public code, which
        holds no CDB-S itself; ``cross-fit`` for features that stay as they are.

    Reference:
        Sinha, Ohashi and Nakamura, Class-Difficulty Based Methods for Long-Tailed Visual Recognition, IJCV 2022.
    """

    name = "cdb-s"
    title = "CDB-S (difficulty-based sampling)"
    tasks = ("classify", "video", "detect", "segment")
    in_code = "ClassWeightedSampler(labels, difficulty)"
    main = ("tau", "loss", "source", "min_difficulty", "momentum")

    loss: str = "ce"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._loss()
        if self.source == "train" and self.min_difficulty == 0:
            raise LongtailError(
                "source='train' with sampling needs min_difficulty above 0, e.g. 0.05: "
                "a class that is no longer drawn is not measured again"
            )

    def _loss(self) -> Method:
        return base_method("loss", self.loss, sampler=False)

    @property
    def needs_held_out(self) -> bool:
        return super().needs_held_out or self._loss().needs_held_out

    def parts(self, stats: ClassStats) -> Parts:
        parts = self.with_difficulty(stats, self._loss())
        assert parts.difficulty is not None
        sampler = ClassWeightedSampler(stats.samples, parts.difficulty, seed=stats.seed)
        return dataclasses.replace(parts, sampler=sampler)

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """Those of all difficulty-based methods, with cross-entropy."""
        return {name: preset | {"loss": "ce"} for name, preset in super().presets().items()}
