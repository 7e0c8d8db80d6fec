"""Figure 2: how tau shapes the weight of a class (Eq. 4).

Result: docs/_static/figure2.png
Time: seconds; it is drawn from formulas
Hardware: any
Command: longtail reproduce figure2 --out OUT
"""

from __future__ import annotations

from pathlib import Path

import torch

from longtail.functional import difficulty_weights
from longtail.paper.base import FigureRecipe, Runs

__all__ = ["RECIPE", "curves"]

TAUS = (0.0, 0.5, 1.0, 1.5, 2.0, 5.0)


def curves(points: int = 101) -> dict[float, list[tuple[float, float]]]:
    """``(difficulty, weight)`` for each tau, difficulty from 0 to 1; not normalised, as Eq. 4 stands."""
    difficulty = torch.linspace(0, 1, points, dtype=torch.float64)
    weights = {tau: difficulty_weights(1 - difficulty, tau=tau, normalize=False) for tau in TAUS}
    return {tau: list(zip(difficulty.tolist(), w.tolist(), strict=True)) for tau, w in weights.items()}


def draw(out: Path, runs: Runs = ()) -> list[Path]:
    from longtail.report.style import legend, looks, new_figure, png, uniform_style
    from longtail.training.files import write_csv

    found = curves()
    rows = ({"tau": tau, "difficulty": round(d, 4), "weight": w} for tau, line in found.items() for d, w in line)
    table, picture = out / "figure2.csv", out / "figure2.png"
    write_csv(table, ("tau", "difficulty", "weight"), rows)
    with uniform_style():
        figure = new_figure(4.6)
        axes = figure.subplots()
        style = looks([f"{tau:g}" for tau in TAUS], "0")
        for tau, line in found.items():
            look = style[f"{tau:g}"]
            axes.plot(*zip(*line, strict=True), color=look.color, linestyle=look.dash, label=f"{tau:g}")
        axes.set(xlabel="Difficulty of the class, d = 1 - accuracy", ylabel="Weight of the class, w = d ** tau")
        axes.set(xlim=(0, 1), ylim=(0, 1.03), title="The larger tau, the less the easy classes weigh (Figure 2)")
        legend(figure, axes, title="tau")
        picture.write_bytes(png(figure))
    return [picture, table]


RECIPE = FigureRecipe(name="figure2", title="Weight of a class by its difficulty, for several tau", draw=draw)
