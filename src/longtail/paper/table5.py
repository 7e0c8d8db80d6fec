"""Table 5: average precision (%) of boxes on LVIS, and on images that are drawn.

Result:
    shapes-lt-AP: ce 41.58 ± 1.85 (3); cdb-w 45.28 ± 1.01 (3); rfs 54.34 ± 7.43 (3); cdb-w-cls 50.43 ± 0.65 (3)
    shapes-lt-APr: ce 20.56 ± 0.98 (3); cdb-w 28.21 ± 2.05 (3); rfs 48.86 ± 8.77 (3); cdb-w-cls 47.86 ± 4.10 (3)
    shapes-lt-APc: ce 42.27 ± 3.76 (3); cdb-w 46.09 ± 2.33 (3); rfs 52.25 ± 6.38 (3); cdb-w-cls 47.45 ± 3.76 (3)
    shapes-lt-APf: ce 56.61 ± 0.80 (3); cdb-w 57.04 ± 2.33 (3); rfs 62.53 ± 8.67 (3); cdb-w-cls 58.07 ± 3.23 (3)
Time: 4.8 min a run, 1.9 h for the 24 runs one after the other
Hardware: AMD EPYC, 2 cores, bf16
Command: longtail reproduce table5 --columns shapes-lt-AP shapes-lt-APr shapes-lt-APc shapes-lt-APf --precision bf16
    --out OUT
"""

from __future__ import annotations

import dataclasses

from longtail.paper.base import Row, TableRecipe
from longtail.paper.columns import COCO, LVIS, SHAPES_LT

__all__ = ["RECIPE", "on_classifier"]

MEASURES = ("AP", "APr", "APc", "APf")
PAPER = {  # of LVIS v0.5, in the order of the measures
    "ce": ("21.19", "3.05", "20.38", "29.44"),
    "cdb-w": ("23.37", "9.83", "22.89", "29.53"),
    "rfs": ("23.41", "14.59", "22.74", "27.77"),
    "eql": ("22.80", "11.30", "24.70", "25.10"),
    "focal-cls": ("19.29", "6.60", "19.81", "23.71"),
    "lrw-cls": ("24.66", "14.16", "23.51", "30.28"),
    "lrw-cls:cdb-w": ("25.52", "13.35", "25.65", "30.22"),
    "bags-cls": ("25.96", "17.65", "25.75", "29.54"),
    "bags-cls:cdb-w": ("26.01", "15.47", "26.52", "29.58"),
    "cdb-w-cls": ("25.40", "15.54", "25.50", "29.21"),
    "cdb-w-cls:cdb-w": ("26.31", "18.15", "26.37", "29.52"),
}


def on_classifier(name: str) -> Row:
    """``METHOD-cls``: only the classifier of the row ``ce`` is trained; ``METHOD-cls:START``: of another row."""
    method, _, start = name.partition("-cls")
    return Row(name=name, method="cls", kwargs=(f"method={method}",), start=start.removeprefix(":") or "ce")


# End to end, BAGS is no row of the paper's, nor are the rows that are only run on request.
RECIPE = TableRecipe(
    name="table5",
    title="Average precision (%) of boxes",
    columns=(*LVIS.measuring(*MEASURES), *COCO.measuring(*MEASURES), *SHAPES_LT.measuring(*MEASURES)),
    rows=(
        *(on_classifier(name) if "-cls" in name else Row(name=name, method=name) for name in PAPER),
        Row(name="bags", method="bags"),
        dataclasses.replace(on_classifier("ce-cls"), on_request=True),  # what the further epochs alone are worth
        *(Row(name=name, method=name, on_request=True) for name in ("focal", "lrw", "cb", "cdb-s", "seesaw")),
    ),
    paper=PAPER,
)
