"""Draw who wins where, from ``results/paper-runs.csv``, into ``docs/_static/winners.png`` for the README.

A cell is the gain over plain cross-entropy in points (fewer errors, more AP), as the mean over the seeds that both have
run. It is bold and dark where the paired 95 % interval of the difference does not include 0.

Usage: ``python docs/draw_winners.py`` after new results are in.
"""

from __future__ import annotations

import csv
import math
import statistics
from pathlib import Path

from matplotlib.figure import Figure
from scipy.special import stdtrit

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {  # table, column, whether more is better, title
    ("table1", "mnist-199"): (-1, "MNIST 4 v 9\n199 : 1"),
    ("comparison", "digits"): (-1, "digits\n20 : 1"),
    ("comparison-small", "cifar100-100"): (-1, "CIFAR100-LT\n100 : 1, small"),
    ("table7", "moving-digits-top1"): (1, "clips\nmoving-digits"),
    ("table5", "shapes-lt-AP"): (1, "boxes, AP\nshapes-lt"),
    ("table5", "shapes-lt-APr"): (1, "boxes, AP\nof rare classes"),
}
METHODS = "cdb-w cdb-s cdb-w-cls balanced-softmax ldam-drw crt class-aware cfs cb focal rfs bags-cls eql".split()
FULL = 30.0
"""Points at which the colour is full."""


def gains(rows: list[dict[str, str]]) -> dict[tuple[str, str], dict[str, tuple[float, float]]]:
    """By setting and method: mean gain over ``ce`` in points, and half of its paired 95 % interval."""
    runs = {(r["table"], r["column"], r["row"], r["seed"]): float(r["test"]) for r in rows if r["test"]}
    found: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    for setting, (sign, _) in SETTINGS.items():
        found[setting] = {}
        for method in METHODS:
            seeds = [s for (*where, row, s) in runs if tuple(where) == setting and row == method]
            pairs = [
                sign * (runs[*setting, method, s] - runs[*setting, "ce", s])
                for s in seeds
                if (*setting, "ce", s) in runs
            ]
            if len(pairs) > 1:
                error = statistics.stdev(pairs) / math.sqrt(len(pairs))
                found[setting][method] = statistics.fmean(pairs), float(stdtrit(len(pairs) - 1, 0.975)) * error
    return found


def color(gain: float) -> tuple[float, float, float]:
    """From orange (worse) over white to blue (better)."""
    share = min(1.0, abs(gain) / FULL) ** 0.5
    end = (0.0, 0.45, 0.70) if gain > 0 else (0.84, 0.37, 0.0)
    red, green, blue = (1 - share * 0.85 * (1 - c) for c in end)
    return red, green, blue


def draw(found: dict[tuple[str, str], dict[str, tuple[float, float]]]) -> Figure:
    figure = Figure(figsize=(8, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    for x, own in enumerate(found.values()):
        for y, method in enumerate(METHODS):
            if method not in own:
                axes.text(x, y, "–", ha="center", va="center", color="#999999", fontsize=10)
                continue
            gain, half = own[method]
            shade, clear = color(gain), abs(gain) > half
            axes.add_patch(_tile(x, y, shade))
            dark = 0.3 * shade[0] + 0.59 * shade[1] + 0.11 * shade[2] < 0.55
            axes.text(
                x, y, f"{gain:+.1f}".replace("-", "−"), ha="center", va="center", fontsize=10,
                color="white" if dark else "black" if clear else "#555555", fontweight="bold" if clear else "normal",
            )  # fmt: skip
    axes.set_xlim(-0.5, len(found) - 0.5)
    axes.set_ylim(len(METHODS) - 0.5, -0.5)
    axes.set_xticks(range(len(found)), [SETTINGS[setting][1] for setting in found], fontsize=10)
    axes.set_yticks(range(len(METHODS)), METHODS, fontsize=10, family="monospace")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def _tile(x: int, y: int, shade: tuple[float, float, float]):
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=shade, linewidth=0)


def main() -> None:
    with (ROOT / "results" / "paper-runs.csv").open(newline="", encoding="utf-8") as file:
        figure = draw(gains(list(csv.DictReader(file))))
    figure.savefig(ROOT / "docs" / "_static" / "winners.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
