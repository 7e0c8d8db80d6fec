"""What ``results/crossfit.csv`` says: tables for `build_tables.py`, and the picture ``docs/_static/crossfit.png``.

Usage: ``python docs/crossfit.py`` after new results are in.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

from measured import interval, read  # noqa: E402

from longtail.methods._crossfit import EXPONENTS, climbed  # noqa: E402
from longtail.palette import BLUE, GREEN, ORANGE, PURPLE, VERMILION  # noqa: E402
from longtail.report.statistics import paired, rounded  # noqa: E402

__all__ = ["CrossFit", "crossfit_number", "crossfit_table"]

Key = tuple[str, str, str, str]
"""Exponent of the counts, difficulty, form, value."""

SETS = {
    "cifar100-lt-100": "CIFAR100-LT\n100 : 1",
    "cifar100-lt-10": "CIFAR100-LT\n10 : 1",
    "cifar100-hard-frequent": "CIFAR-100, 100 : 1\nhard ones frequent",
    "mnist-hard-frequent": "MNIST pixels, 50 : 1\nhard ones frequent",
    "cifar100-balanced": "CIFAR-100\nbalanced",
}


def _curve(exponent: str, difficulty: str, form: str, *values: str) -> list[Key]:
    return [(exponent, "", "", ""), *((exponent, difficulty, form, value) for value in values)]


CURVES: dict[str, tuple[str, list[Key]]] = {
    "exponent of the counts": (BLUE, [(f"{tau:g}", "", "", "") for tau in EXPONENTS]),
    "weights of accuracy on ce": (ORANGE, _curve("0", "recall", "weight", "0.5", "1.0", "2.0")),
    "margin on ce": (GREEN, _curve("0", "soft", "logit", "0.25", "0.5", "1.0", "1.5")),
    "weights on balanced softmax": (VERMILION, _curve("1", "soft", "weight", "0.5", "1.0")),
    "margin on balanced softmax": (PURPLE, _curve("1", "soft", "logit", "0.25", "0.5", "1.0", "1.5")),
}
"""Points of a method, by how strongly it acts."""

ROWS: dict[str, str | Key] = {
    "ce": ("0", "", "", ""),
    "cdb-w": ("0", "recall", "weight", "1.0"),
    "cdb-w measure=soft tau=0.5": ("0", "soft", "weight", "0.5"),
    "cdb-w measure=soft": ("0", "soft", "weight", "1.0"),
    "cdb-margin base=ce": ("0", "soft", "logit", "0.5"),
    "cdb-margin base=ce aim=floor": ("0", "soft", "logit", "1.0"),
    "balanced-softmax": ("1", "", "", ""),
    "balanced-softmax tau=cv": "mean",
    "balanced-softmax tau=cv aim=floor": "geometric_mean",
    "cdb-w base=balanced-softmax measure=soft": ("1", "soft", "weight", "1.0"),
    "cdb-margin": ("1", "soft", "logit", "0.5"),
    "cdb-margin aim=floor": ("1", "soft", "logit", "1.0"),
}
"""As a command line says it, with ``source=cross-fit`` throughout; a name of a measure: what it chooses out of fold."""


class CrossFit:
    """Rows of the benchmark by set, draw and loss."""

    def __init__(self, file: Path = ROOT / "results" / "crossfit.csv") -> None:
        self.rows: dict[str, dict[str, dict[Key, dict[str, str]]]] = {}
        for row in read(file):
            key = (row["loss"], row["difficulty"], row["form"], row["value"])
            self.rows.setdefault(row["set"], {}).setdefault(row["draw"], {})[key] = row

    def value(self, name: str, draw: str, row: str | Key, measure: str) -> float | None:
        """One number in %, or None where it was not computed."""
        own = self.rows.get(name, {}).get(draw, {})
        if isinstance(row, str):
            key = self.chosen(name, draw, row)
            row = (f"{key:g}", "", "", "") if key is not None else ("", "", "", "")
        return float(own[row][measure]) if row in own else None

    def chosen(self, name: str, draw: str, by: str) -> float | None:
        """The exponent that ``tau=cv`` takes; None where it was not computed, as on balanced sets."""
        own = self.rows[name][draw]

        def score(tau: float) -> float:
            row = own.get((f"{tau:g}", "", "", ""))
            return float(row[f"oof_{by}"]) if row else -1.0

        return climbed(score)[0] if all(score(tau) >= 0 for tau in (1.0, 1.15, 1.3, 1.5)) else None

    def differences(self, name: str, row: str | Key, other: str | Key, measure: str) -> list[float]:
        """``row - other`` over the draws that have both."""
        pairs = [[self.value(name, draw, of, measure) for of in (row, other)] for draw in self.rows.get(name, {})]
        return [a - b for a, b in pairs if a is not None and b is not None]

    def mean(self, name: str, row: str | Key, measure: str) -> float | None:
        found = [self.value(name, draw, row, measure) for draw in self.rows.get(name, {})]
        known = [value for value in found if value is not None]
        return statistics.fmean(known) if known else None

    def placed(self, name: str, row: Key, base: Key, measure: str) -> float | None:
        """The mean of ``base`` over all draws, and what ``row`` is above it in the draws that have both."""
        start, steps = self.mean(name, base, measure), self.differences(name, row, base, measure)
        return None if start is None or not steps else start + statistics.fmean(steps)


def crossfit_table(text: str, markdown: Callable[[list[str], list[list[str]]], str], file: Path) -> str:
    """``MEASURE ... | SET ... | OTHER [| ROW; ...]``: differences to OTHER in points, with 95 % interval and draws."""
    results = CrossFit(file)
    measures, sets, other, *rows = (part.strip() for part in text.split("|"))
    columns = [(place, measure) for place in sets.split() for measure in measures.split()]
    body = []
    for name in [row.strip() for row in rows[0].split(";")] if rows else ROWS:
        line = [f"`{name}`"]
        for place, measure in columns:
            found = paired(results.differences(place, ROWS[name], ROWS[other], measure))
            if name == other:
                mean = results.mean(place, ROWS[name], measure)
                line.append("–" if mean is None else f"**{rounded(mean, 1)} %**")
            elif found is None or found.n < 3:
                line.append("–")
            else:
                line.append(f"{rounded(found.mean, 1, sign=True)} {interval(found, 1)} ({found.n})")
        if any(cell != "–" for cell in line[1:]):
            body.append(line)
    one = len(measures.split()) == 1
    return markdown(["", *(f"`{place}`" if one else measure.replace("_", " ") for place, measure in columns)], body)


def crossfit_number(text: str, file: Path) -> str:
    """``crossfit | SET | ROW | MEASURE [| above ROW]``: a mean in %, or a difference in points with its interval."""
    results = CrossFit(file)
    _, place, row, measure, *rest = (part.strip() for part in text.split("|"))
    if rest:
        found = paired(results.differences(place, ROWS[row], ROWS[rest[0].removeprefix("above ")], measure))
        if found is None:
            raise ValueError("no draw in common")
        return f"{rounded(found.mean, 1, sign=True)} {interval(found, 1)}"
    mean = results.mean(place, ROWS[row], measure)
    if mean is None:
        raise ValueError("no such row")
    return rounded(mean, 1)


def draw(results: CrossFit) -> Figure:
    figure = Figure(figsize=(11, 6.6), dpi=130, layout="constrained")
    places = figure.subplots(2, 3).flat
    for axes, (name, title) in zip(places, SETS.items(), strict=False):
        for label, (colour, keys) in CURVES.items():
            points = []
            for key in keys:
                base = keys[0] if label != "exponent of the counts" else ("1", "", "", "")
                steps = [results.differences(name, key, base, m) for m in ("worst_tenth", "mean")]
                starts = [results.mean(name, base, m) for m in ("worst_tenth", "mean")]
                if all(steps) and None not in starts:
                    points.append(
                        [s + statistics.fmean(d) for s, d in zip(starts, steps, strict=True) if s is not None]
                    )
            if len(points) > 1:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, "o-", color=colour, ms=4, lw=1.6, label=label)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("worst tenth (%)", fontsize=9)
        axes.set_ylabel("mean over the classes (%)", fontsize=9)
        axes.grid(alpha=0.25)
    last = figure.axes[-1]
    last.axis("off")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    last.legend(handles, labels, loc="center", fontsize=10, frameon=False)
    return figure


def main() -> None:
    draw(CrossFit()).savefig(ROOT / "docs" / "_static" / "crossfit.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
