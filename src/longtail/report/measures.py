"""Which numbers a task is judged by. A new task is one more `MeasureSet` in `MEASURE_SETS`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from longtail.evenness import EVENNESS
from longtail.shots import FEW, MANY

__all__ = ["MEASURE_SETS", "Measure", "MeasureSet", "measure_set", "shot_groups"]


@dataclasses.dataclass(frozen=True)
class Measure:
    """One number of a run.

    Args:
        key: Column of ``results.csv``, and key in ``metrics.json`` unless ``of`` derives it.
        title: Column heading.
        meaning: One line for people who do not know it.
        lower_is_better: True for errors.
        of: Derives the number from the split's metrics; None: the value under ``key``.
        shown: Whether the page has a column for it; the CSV files have all.
    """

    key: str
    title: str
    meaning: str = ""
    lower_is_better: bool = False
    of: Callable[[Mapping[str, Any]], float | None] | None = None
    shown: bool = True

    def value(self, metrics: Mapping[str, Any]) -> float | None:
        """The number as a fraction; None if the split has none."""
        value = self.of(metrics) if self.of else metrics.get(self.key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return float(value)


def _error(metrics: Mapping[str, Any]) -> float | None:
    top1 = metrics.get("top1")
    return 1 - top1 if isinstance(top1, int | float) else None


def _even(key: str, title: str, meaning: str) -> Measure:
    """A measure of how evenly the classes fare; of runs that did not write it, from the numbers of their classes."""

    def value(metrics: Mapping[str, Any]) -> float | None:
        if key in metrics or not isinstance(own := metrics.get("per_class"), list):
            return metrics.get(key)
        return EVENNESS[key](own)

    return Measure(key, title, meaning, of=value)


def _evenness(what: str) -> tuple[Measure, ...]:
    return (
        _even("worst_tenth", "Worst tenth", f"mean {what} of the tenth of the classes where it is lowest"),
        _even(
            "geometric_mean", "Geometric mean", f"geometric mean over classes of the {what}; below 1 % counts as 1 %"
        ),
        _even("lowest_class", "Lowest class", f"{what} of the class where it is lowest"),
    )


@dataclasses.dataclass(frozen=True)
class MeasureSet:
    """The measures of a task.

    Args:
        requires: Key of ``metrics.json`` that marks the task.
        measures: In the order of the tables.
        headline: Key that decides which method won, on a test split with about equally many samples per class.
        unbalanced_headline: The same where the test split is itself long-tailed.
        groups: Keys of the class groups with their titles, all classes first.
        per_class: What ``per_class`` holds.
        shots: The groups by training samples (with boxes: images), most frequent first: name, least and largest count.
    """

    requires: str
    measures: tuple[Measure, ...]
    headline: str
    unbalanced_headline: str
    groups: tuple[tuple[str, str], ...]
    per_class: str
    shots: tuple[tuple[str, float, float], ...] = (
        (f"many-shot (> {MANY} samples)", MANY + 1, math.inf),
        (f"medium-shot ({FEW} to {MANY})", FEW, MANY),
        (f"few-shot (< {FEW})", 0, FEW - 1),
    )

    def __getitem__(self, key: str) -> Measure:
        return {measure.key: measure for measure in self.measures}[key]


MEASURE_SETS = (
    MeasureSet(
        requires="top1",
        measures=(
            Measure("top1", "Top-1", "share of test samples whose first answer is right", shown=False),
            Measure("top5", "Top-5", "share of test samples with the right class among the first five answers"),
            Measure("precision", "Macro precision", "mean over classes: share of a class's answers that are right"),
            Measure("recall", "Macro recall", "mean over classes of the class's accuracy; every class counts the same"),
            Measure("f1", "Macro F1", "mean over classes of the harmonic mean of precision and recall"),
            Measure("many", "Many-shot", f"accuracy on classes with more than {MANY} training samples"),
            Measure("medium", "Medium-shot", f"accuracy on classes with {FEW} to {MANY} training samples"),
            Measure("few", "Few-shot", f"accuracy on classes with fewer than {FEW} training samples"),
            Measure("error", "Error", "share of test samples answered wrongly", lower_is_better=True, of=_error),
            *_evenness("accuracy"),
        ),
        headline="error",
        unbalanced_headline="recall",
        groups=(("top1", "All test samples"), ("many", "Many-shot"), ("medium", "Medium-shot"), ("few", "Few-shot")),
        per_class="accuracy",
    ),
    MeasureSet(
        requires="AP",
        measures=(
            Measure("AP", "AP", "average precision, mean over IoU 0.50 to 0.95 and over classes"),
            Measure("AP50", "AP50", "average precision at IoU 0.50"),
            Measure("AP75", "AP75", "average precision at IoU 0.75"),
            Measure("APr", "AP rare", "classes in at most 10 training images"),
            Measure("APc", "AP common", "classes in 11 to 100 training images"),
            Measure("APf", "AP frequent", "classes in more than 100 training images"),
            *_evenness("AP"),
        ),
        headline="AP",
        unbalanced_headline="AP",
        groups=(("AP", "All classes"), ("APf", "Frequent"), ("APc", "Common"), ("APr", "Rare")),
        per_class="AP",
        shots=(("frequent (> 100 images)", 101, math.inf), ("common (11 to 100)", 11, 100), ("rare (<= 10)", 0, 10)),
    ),
)


def _of_masks(key: str) -> Measure:
    return Measure(f"mask_{key}", f"Mask {key}", f"{key}, of masks", of=lambda metrics: metrics["mask"].get(key))


_MASKS = tuple(map(_of_masks, ("AP", "AP50", "APr", "APc", "APf")))
"""Of runs that find masks, besides those of their boxes."""


def measure_set(metrics: Mapping[str, Any]) -> MeasureSet:
    """The set whose mark the test metrics carry, with every further number that they hold as a plain measure."""
    known = next((s for s in MEASURE_SETS if s.requires in metrics), None)
    if known and "mask" in metrics:
        known = dataclasses.replace(known, measures=known.measures + _MASKS)
    names = {m.key for m in known.measures} if known else set()
    extra = tuple(
        Measure(key, key, shown=known is None)
        for key, value in metrics.items()
        if key not in names and isinstance(value, int | float) and not isinstance(value, bool)
    )
    if known:
        return dataclasses.replace(known, measures=known.measures + extra)
    first = extra[0].key if extra else ""
    return MeasureSet(first, extra, first, first, ((first, first),), "performance")


def shot_groups(measures: MeasureSet, train_counts: tuple[int, ...]) -> list[tuple[str, int]]:
    """The shot groups that have classes and their number of classes, most frequent first."""
    sizes = ((name, sum(low <= n <= high for n in train_counts)) for name, low, high in measures.shots)
    return [(name, size) for name, size in sizes if size]
