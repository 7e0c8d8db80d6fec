"""How evenly the classes fare, which a mean over them does not show: plain numbers, for training and report alike."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["EVENNESS", "FLOOR", "evenness", "geometric_mean", "lowest_class", "worst_tenth"]

FLOOR = 0.01
"""What a class below it counts as in the geometric mean, which a single class at 0 would make 0 otherwise."""


def worst_tenth(performance: Iterable[float | None]) -> float | None:
    """Mean performance of the worst tenth of the classes: of ``max(1, C // 10)`` of them, so that 10 of 101 count.

    Args:
        performance: Of each class, in [0, 1]; None or NaN for a class without samples, which is left out.

    Returns:
        None without any class.
    """
    known = _known(performance)
    worst = sorted(known)[: max(1, len(known) // 10)]
    return math.fsum(worst) / len(worst) if worst else None


def geometric_mean(performance: Iterable[float | None]) -> float | None:
    """Geometric mean over the classes; a class below 0.01 counts as 0.01. Arguments as in `worst_tenth`."""
    logs = [math.log(max(value, FLOOR)) for value in _known(performance)]
    return math.exp(math.fsum(logs) / len(logs)) if logs else None


def lowest_class(performance: Iterable[float | None]) -> float | None:
    """Performance of the worst class. Arguments as in `worst_tenth`."""
    return min(_known(performance), default=None)


EVENNESS = {"worst_tenth": worst_tenth, "geometric_mean": geometric_mean, "lowest_class": lowest_class}
"""By their keys in ``metrics.json``."""


def evenness(performance: Iterable[float | None]) -> dict[str, float | None]:
    """All of `EVENNESS`. Arguments as in `worst_tenth`."""
    known = _known(performance)
    return {key: measure(known) for key, measure in EVENNESS.items()}


def _known(performance: Iterable[float | None]) -> list[float]:
    return [float(value) for value in performance if value is not None and not math.isnan(value)]
