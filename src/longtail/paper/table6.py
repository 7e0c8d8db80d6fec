"""Table 6: average precision (%) of boxes and masks on LVIS, and on images that are drawn.

Result: not run yet
Time: not measured
Hardware: not measured
Command: longtail reproduce table6 --out OUT

The paper does not say how the detector behind "Ours" was trained; its numbers are those of training the classifier
alone from a detector of CDB-W-CE in Table 5, and stand beside that row here.
"""

from __future__ import annotations

from longtail.paper.base import Row, TableRecipe
from longtail.paper.columns import COCO_MASKS, LVIS_MASKS, SHAPES_LT_MASKS
from longtail.paper.table5 import on_classifier

__all__ = ["RECIPE"]

MEASURES = ("AP", "APr", "APc", "APf", "mask_AP", "mask_APr", "mask_APc", "mask_APf")
PAPER = {  # of LVIS v0.5, in the order of the measures
    "ce": ("20.78", "3.28", "18.99", "30.00", "20.68", "3.73", "19.95", "28.37"),
    "rfs": ("", "", "", "", "24.40", "14.50", "24.30", "28.40"),
    "mask-calib": ("", "", "", "", "21.10", "", "", ""),
    "simcal": ("22.60", "13.70", "20.60", "28.70", "23.40", "16.40", "22.50", "27.20"),
    "eql": ("23.30", "11.30", "24.70", "25.10", "", "", "", ""),
    "bags-cls": ("25.76", "15.03", "25.45", "30.42", "26.25", "17.97", "26.91", "28.74"),
    "cdb-w-cls:cdb-w": ("26.12", "16.97", "25.55", "30.49", "26.74", "20.22", "27.21", "28.75"),
}
_FROM_CE = ("mask-calib", "simcal")


def _row(name: str) -> Row:
    if "-cls" in name:
        return on_classifier(name)
    return Row(name=name, method=name, start="ce" if name in _FROM_CE else "")


RECIPE = TableRecipe(
    name="table6",
    title="Average precision (%) of boxes and masks",
    columns=(
        *LVIS_MASKS.measuring(*MEASURES),
        *COCO_MASKS.measuring(*MEASURES),
        *SHAPES_LT_MASKS.measuring(*MEASURES),
    ),
    rows=tuple(_row(name) for name in (*PAPER, "cdb-w", "cdb-w-cls", "bags")),
    paper=PAPER,
)
