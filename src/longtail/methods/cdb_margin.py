"""CDB-margin: class difficulty as a margin on the logits."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

from longtail.checks import check_choice, check_range
from longtail.difficulty import ClassDifficulty, describe_options
from longtail.errors import LongtailError
from longtail.functional import Measure, TauRule
from longtail.losses import ClassWeightedLoss, class_weighted
from longtail.methods._compose import base_method
from longtail.methods._crossfit import Aim
from longtail.methods._difficulty import ActingMethod
from longtail.methods.base import Method, register

__all__ = ["CDBMargin"]

STRENGTHS: dict[str, float] = {"mean": 0.5, "floor": 1.0}


@register
@describe_options
@dataclasses.dataclass(frozen=True, kw_only=True)
class CDBMargin(ActingMethod):
    r"""CDB-margin: a class that the model finds hard must be ahead of the others by a larger margin in training.

    Formula:
        :math:`z'_c = z_c - s \log \frac{d_c^\tau}{\max_k d_k^\tau}`

        with the difficulty d_c = 1 - performance of class c; the loss of another method sees z' in training. Plain
        logits z in evaluation. Ratios below 1/1000 count as that.

    When to use:
        As a dial from the mean to the worst classes, where counts say nothing (balanced classes) or are used already.
        It acts as the prior of balanced softmax does, for hard classes in place of rare ones. It is made for features
        that stay as they are (``--tune head``, ``features:FILE``) with ``source`` = ``cross-fit``, which measures every
        class on all its training samples; near copies across the folds make that measurement a lie. Where the rare
        classes are the hard ones, a larger exponent of the counts (``balanced-softmax`` with ``tau`` = ``cv``) does
        much the same. It is ``cdb-w`` with ``form`` = ``logit`` and defaults of its own.

    Hyperparameters:
        base: The method whose loss sees the shifted logits, as NAME or NAME:key=value,key=value; default
            ``balanced-softmax``. What it may be: see ``cdb-w``.
        strength: s; default: by ``aim``, 0.5 for ``mean`` and 1 for ``floor``.
        aim: ``mean``: what costs the mean accuracy of the classes little; ``floor``: more for the worst of them.
        {options}
        Here the defaults are ``measure`` = ``soft``, ``tau`` = 1 and ``min_difficulty`` = 0.05; ``normalize`` changes
        nothing.
        defer: As in ``cdb-w``.
        Presets: ``cross-fit``.

    Reference:
        Sinha, Ohashi and Nakamura, Class-Difficulty Based Methods for Long-Tailed Visual Recognition, IJCV 2022: the
        difficulty. The margin is ours.
    """

    name = "cdb-margin"
    title = "CDB-margin (difficulty as a margin)"
    in_code = 'class_weighted(BalancedSoftmaxLoss(class_counts), difficulty, form="logit", strength=0.5)'
    main = ("strength", "aim", "base", "source")

    base: str = "balanced-softmax"
    strength: float | None = None
    aim: Aim = "mean"
    tau: float | TauRule = 1.0
    measure: Measure = "soft"
    min_difficulty: float = 0.05

    def __post_init__(self) -> None:
        check_choice(self.aim, "aim", get_args(Aim))
        if self.strength is not None:
            check_range(self.strength, "strength", 0, math.inf, open_high=True)
            if self.aim != "mean":
                raise LongtailError(f"aim is {self.aim!r}: it chooses the strength, which is {self.strength:g} already")
        super().__post_init__()

    @property
    def takes_aim(self) -> bool:
        return self.strength is None

    def _base(self) -> Method:
        return base_method("base", self.base)

    def _act(self, criterion: Any, difficulty: ClassDifficulty) -> ClassWeightedLoss:
        strength = STRENGTHS[self.aim] if self.strength is None else self.strength
        return class_weighted(criterion, difficulty, form="logit", strength=strength)

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """The one for features that stay as they are."""
        own = {"base": "balanced-softmax", "defer": 0.0, "strength": None, "aim": "mean"}
        return {"cross-fit": super().presets()["cross-fit"] | own}
