"""Figure 5: accuracy of the many-, medium- and few-shot classes under focal loss and CDB-W-CE, from Figure 4's runs.

Result:
    docs/_static/figure5.png
    cifar100-200, small scale: focal 80.44 ± 0.50 (3); cdb-w 79.46 ± 0.55 (3)
Time: 1.9 min a run, 22.8 min for the 12 runs one after the other
Hardware: AMD EPYC, 2 cores, bf16
Command: longtail reproduce figure5 --scale small --precision bf16 --out OUT
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longtail import runfolder
from longtail.paper.base import FigureRecipe, Runs
from longtail.paper.figure4 import RUNS, groups
from longtail.report.statistics import spread
from longtail.training.files import read_json, write_csv

__all__ = ["RECIPE"]

COLUMNS = ("row", "group", "classes", "n", "mean", "std", "paper")
# The bars carry no numbers; the text says by how much CDB-W-CE is ahead of focal loss.
GAINS = {"medium": "5.11", "few": "7.26", "all": "1.74"}


def _accuracies(folder: Path) -> dict[str, float]:
    """Accuracy in % of each group that has a class in the test split, and of all classes."""
    accuracy = read_json(folder / runfolder.METRICS)["test"]["per_class"]
    found = {}
    for group, classes in (groups(folder) | {"all": list(range(len(accuracy)))}).items():
        if values := [accuracy[c] for c in classes if accuracy[c] is not None]:
            found[group] = 100 * math.fsum(values) / len(values)
    return found


def _lines(row: str, runs: Sequence[dict[str, float]], sizes: dict[str, int]) -> list[dict[str, Any]]:
    lines = []
    for group in runs[0]:
        s = spread([run[group] for run in runs])
        assert s is not None
        mean, std = round(s.mean, 4), "" if s.std is None else round(s.std, 4)
        lines.append({"row": row, "group": group, "classes": sizes[group], "n": s.n, "mean": mean, "std": std})
    return lines


def draw(out: Path, runs: Runs) -> list[Path]:
    from longtail.report.style import legend, looks, new_figure, png, uniform_style

    found = {cell.row.name: {f.name: _accuracies(f) for f in folders} for cell, folders in runs}
    first = runs[0][1][0]
    sizes = {group: len(classes) for group, classes in groups(first).items()}
    sizes["all"] = sum(sizes.values())
    lines = {row: _lines(row, list(seeds.values()), sizes) for row, seeds in found.items()}
    gains = []
    for row, seeds in found.items():  # seed by seed, where both have it
        both = [seed for seed in seeds if seed in found.get("focal", {})]
        if row != "focal" and both:
            gain = [{g: seeds[s][g] - found["focal"][s][g] for g in seeds[s]} for s in both]
            gains += [line | {"paper": GAINS.get(line["group"], "")} for line in _lines(f"{row} - focal", gain, sizes)]
    table, picture = out / "figure5.csv", out / "figure5.png"
    write_csv(table, COLUMNS, [*(line for own in lines.values() for line in own), *gains])
    with uniform_style():
        figure = new_figure(4.2)
        axes = figure.subplots()
        style, width = looks(list(lines), None), 0.8 / len(lines)
        for i, (row, own) in enumerate(lines.items()):
            place = [j + (i - (len(lines) - 1) / 2) * width for j in range(len(own))]
            bars = axes.bar(
                place, [line["mean"] for line in own], 0.92 * width, yerr=[line["std"] or 0 for line in own],
                color=style[row].color, label=row,
            )  # fmt: skip
            axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
        names = [f"{line['group']} ({line['classes']})" for line in next(iter(lines.values()))]
        axes.set_xticks(range(len(names)), names)
        axes.set(xlabel="Classes by their training images (how many)", ylabel="Test accuracy (%)")
        axes.set_title("Accuracy by group of classes (Figure 5)")
        legend(figure, axes, title="Method")
        picture.write_bytes(png(figure))
    return [picture, table]


RECIPE = FigureRecipe(
    name="figure5",
    title="Accuracy of each group of classes",
    draw=draw,
    runs=dataclasses.replace(RUNS, name="figure5"),
)
