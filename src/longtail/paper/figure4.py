"""Figure 4: hard instances of the many-, medium- and few-shot classes while focal loss and CDB-W-CE train.

Result:
    docs/_static/figure4.png
    cifar100-200, small scale: focal 80.44 ± 0.50 (3); cdb-w 79.46 ± 0.55 (3)
Time: 1.9 min a run, 22.8 min for the 12 runs one after the other
Hardware: AMD EPYC, 2 cores, bf16
Command: longtail reproduce figure4 --scale small --precision bf16 --out OUT

An instance is hard if its weight is above 0.8 (Section 4.1.6). Focal loss weighs samples by ``(1 - p) ** gamma``: the
run counts them as the batches see them (``hard.csv``). CDB-W-CE weighs classes: all samples of a class are hard or
none is, by ``d ** tau`` of Eq. 4, from the end of the epoch before; in the first epoch every weight is 1. Scaling the
weights afterwards, as the library's default does, leaves this count as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longtail import runfolder
from longtail.metrics import shot_groups
from longtail.paper.base import FigureRecipe, Row, Runs, TableRecipe
from longtail.paper.columns import CIFAR100_200
from longtail.training.files import intact, read_csv, read_json, write_csv
from longtail.training.hard import THRESHOLD

__all__ = ["RECIPE", "RUNS", "groups"]

COLUMNS = ("row", "epoch", "group", "classes", "n", "hard")

RUNS = TableRecipe(
    name="figure4",
    title="Classification errors (%) of the runs behind Figures 4 and 5",
    columns=(CIFAR100_200,),
    rows=(
        Row(name="focal", method="focal"),
        Row(name="cdb-w", method="cdb-w", kwargs=("defer=0",)),  # weights from the first epoch on, as in the paper
        Row(name="cdb-w-paper", method="cdb-w", kwargs=("preset=paper",), beside="cdb-w"),
        Row(name="cdb-w-accv", method="cdb-w", kwargs=("preset=code2020-imagenet",), beside="cdb-w"),
    ),
    paper={"cdb-w": ("62.28",)},  # Table 2; focal loss at imbalance 200 is not printed
)


def groups(folder: Path) -> dict[str, list[int]]:
    """The classes of each group by the rule of Section 4.1.6: a class of exactly 20 images is few-shot."""
    with intact(folder):
        masks = shot_groups(read_json(folder / runfolder.DATA)["class_counts"]["train"], many=100, few=21)
        return {name: mask.nonzero().flatten().tolist() for name, mask in masks.items()}


def _hard(folder: Path) -> list[list[float]]:
    """Number of hard training samples by epoch and class."""
    with intact(folder):
        return _hard_of(folder)


def _hard_of(folder: Path) -> list[list[float]]:
    counts = read_json(folder / runfolder.DATA)["class_counts"]["train"]
    if rows := read_csv(folder / runfolder.HARD):
        return _by_epoch(rows, len(counts), [float(row["hard"]) for row in rows])
    history = read_csv(folder / runfolder.HISTORY)
    tau = {row["epoch"]: float(row["tau"]) for row in history}
    rows = read_csv(folder / runfolder.DIFFICULTY)
    # A class that was never measured has no difficulty; its weight stays 1.
    weights = [float(row.get("used_difficulty") or row["difficulty"] or 1) ** tau[row["epoch"]] for row in rows]
    after = _by_epoch(rows, len(counts), weights)
    return [
        [float(n * (w > THRESHOLD)) for n, w in zip(counts, row, strict=True)]
        for row in ([1.0] * len(counts), *after[:-1])
    ]


def _by_epoch(rows: Sequence[dict[str, str]], classes: int, values: Sequence[float]) -> list[list[float]]:
    table = [[0.0] * classes for _ in range(max(int(row["epoch"]) for row in rows))]
    for row, value in zip(rows, values, strict=True):
        table[int(row["epoch"]) - 1][int(row["class"])] = value
    return table


def _curves(row: str, folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Hard samples per class, averaged over the classes of a group and over the seeds."""
    seeds = [_hard(folder) for folder in folders]
    return [
        {
            "row": row,
            "epoch": epoch + 1,
            "group": group,
            "classes": len(classes),
            "n": len(seeds),
            "hard": round(math.fsum(s[epoch][c] for s in seeds for c in classes) / len(classes) / len(seeds), 4),
        }
        for epoch in range(len(seeds[0]))
        for group, classes in groups(folders[0]).items()
        if classes
    ]


def draw(out: Path, runs: Runs) -> list[Path]:
    from longtail.report.style import legend, looks, new_figure, png, uniform_style

    found = {cell.row.name: _curves(cell.row.name, folders) for cell, folders in runs}
    table, picture = out / "figure4.csv", out / "figure4.png"
    write_csv(table, COLUMNS, [line for lines in found.values() for line in lines])
    with uniform_style():
        figure = new_figure(4.2)
        panels = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
        style = looks(["many", "medium", "few"], None)
        for axes, (name, lines) in zip(panels, found.items(), strict=True):
            for group, look in style.items():
                points = [(line["epoch"], line["hard"]) for line in lines if line["group"] == group]
                if points:
                    axes.plot(*zip(*points, strict=True), color=look.color, linestyle=look.dash, label=group)
            axes.set(xlabel="Epoch", title=name if name.startswith("focal") else f"{name}: smoothed d ** tau")
        panels[0].set(ylabel="Training images per class with a weight above 0.8")
        legend(figure, panels[0], title="Classes")
        picture.write_bytes(png(figure))
    return [picture, table]


RECIPE = FigureRecipe(name="figure4", title="Hard instances of each group of classes by epoch", draw=draw, runs=RUNS)
