"""What the difficulty-based methods share: hyperparameters of the difficulty, presets, reference."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, Self

from longtail.checks import check_choice, check_range
from longtail.difficulty import ClassDifficulty, DifficultyOptions, Normalize
from longtail.errors import LongtailError
from longtail.losses import ClassWeightedLoss, WeightForm, class_weighted
from longtail.methods._compose import parts_of
from longtail.methods._crossfit import cross_fit
from longtail.methods.base import ClassStats, Method, Parts, Stage

__all__ = ["ActingMethod", "DifficultyMethod", "WeightedMethod"]

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
  eprint    = {2010.01824},
  archivePrefix = {arXiv},
}
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DifficultyMethod(Method, DifficultyOptions):
    """A method with a `ClassDifficulty`, whose hyperparameters are its own."""

    reference = REFERENCE

    normalize: Normalize = "samples"  # methods know the class counts

    def difficulty(self, class_counts: Sequence[int]) -> ClassDifficulty:
        """A fresh difficulty with this method's hyperparameters, for training samples of these numbers per class."""
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(DifficultyOptions)}
        return ClassDifficulty(len(class_counts), class_counts=class_counts, **options)

    @property
    def needs_held_out(self) -> bool:
        return self.source == "held-out"

    def with_difficulty(self, stats: ClassStats, base: Method) -> Parts:
        """The parts of the method that the difficulty is added to, with that difficulty; measured, if by cross-fitting.

        Raises:
            LongtailError: cross-fitting where the features are not known before training.
        """
        difficulty, parts = self.difficulty(stats.class_counts), parts_of(base, stats)
        notes = parts.notes
        if self.source == "cross-fit" and not stats.bare:
            notes += (cross_fit(difficulty, stats, parts_of(base, stats), name=base.name),)
        return dataclasses.replace(parts, difficulty=difficulty, notes=notes)

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """``paper``: the formulas as printed. ``code2020-...``: the rules of the two public code bases of 2020.
        ``cross-fit``: what does best out of fold where the difficulty is measured there."""
        literal = {"eps": 0.01, "min_difficulty": 0.0, "momentum": 0.0, "bias_quantile": 0.0}
        literal |= {"measure": "recall", "shrinkage": 0.0, "source": "held-out"}
        return {
            "paper": literal | {"tau": "sigmoid", "max_tau": 5.0, "normalize": False},
            "code2020-cifar": literal | {"tau": "code2020", "normalize": True},
            "code2020-imagenet": literal | {"tau": "accv", "normalize": True},
            "cross-fit": literal
            | {"source": "cross-fit", "measure": "soft", "tau": 1.0, "min_difficulty": 0.05, "normalize": "samples"},
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActingMethod(DifficultyMethod):
    """A method whose difficulty acts on the loss of another one, from a point of the training on."""

    defer: float | Literal["schedule"] = "schedule"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.defer != "schedule":
            check_range(self.defer, "defer", 0, 1)
        self.parts(ClassStats(class_counts=[1, 1], bare=True))  # checks the rest, and that the base can be changed

    def _base(self) -> Method:
        """The method that is acted on."""
        raise TypeError(f"{type(self).__name__} defines no _base()")

    def _act(self, criterion: Any, difficulty: ClassDifficulty) -> ClassWeightedLoss:
        """Let the difficulty act on a criterion of the base."""
        raise TypeError(f"{type(self).__name__} defines no _act()")

    @property
    def needs_held_out(self) -> bool:
        return super().needs_held_out or self._base().needs_held_out

    def _deferred(self, stats: ClassStats, base: Parts) -> float:
        """Share of the epochs before the difficulty acts."""
        if self.defer == "schedule":  # measured on whole images only
            return 0.0 if stats.boxes or base.stages else stats.first_drop
        if self.defer and base.stages:
            raise LongtailError(f"defer is {self.defer:g}: {self._base().name} has stages of its own already")
        return self.defer

    def parts(self, stats: ClassStats) -> Parts:
        base = self.with_difficulty(stats, self._base())
        assert base.difficulty is not None
        stages = tuple(
            dataclasses.replace(
                stage, parts={name: self._act(part, base.difficulty) for name, part in stage.parts.items()}
            )
            for stage in base.stages
        )
        if defer := self._deferred(stats, base):
            unweighted = parts_of(self._base(), stats).criterion  # another one: the base's now reads the difficulty
            plain = Stage(name="plain", epochs=defer, parts={"criterion": unweighted})
            stages = tuple(s for s in (plain, Stage(name="weighted", epochs=1 - defer)) if s.epochs > 0)
        return dataclasses.replace(base, criterion=self._act(base.criterion, base.difficulty), stages=stages)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightedMethod(ActingMethod):
    """A method whose difficulty weighs the loss of another one, or shifts its logits."""

    reduction: Literal["mean", "weighted_mean"] = "mean"
    form: WeightForm = "weight"
    strength: float = 1.0
    defer: float | Literal["schedule"] = "schedule"

    def __post_init__(self) -> None:
        check_choice(self.reduction, "reduction", ("mean", "weighted_mean"))
        check_range(self.strength, "strength", 0, math.inf, open_high=True)
        if self.form == "weight" and self.strength != 1:
            raise LongtailError(f"strength is {self.strength!r}: it belongs to form 'logit' and would do nothing here")
        super().__post_init__()

    def _act(self, criterion: Any, difficulty: ClassDifficulty) -> ClassWeightedLoss:
        reduction = "weighted_mean" if self.reduction == "weighted_mean" else None
        return class_weighted(criterion, difficulty, form=self.form, strength=self.strength, reduction=reduction)

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """Those of all difficulty-based methods, each with its reduction."""
        presets = super().presets()
        return {
            name: preset
            | {"form": "weight", "defer": 0.0, "reduction": "weighted_mean" if name.endswith("imagenet") else "mean"}
            for name, preset in presets.items()
        }
