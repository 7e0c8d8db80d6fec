"""Means, spreads and paired differences over a handful of seeds, and over the images of a test split."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
from numpy.typing import NDArray
from scipy import special  # scipy.stats takes seconds to load

__all__ = [
    "Answers",
    "Paired",
    "Spread",
    "bootstrap",
    "holm",
    "paired",
    "rank_correlation",
    "rounded",
    "spread",
    "t_quantile",
]

LEVEL = 0.05
"""Of the two-sided tests; the intervals are those of 95 %."""
POWER = 0.8
_RESAMPLES = 2000
_MOST_PAIRS = 1000


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean over ``n`` seeds and the sample standard deviation (divisor n - 1); ``std`` is None below two seeds."""

    n: int
    mean: float
    std: float | None


@dataclasses.dataclass(frozen=True)
class Paired:
    """Differences between two methods over the seeds that both have, with a 95 % t-interval of their mean.

    ``std``, ``low``, ``high`` and ``p`` are None below two pairs: then nothing is known about the spread.

    Args:
        n: Number of pairs.
        mean: Of the differences.
        std: Their sample standard deviation.
        low, high: The interval, of this comparison alone.
        p: Of the two-sided t-test that the mean is 0, of this comparison alone.
        adjusted: The same after Holm's correction for all ``comparisons``; None: there is one only.
        comparisons: Number of comparisons that were looked at.
    """

    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None
    p: float | None = None
    adjusted: float | None = None
    comparisons: int = 1

    @property
    def turned(self) -> Paired:
        """The same with the two methods exchanged."""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return dataclasses.replace(self, mean=-self.mean, low=low, high=high)

    @property
    def clear(self) -> bool:
        """Whether the difference is larger than what the seeds explain, corrected for the other comparisons."""
        p = self.p if self.adjusted is None else self.adjusted
        return p is not None and p < LEVEL

    @property
    def seeds_needed(self) -> int | None:
        """Pairs with which a difference of this size and spread is found in 80 % of the cases; None above 1000.

        Source: power of the two-sided t-test at the 5 % level, from the noncentral t distribution.
        """
        if self.std is None or self.mean == 0:
            return None
        if self.std == 0:
            return 2
        effect = abs(self.mean) / self.std
        return next((n for n in range(2, _MOST_PAIRS + 1) if _power(effect, n) >= POWER), None)


def _power(effect: float, n: int) -> float:
    """Chance that ``n`` pairs show a true difference of ``effect`` standard deviations."""
    shift, bound = effect * math.sqrt(n), t_quantile(1 - LEVEL / 2, n - 1)
    below, above = (float(special.nctdtr(n - 1, shift, end)) for end in (-bound, bound))
    if math.isnan(above):  # far out, where scipy gives up
        return float(shift > bound)
    return 1 - above + (0.0 if math.isnan(below) else below)


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation; None without values."""
    n = len(values)
    if not n:
        return None
    mean = math.fsum(values) / n
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else None
    return Spread(n, mean, std)


def paired(differences: Sequence[float]) -> Paired | None:
    """Mean difference, ``mean ± t(0.975, n - 1) * std / sqrt(n)`` and its p-value; None without pairs."""
    s = spread(differences)
    if s is None:
        return None
    if s.std is None:
        return Paired(s.n, s.mean, None, None, None)
    error = s.std / math.sqrt(s.n)
    half = t_quantile(1 - LEVEL / 2, s.n - 1) * error
    surely = 0.0 if s.mean else 1.0  # without any spread
    p = 2 * float(special.stdtr(s.n - 1, -abs(s.mean) / error)) if error else surely
    return Paired(s.n, s.mean, s.std, s.mean - half, s.mean + half, p)


def rounded(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """The one rounding of everything that is printed for people: to the nearest, halves away from 0.

    Noise beyond ten significant digits is dropped first, so that 100 * 0.03625 is 3.625 and becomes 3.63.

    Args:
        value: A finite number.
        digits: Decimal places.
        sign: Begin with the sign; 0 has none.
    """
    number = Decimal(f"{value:.10g}").quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    if not number:
        return str(abs(number))
    return f"{number:+}" if sign else str(number)


@functools.cache
def t_quantile(p: float, dof: int) -> float:
    """Quantile of Student's t distribution.

    Args:
        p: Probability in (0, 1).
        dof: Degrees of freedom, at least 1.
    """
    return float(special.stdtrit(dof, p))


def holm(found: Sequence[Paired | None]) -> list[Paired | None]:
    """The same comparisons with p-values that hold for all of them together.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979. The
    p-value of rank i of m is multiplied by m - i, and is at least that of the rank before.
    """
    known = sorted((p.p, i) for i, p in enumerate(found) if p is not None and p.p is not None)
    out, largest = list(found), 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        one = found[i]
        assert one is not None
        if len(known) > 1:
            out[i] = dataclasses.replace(one, adjusted=largest, comparisons=len(known))
    return out


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What a run said of each test sample: int64 arrays ``[N]``, in ascending order of ``sample``.

    Args:
        sample: A number of the sample, the same in every run.
        target: Its class.
        predicted: The class that the run took it for.
    """

    sample: NDArray[np.int64]
    target: NDArray[np.int64]
    predicted: NDArray[np.int64]

    def same_samples(self, other: Answers) -> bool:
        return np.array_equal(self.sample, other.sample) and np.array_equal(self.target, other.target)


