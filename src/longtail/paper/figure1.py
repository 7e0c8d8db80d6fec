"""Figure 1: how many training images a class has, and how well plain training recognises it.

Result:
    docs/_static/figure1.png
    cifar100-100: ce 63.59 (1), paper 61.79
Time: 2.7 h, one run
Hardware: AMD EPYC, 2 cores, bf16
Command: longtail reproduce figure1 --precision bf16 --out OUT
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from longtail import runfolder
from longtail.palette import BLUE, VERMILION
from longtail.paper.base import Cell, FigureRecipe, Row, Runs, TableRecipe
from longtail.paper.columns import CIFAR100_100, IMAGENET_LT
from longtail.training.files import read_json, write_csv

__all__ = ["RECIPE"]


def _classes(cell: Cell, folders: list[Path]) -> list[dict[str, Any]]:
    """The classes that the test split holds, the largest first; accuracies are means over the seeds."""
    data = read_json(folders[0] / runfolder.DATA)
    names, counts = data["class_names"], data["class_counts"]["train"]
    accuracy = [read_json(folder / runfolder.METRICS)["test"]["per_class"] for folder in folders]
    return [
        {
            "column": cell.column.name,
            "class": c,
            "name": names[c],
            "train_count": counts[c],
            "n": len(folders),
            "accuracy": round(math.fsum(run[c] for run in accuracy) / len(folders), 6),
        }
        for c in sorted(range(len(names)), key=lambda c: -counts[c])
        if accuracy[0][c] is not None
    ]


def draw(out: Path, runs: Runs) -> list[Path]:
    from longtail.report.statistics import rank_correlation
    from longtail.report.style import new_figure, png, uniform_style

    found = [(cell, _classes(cell, list(folders))) for cell, folders in runs]
    table, picture = out / "figure1.csv", out / "figure1.png"
    rows = [row for _, classes in found for row in classes]
    write_csv(table, ("column", "class", "name", "train_count", "n", "accuracy"), rows)
    with uniform_style():
        figure = new_figure(3.6 * len(found))
        for (left, right), (cell, classes) in zip(figure.subplots(len(found), 2, squeeze=False), found, strict=True):
            counts, accuracy = ([row[key] for row in classes] for key in ("train_count", "accuracy"))
            place = range(1, len(classes) + 1)
            left.fill_between(place, counts, color=BLUE, step="mid")
            left.set(ylabel="Training images", title=f"(a) {cell.column.name}", xlabel="Class, the largest first")
            right.bar(place, [100 * a for a in accuracy], width=1, color=VERMILION)
            rank = rank_correlation(counts, accuracy)
            found_rank = "" if rank is None else f": rank correlation {rank:.2f}"
            right.set(ylabel="Test accuracy (%)", title=f"(b) plain training{found_rank}")
            right.set(xlabel="Class, the largest first", ylim=(0, 100))
            for axes in (left, right):
                axes.set_xlim(0.5, len(classes) + 0.5)
        picture.write_bytes(png(figure))
    return [picture, table]


RECIPE = FigureRecipe(
    name="figure1",
    title="Training images and accuracy of each class under plain training",
    draw=draw,
    runs=TableRecipe(
        name="figure1",
        title="Classification errors (%) of the runs behind Figure 1",
        columns=(IMAGENET_LT, CIFAR100_100),
        rows=(Row(name="ce", method="ce"),),
        paper={"ce": ("65.20", "61.79")},
    ),
)
