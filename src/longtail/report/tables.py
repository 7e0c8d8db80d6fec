"""Tables: for the terminal, for the page, and the CSV files beside it."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from longtail.cells import quoted
from longtail.report.compared import Comparison, Group, percent, points, with_std
from longtail.report.measures import Measure
from longtail.report.runs import Run
from longtail.report.statistics import Paired

__all__ = [
    "Table",
    "csv_text",
    "difference_table",
    "format_table",
    "method_table",
    "paired_rows",
    "result_rows",
    "summary_rows",
]

NOTHING = "-"


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as text; the first column names the row.

    Args:
        title: One line above the table.
        columns: Headings.
        rows: Cells, one tuple per row, as long as ``columns``.
        best: ``(row, column)`` of the cells that win their column.
        tones: ``(row, column)`` to ``"better"`` or ``"worse"``, for differences that are clear.
        numeric: Whether all columns but the first hold numbers.
        folded: Whether the page shows it on a click only.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    tones: Mapping[tuple[int, int], str] = dataclasses.field(default_factory=dict)
    numeric: bool = True
    folded: bool = False


def format_table(table: Table) -> str:
    """The table as aligned plain text; the best cell of a column carries ``*``."""
    cells = [[c + ("*" if (i, j) in table.best else " ") for j, c in enumerate(r)] for i, r in enumerate(table.rows)]
    lines = [[f"{c} " for c in table.columns], *cells]
    widths = [max(len(line[j]) for line in lines) for j in range(len(table.columns))]

    def text(line: Sequence[str]) -> str:
        first, *rest = (c.ljust(w) if j == 0 else c.rjust(w) for j, (c, w) in enumerate(zip(line, widths, strict=True)))
        return " ".join([first, *rest]).rstrip()

    return "\n".join([table.title, text(lines[0]), "-" * len(text(lines[0])), *map(text, lines[1:])])


def method_table(c: Comparison, measures: Sequence[Measure]) -> Table:
    """Mean ± standard deviation of the measures, a row per method, best first."""
    rows: list[tuple[str, ...]] = []
    best: set[tuple[int, int]] = set()
    for group in c.groups:
        cells = (with_std(s) if (s := group.spread(m)) else NOTHING for m in measures)
        rows.append((group.label, str(len(group.runs)), *cells))
    for j, measure in enumerate(measures, start=2):
        means = {i: s.mean for i, group in enumerate(c.groups) if (s := group.spread(measure))}
        if len(means) > 1:
            winner = min(means.values()) if measure.lower_is_better else max(means.values())
            best |= {(i, j) for i, mean in means.items() if percent(mean) == percent(winner)}
    several = any(len(group.runs) > 1 for group in c.groups)
    return Table(
        f"{c.title}: test split, %" + (", mean ± standard deviation over seeds" if several else ""),
        ("Method", "Seeds", *(m.title for m in measures)),
        tuple(rows),
        frozenset(best),
    )


def difference_table(c: Comparison, measures: Sequence[Measure]) -> Table | None:
    """Paired differences to the baseline in points with 95 % intervals; None if there is nothing to pair."""
    rows: list[tuple[str, ...]] = []
    tones: dict[tuple[int, int], str] = {}
    for group in c.groups:
        pairs = [c.paired(group, c.baseline, m) if c.baseline else None for m in measures]
        if group is c.baseline or not any(pairs):
            continue
        cells = []
        for j, (measure, p) in enumerate(zip(measures, pairs, strict=True), start=2):
            if p is None:
                cells.append(NOTHING)
            elif p.low is None or p.high is None:
                cells.append(points(p.mean))
            else:
                cells.append(f"{points(p.mean)} [{points(p.low)}, {points(p.high)}]")
                if p.clear:
                    tones[len(rows), j] = "better" if (p.mean < 0) == measure.lower_is_better else "worse"
        rows.append((group.label, str(max(p.n for p in pairs if p)), *cells))
    if not rows or not c.baseline:
        return None
    known = any("[" in cell for row in rows for cell in row[1:])
    return Table(
        f"{c.title}: difference to {c.baseline.label} over common seeds, points"
        + (" [95 % interval]" if known else ""),
        ("Method", "Pairs", *(m.title for m in measures)),
        tuple(rows),
        tones=tones,
    )


def result_rows(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """One row a run: ``method,seed``, every measure as a fraction, ``val_...``, epochs, seconds, data set and path."""
    rows = []
    for c, group, run in _runs(comparisons):
        row = {"method": group.label, "seed": run.seed} | {m.key: m.value(run.test) for m in c.measures.measures}
        for key in dict.fromkeys((c.measures.headline, c.measures.unbalanced_headline)):
            measure = next((m for m in c.measures.measures if m.key == key), None)
            if measure and run.metrics.get("val"):
                row[f"val_{key}"] = measure.value(run.metrics["val"])
        seconds = [s for s in run.history.get("seconds", ()) if s > 0]
        row["epochs"] = len(run.history.get("epoch", ())) or None
        row["seconds"] = round(math.fsum(seconds), 3) if seconds else None
        rows.append(row | {"data": c.title, "run": run.relative})
    return rows


def summary_rows(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """One row a method and data set: ``method,n`` and mean and standard deviation of every measure, as fractions."""
    rows = []
    for c, group in _groups(comparisons):
        row: dict[str, Any] = {"method": group.label, "n": len(group.runs)}
        for measure in c.measures.measures:
            s = group.spread(measure)
            row |= {f"{measure.key}_mean": s and s.mean, f"{measure.key}_std": s and s.std}
        rows.append(row | {"data": c.title})
    return rows


def paired_rows(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """One row a method and measure with at least two common seeds: the difference to the baseline, as a fraction."""
    rows = []
    for c, group in _groups(comparisons):
        for measure in c.measures.measures:
            p = _pair(c, group, measure)
            if p and p.n > 1:
                names = {"method": group.label, "baseline": c.baseline and c.baseline.label, "metric": measure.key}
                numbers = {"n": p.n, "mean": p.mean, "std": p.std, "low": p.low, "high": p.high, "p": p.p}
                numbers |= {"p_holm": p.p if p.adjusted is None else p.adjusted, "pairs_for_80_power": p.seeds_needed}
                drawn = c.bootstrap(group, c.baseline, measure) if c.baseline and measure is c.key else None
                numbers |= {"bootstrap_low": drawn and drawn[0], "bootstrap_high": drawn and drawn[1]}
                rows.append(names | numbers | {"data": c.title})
    return rows


def _groups(comparisons: Iterable[Comparison]) -> Iterator[tuple[Comparison, Group]]:
    for c in comparisons:
        yield from ((c, group) for group in c.groups)


def _runs(comparisons: Iterable[Comparison]) -> Iterator[tuple[Comparison, Group, Run]]:
    for c, group in _groups(comparisons):
        yield from ((c, group, run) for run in group.runs)


def _pair(c: Comparison, group: Group, measure: Measure) -> Paired | None:
    return None if c.baseline is None or group is c.baseline else c.paired(group, c.baseline, measure)


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], last: Sequence[str]) -> str:
    """CSV of the rows: ``columns`` first, ``last`` at the end, every other key between; None is an empty cell."""
    between = dict.fromkeys(key for row in rows for key in row if key not in (*columns, *last))
    out = io.StringIO()
    writer = csv.DictWriter(out, [*columns, *between, *last], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: quoted(value) for name, value in row.items()} for row in rows)
    return out.getvalue()
