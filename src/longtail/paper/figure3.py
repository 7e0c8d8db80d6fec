"""Figure 3: how tau follows from the bias, for every rule (Eq. 7-10), and for the two rules of 2020.

Result: docs/_static/figure3.png
Time: seconds; it is drawn from formulas
Hardware: any
Command: longtail reproduce figure3 --out OUT
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch

from longtail.functional import TauRule, dynamic_tau
from longtail.paper.base import FigureRecipe, Runs

__all__ = ["RECIPE", "curves"]

MAX_BIAS = 99.0  # 1 / eps - 1 with the paper's eps = 0.01
NAMES = {
    "linear": "linear (Eq. 7)",
    "poly": "poly, p = 2 (Eq. 8)",
    "log": "log (Eq. 9)",
    "sigmoid": "sigmoid (Eq. 10)",
    "accv": "accv (2020)",
    "code2020": "code2020",
}


def curves() -> dict[TauRule, list[tuple[float, float]]]:
    """``(bias, tau)`` for each rule with T_M = 5; steps of 0.1 up to bias 10, then of 1."""
    bias = torch.cat([torch.arange(0, 100) / 10, torch.arange(10.0, MAX_BIAS + 1)]).double()
    return {
        rule: list(zip(bias.tolist(), dynamic_tau(bias, growth=rule).tolist(), strict=True))
        for rule in get_args(TauRule)
    }


def draw(out: Path, runs: Runs = ()) -> list[Path]:
    from longtail.report.style import legend, looks, new_figure, png, uniform_style
    from longtail.training.files import write_csv

    found = curves()
    rows = ({"rule": rule, "bias": round(b, 4), "tau": tau} for rule, line in found.items() for b, tau in line)
    table, picture = out / "figure3.csv", out / "figure3.png"
    write_csv(table, ("rule", "bias", "tau"), rows)
    with uniform_style():
        figure = new_figure(4.6)
        whole, near = figure.subplots(1, 2, sharey=True, width_ratios=(1.3, 1))
        style = looks(list(found), None)
        for rule, line in found.items():
            for axes in (whole, near):
                look = style[rule]
                axes.plot(*zip(*line, strict=True), color=look.color, linestyle=look.dash, label=NAMES[rule])
        whole.set(xlabel="Bias, max A / (min A + 0.01) - 1", ylabel="tau", xlim=(0, MAX_BIAS), ylim=(0, 5.1))
        whole.set_title("tau grows with the bias (Figure 3, T_M = 5)")
        near.set(xlabel="Bias", xlim=(0, 5), title="Near balance")
        legend(figure, whole, title="Rule")
        picture.write_bytes(png(figure))
    return [picture, table]


RECIPE = FigureRecipe(name="figure3", title="tau by the bias, for every rule", draw=draw)
