"""What the three difficulty-based methods share: hyperparameters of the difficulty, presets, reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, Self

from longtail import difficulty as defaults
from longtail.difficulty import Absent, ClassDifficulty, Normalize
from longtail.functional import TauRule
from longtail.functional._checks import check_choice
from longtail.methods.base import Method

__all__ = ["DifficultyMethod"]

REFERENCE = """
@article{sinha2022class,
  title   = {Class-Difficulty Based Methods for Long-Tailed Visual Recognition},
  author  = {Sinha, Saptarshi and Ohashi, Hiroki and Nakamura, Katsuyuki},
  journal = {International Journal of Computer Vision},
  volume  = {130},
  pages   = {2517--2531},
  year    = {2022},
  doi     = {10.1007/s11263-022-01643-3},
}

@inproceedings{sinha2020class,
  title     = {Class-Wise Difficulty-Balanced Loss for Solving Class-Imbalance},
  author    = {Sinha, Saptarshi and Ohashi, Hiroki and Nakamura, Katsuyuki},
  booktitle = {Asian Conference on Computer Vision (ACCV)},
  year      = {2020},
}
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DifficultyMethod(Method):
    """A method with a `ClassDifficulty`; its arguments, with their defaults, are hyperparameters of the method."""

    reference = REFERENCE

    tau: float | TauRule = defaults.DEFAULT_TAU
    max_tau: float = defaults.DEFAULT_MAX_TAU
    eps: float = defaults.DEFAULT_EPS
    power: float = defaults.DEFAULT_POWER
    min_difficulty: float = defaults.DEFAULT_MIN_DIFFICULTY
    momentum: float = defaults.DEFAULT_MOMENTUM
    normalize: Normalize = defaults.METHOD_NORMALIZE
    absent: Absent = defaults.DEFAULT_ABSENT

    def __post_init__(self) -> None:
        self.difficulty([1])  # checks every hyperparameter of the difficulty

    def difficulty(self, class_counts: Sequence[int]) -> ClassDifficulty:
        """A fresh difficulty with this method's hyperparameters, for training samples of these numbers a class."""
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(DifficultyMethod)}
        return ClassDifficulty(len(class_counts), class_counts=class_counts, **options)

    @property
    def needs_held_out(self) -> bool:
        return True

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """``paper``: the formulas as printed. ``code2020-...``: the rules of the two public code bases of 2020."""
        literal = {"eps": 0.01, "min_difficulty": 0.0, "momentum": 0.0}
        return {
            "paper": literal | {"tau": "sigmoid", "max_tau": 5.0, "normalize": False},
            "code2020-cifar": literal | {"tau": "code2020", "normalize": True},
            "code2020-imagenet": literal | {"tau": "accv", "normalize": True},
        }

    @classmethod
    def paper(cls) -> Self:
        """The formulas as the paper prints them: T_M = 5, sigmoid rule, no normalisation, no floor, no smoothing."""
        return cls(**cls.presets()["paper"])

    @classmethod
    def code2020(cls, variant: Literal["cifar", "imagenet"]) -> Self:
        """The rules of the authors' public code of 2020, which differ from the paper's and from each other.

        Args:
            variant: ``"cifar"``: ``tau = sigmoid(bias + 1)``, plain mean. ``"imagenet"``: ``tau = 2 * sigmoid(bias)``,
                weighted mean (that code's shipped configuration fixes tau = 1).
        """
        check_choice(variant, "variant of the 2020 code", ("cifar", "imagenet"))
        return cls(**cls.presets()[f"code2020-{variant}"])