def bootstrap(pairs: Sequence[tuple[Answers, Answers]], measure: str) -> tuple[float, float] | None:
    """95 % interval of the mean difference between two methods if other test samples had been drawn.

    The samples of all pairs are drawn with replacement, each with all its answers: a sample that several runs were
    tested on stays one sample. The training runs are taken as they are.

    Args:
        pairs: The answers of both methods, seed by seed.
        measure: ``error``, ``top1``, or ``recall`` (the mean accuracy of the classes that were drawn).

    Returns:
        2.5 % and 97.5 % quantiles of ``first - second``; None without pairs, for another measure, or where the runs of
        a pair were tested on different samples.
    """
    if not pairs or measure not in ("error", "top1", "recall") or not all(a.same_samples(b) for a, b in pairs):
        return None
    units = np.unique(np.concatenate([a.sample for a, _ in pairs]))
    sign = -1 if measure == "error" else 1
    prepared = []
    for a, b in pairs:
        gain = sign * ((a.predicted == a.target).astype(np.float64) - (b.predicted == b.target))
        classes, target = np.unique(a.target, return_inverse=True)
        prepared.append((np.searchsorted(units, a.sample), gain, target, len(classes)))
    random, found = np.random.default_rng(0), np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):
        weight = np.bincount(random.integers(len(units), size=len(units)), minlength=len(units))
        total = 0.0
        for unit, gain, target, classes in prepared:
            drawn = weight[unit]
            if measure == "recall":
                size = np.bincount(target, drawn, classes)
                own = np.bincount(target, drawn * gain, classes)
                total += float((own[size > 0] / size[size > 0]).mean()) if drawn.any() else 0.0
            else:
                total += float(drawn @ gain) / max(1, int(drawn.sum()))
        found[i] = total / len(prepared)
    low, high = np.quantile(found, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation with mean ranks for ties; None below three pairs or if one side is constant."""

    def ranks(values: Sequence[float]) -> list[float]:
        ordered = sorted(values)
        first = {v: i for i, v in reversed(list(enumerate(ordered)))}
        last = {v: i for i, v in enumerate(ordered)}
        return [(first[v] + last[v]) / 2 for v in values]

    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    x, y = ranks(a), ranks(b)
    mx, my = math.fsum(x) / len(x), math.fsum(y) / len(y)
    covariance = math.fsum((u - mx) * (v - my) for u, v in zip(x, y, strict=True))
    return covariance / math.sqrt(math.fsum((u - mx) ** 2 for u in x) * math.fsum((v - my) ** 2 for v in y))
