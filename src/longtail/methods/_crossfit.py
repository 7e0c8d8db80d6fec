"""What is measured and chosen before training: from what each training sample is taken for out of fold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn

from longtail.checks import check_choice, check_range
from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.evenness import geometric_mean
from longtail.functional import correct_counts, log_prior
from longtail.losses import LogitAdjustedLoss
from longtail.methods.base import ClassStats, Criterion, Parts

__all__ = ["EXPONENTS", "Aim", "check_exponent", "climbed", "cross_fit", "scored", "with_exponent"]

Aim = Literal["mean", "floor"]
"""What is made large: the mean over the classes, or how the worst of them fare."""

EXPONENTS = (0.0, 0.5, 0.75, 1.0, 1.15, 1.3, 1.5, 2.0)
"""Exponents of the class counts that ``tau="cv"`` chooses from."""

_WORDS = {"mean": "mean accuracy of the classes", "floor": "geometric mean of the accuracies of the classes"}


def check_exponent(tau: object, aim: object) -> None:
    """Raise unless ``tau`` is a number >= 0 or ``cv``, and ``aim`` fits it."""
    check_choice(aim, "aim", get_args(Aim))
    if tau == "cv":
        return
    if isinstance(tau, str):
        raise LongtailError(f"tau is {tau!r}: it must be a number >= 0 or cv")
    check_range(tau, "tau", 0, math.inf, open_high=True)  # pyright: ignore[reportArgumentType]
    if aim != "mean":
        raise LongtailError(f"aim is {aim!r}: it belongs to tau='cv' and would do nothing here")


def scored(logits: Tensor, stats: ClassStats, aim: Aim) -> float:
    """How well the classes are told apart out of fold: the mean of their accuracies, or the geometric mean."""
    labels = stats.labels.to(logits.device)
    right, total = correct_counts(logits, labels, num_classes=stats.num_classes).double()
    accuracy = (right / total)[total > 0].tolist()
    return math.fsum(accuracy) / len(accuracy) if aim == "mean" else geometric_mean(accuracy) or 0.0


def out_of_fold(stats: ClassStats, criterion: Criterion, *, option: str) -> Tensor:
    """Logits ``[N, C]`` of the training samples.

    Raises:
        LongtailError: the task has no features before training.
    """
    if stats.out_of_fold is None:
        raise LongtailError(
            f"{option} needs what the training samples are taken for out of fold, known where features stay as they "
            "are: use --tune head, or features:FILE; in code ClassStats(out_of_fold=...), see longtail.features"
        )
    return stats.out_of_fold(criterion)


def cross_fit(difficulty: ClassDifficulty, stats: ClassStats, base: Parts, *, name: str) -> str:
    """Measure a difficulty on all training samples; returns a line about it.

    Args:
        difficulty: With ``source="cross-fit"``.
        stats: Of the training samples.
        base: Parts of the method whose loss is fitted, made for this alone: a criterion may count what it sees.
        name: Of that method.

    Raises:
        LongtailError: no features, or a base with a classifier of its own.
    """
    if base.head is not None:
        raise LongtailError(
            f"source='cross-fit' fits linear layers, and {name} has a classifier of its own: choose another base, or "
            "source='train'"
        )
    logits = out_of_fold(stats, base.criterion, option="source='cross-fit'")
    difficulty.update(logits, stats.labels.to(logits.device))
    difficulty.step(trained=True)
    known = difficulty.performance[~difficulty.performance.isnan()]
    weight = difficulty.weight
    return (
        f"difficulty by cross-fitting with {name}: {difficulty.options.measure} of the classes "
        f"{float(known.min()):.2f} to {float(known.max()):.2f}, mean {float(known.mean()):.2f}; "
        f"weights {float(weight.min()):.2f} to {float(weight.max()):.2f}"
    )


def with_exponent(
    stats: ClassStats, tau: float | Literal["cv"], make: Callable[[float], Parts], *, aim: Aim, post_hoc: bool = False
) -> Parts:
    """The parts that ``make`` gives for an exponent of the class counts, a number or chosen out of fold."""
    if not isinstance(tau, str):
        return make(tau)
    if stats.bare:
        return make(1.0)
    chosen, line = _choose(stats, aim=aim, post_hoc=post_hoc)
    return dataclasses.replace(make(chosen), found={"tau": chosen}, notes=(line,))


def _choose(stats: ClassStats, *, aim: Aim, post_hoc: bool) -> tuple[float, str]:
    """The exponent of the class counts that does best out of fold, and a line about it.

    Trained, `EXPONENTS` are climbed from 1, as long as a neighbour is better: each costs a fit a fold. Post-hoc, one
    cross-entropy serves all of them. Of equals the one nearest to 1 is taken.
    """
    if post_hoc:
        logits = out_of_fold(stats, nn.CrossEntropyLoss(), option="tau='cv'")
        prior = log_prior(stats.class_counts).to(logits)
        scores = {tau: scored(logits - tau * prior, stats, aim) for tau in EXPONENTS}
        best = max(scores, key=lambda tau: (scores[tau], -abs(tau - 1)))
    else:
        best, scores = climbed(
            lambda tau: scored(
                out_of_fold(stats, LogitAdjustedLoss(stats.class_counts, tau=tau), option="tau='cv'"), stats, aim
            )
        )
    rivals = ", ".join(f"{tau:g}: {100 * scores[tau]:.1f}" for tau in sorted(scores))
    return best, f"tau {best:g} chosen out of fold by the {_WORDS[aim]} (%: {rivals})"


def climbed(score: Callable[[float], float]) -> tuple[float, dict[float, float]]:
    """The top of a hill of scores over `EXPONENTS`, climbed from 1, and the scores that were asked for."""
    start = EXPONENTS.index(1.0)
    scores = {1.0: score(1.0)}
    for step in (1, -1):
        place = start
        while 0 <= place + step < len(EXPONENTS):
            here, there = EXPONENTS[place], EXPONENTS[place + step]
            scores[there] = score(there)
            if scores[there] <= scores[here]:
                break
            place += step
        if place != start:
            return EXPONENTS[place], scores
    return 1.0, scores
