"""Means, spreads and paired differences over a handful of seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

__all__ = ["Paired", "Spread", "paired", "rank_correlation", "spread", "t_quantile"]


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean over ``n`` seeds and the sample standard deviation (divisor n - 1); ``std`` is None below two seeds."""

    n: int
    mean: float
    std: float | None


@dataclasses.dataclass(frozen=True)
class Paired:
    """Differences between two methods over the seeds that both have, with a 95 % t-interval of their mean.

    ``std``, ``low`` and ``high`` are None below two pairs: then nothing is known about the spread.
    """

    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0: the difference is larger than what the seeds explain."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def seeds_needed(self) -> int | None:
        """Pairs with which an interval around the same mean and spread would just leave out 0; None above 1000."""
        if self.std is None or self.mean == 0:
            return None
        for n in range(2, 1001):
            if t_quantile(0.975, n - 1) * self.std / math.sqrt(n) < abs(self.mean):
                return n
        return None


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation; None without values."""
    n = len(values)
    if not n:
        return None
    mean = math.fsum(values) / n
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else None
    return Spread(n, mean, std)


def paired(differences: Sequence[float]) -> Paired | None:
    """Mean difference and ``mean ± t(0.975, n - 1) * std / sqrt(n)``; None without pairs."""
    s = spread(differences)
    if s is None:
        return None
    if s.std is None:
        return Paired(s.n, s.mean, None, None, None)
    half = t_quantile(0.975, s.n - 1) * s.std / math.sqrt(s.n)
    return Paired(s.n, s.mean, s.std, s.mean - half, s.mean + half)


def t_quantile(p: float, dof: int) -> float:
    """Quantile of Student's t distribution with a whole number of degrees of freedom.

    Args:
        p: Probability in [0.5, 1).
        dof: Degrees of freedom, at least 1.

    Source: the finite series of the distribution function for integer degrees of freedom (Abramowitz and Stegun,
    26.7.3 and 26.7.4), inverted by bisection.
    """

    def inside(t: float) -> float:
        """P(|T| < t)."""
        angle = math.atan(t / math.sqrt(dof))
        sin, cos = math.sin(angle), math.cos(angle)
        term = cos if dof % 2 else 1.0
        total = 0.0
        for k in range(2 + dof % 2, dof + 1, 2):
            total += term
            term *= cos * cos * (k - 1) / k
        return 2 / math.pi * (angle + sin * total) if dof % 2 else sin * total

    low, high = 0.0, 1.0
    while inside(high) < 2 * p - 1:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < 2 * p - 1 else (low, middle)
    return (low + high) / 2


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
