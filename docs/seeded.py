"""Tables of the files in ``results`` that hold a row per run, with its seed: means, and differences paired by seed."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from measured import interval, read

from longtail.report.statistics import paired, rounded

__all__ = ["seeded_table"]


def seeded_table(text: str, markdown: Callable[[list[str], list[list[str]]], str], folder: Path) -> str:
    """``FILE | COLUMN=VALUE ... | ROWS | MEASURE ... | OTHER [| NAME; ...]``: a line per value of the column ROWS, or
    per NAME among them, best mean first.

    Each measure as mean ± standard deviation over the seeds (or draws), and its difference to the line OTHER with its
    95 % interval, paired by seed.
    """
    name, chosen, by, measures, other, *names = (part.strip() for part in text.split("|"))
    wanted = dict(word.split("=", 1) for word in chosen.split())
    cells: dict[str, dict[str, dict[str, float]]] = {}
    for row in read(folder / f"{name}.csv"):
        if all(row[column] == value for column, value in wanted.items()):
            known = {measure: float(row[measure]) for measure in measures.split() if row[measure]}
            cells.setdefault(row[by], {})[row.get("seed") or row["draw"]] = known
    first = measures.split()[0]
    shown = [key for key in cells if not names or key in {own.strip() for own in names[0].split(";")}]
    body = []
    for key in sorted(shown, key=lambda k: -statistics.fmean(own[first] for own in cells[k].values())):
        line = [f"`{key}`"]
        for measure in measures.split():
            values = {seed: own[measure] for seed, own in cells[key].items() if measure in own}
            told = rounded(statistics.fmean(values.values()), 1)
            if len(values) > 1:
                told += f" ± {rounded(statistics.stdev(values.values()), 1)}"
            theirs = {seed: own[measure] for seed, own in cells[other].items() if measure in own}
            found = paired([value - theirs[seed] for seed, value in values.items() if seed in theirs])
            above = "" if found is None else f"{rounded(found.mean, 1, sign=True)} {interval(found, 1)}".strip()
            line += [told, "–" if key == other else above]
        body.append([*line, str(len(cells[key]))])
    header = [part for measure in measures.split() for part in (measure.replace("_", " "), f"against `{other}`")]
    return markdown(["", *header, "n"], body) if body else ""
