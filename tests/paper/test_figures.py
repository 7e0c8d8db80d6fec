"""Figures 2 and 3: curves that hold the formulas' values, and pictures of them."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from longtail.paper import figure2, figure3, reproduce


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def test_figures_are_drawn_with_their_curves(tmp_path: Path) -> None:
    lines = list(reproduce("figure2", "figure3", out=tmp_path / "out"))
    assert len(lines) == 4
    for name in ("figure2", "figure3"):
        picture = image.imread(tmp_path / "out" / f"{name}.png")
        assert picture.shape[0] > 400 and picture.shape[1] > 1000
        for color in ((0, 114, 178), (213, 94, 0), (0, 158, 115)):  # lines, not an empty frame
            pixels = (np.abs(255 * picture[..., :3] - color) < 2).all(axis=-1)
            assert pixels.sum() > 500
    weights = {
        (float(r["tau"]), float(r["difficulty"])): float(r["weight"]) for r in table(tmp_path / "out/figure2.csv")
    }
    assert weights[2.0, 0.5] == pytest.approx(0.25)
    taus = {(r["rule"], float(r["bias"])): float(r["tau"]) for r in table(tmp_path / "out/figure3.csv")}
    assert taus["linear", 99.0] == pytest.approx(5)


def test_figure_2_is_a_power_of_the_difficulty() -> None:
    found = figure2.curves(11)
    assert list(found) == [0, 0.5, 1, 1.5, 2, 5]
    for tau, line in found.items():
        assert [d for d, _ in line] == pytest.approx([i / 10 for i in range(11)])
        assert [w for _, w in line] == pytest.approx([d**tau for d, _ in line])


def test_figure_3_has_the_rules_as_they_are_printed() -> None:
    sigma = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    naive = {
        "linear": lambda b: b / 99 * 5,
        "poly": lambda b: (b / 99) ** 2 * 5,
        "log": lambda b: 5 / math.log(100) * math.log(b + 1),
        "sigmoid": lambda b: 5 * (2 * sigma(b) - 1),
        "accv": lambda b: 2 * sigma(b),
        "code2020": lambda b: sigma(b + 1),
    }
    found = figure3.curves()
    assert set(found) == set(naive) == set(figure3.NAMES)
    for rule, line in found.items():
        assert line[0][0] == 0 and line[-1][0] == 99
        assert [t for _, t in line] == pytest.approx([naive[rule](b) for b, _ in line], abs=1e-9)
