"""Figure 6: how many clips each verb of EGTEA has, from the split lists alone.

Result: not run yet
Time: not measured
Hardware: not measured
Command: longtail reproduce figure6 --out OUT
"""

from __future__ import annotations

from pathlib import Path

from longtail.data.egtea import read_egtea_lists
from longtail.metrics import head_and_tail
from longtail.palette import BLUE, VERMILION
from longtail.paper.base import FigureRecipe
from longtail.training.files import write_csv

__all__ = ["RECIPE"]

HEAD = 5
"""So many most frequent verbs are the paper's majority classes."""


def draw(out: Path, source: Path) -> list[Path]:
    """The training part of the official split, that is with the validation clips that are cut from it."""
    from longtail.report.style import new_figure, png, uniform_style

    lists, names = read_egtea_lists(source)
    out.mkdir(parents=True, exist_ok=True)
    clips = {split: [[verb for _, verb in lines].count(v) for v in range(len(names))] for split, lines in lists.items()}
    both = [train + val for train, val in zip(clips["train"], clips["val"], strict=True)]
    head = head_and_tail(both, head=HEAD)["head"].tolist()
    order = sorted(range(len(names)), key=lambda v: -both[v])
    table, picture = out / "figure6.csv", out / "figure6.png"
    rows = [
        {"verb": v + 1, "name": names[v], "group": "head" if head[v] else "tail"} | {s: clips[s][v] for s in clips}
        for v in order
    ]
    write_csv(table, ("verb", "name", "group", "train", "val", "test"), rows)
    with uniform_style():
        figure = new_figure(4.2)
        axes = figure.subplots()
        for group, color in (("head", BLUE), ("tail", VERMILION)):
            mine = [i for i, row in enumerate(rows) if row["group"] == group]
            counts = [both[order[i]] for i in mine]
            label = f"{group}: {len(mine)} verbs, {sum(counts) / len(mine):.5g} clips on average"
            axes.bar_label(axes.bar(mine, counts, color=color, label=label), padding=2, fontsize=7)
        axes.set_xticks(range(len(rows)), [str(row["name"]) for row in rows], rotation=45, ha="right")
        axes.set(ylabel="Training and validation clips", title=f"Clips of each verb of EGTEA (Figure 6): {sum(both)}")
        axes.legend(loc="upper right")
        picture.write_bytes(png(figure))
    return [picture, table]


RECIPE = FigureRecipe(name="figure6", title="Clips of each verb of EGTEA", draw=draw, data="egtea")
