"""Table 8: precision and recall (%) of the five most frequent classes and of the others, in the runs of Table 7."""

from __future__ import annotations

from longtail.paper.base import Table
from longtail.paper.columns import EGTEA, MOVING_DIGITS
from longtail.paper.table7 import ROWS

__all__ = ["RECIPE"]

MEASURES = ("head_precision", "head_recall", "tail_precision", "tail_recall")
PAPER = {  # of EGTEA, in the order of the measures
    "ce": ("75.62", "74.91", "56.75", "61.14"),
    "focal": ("75.00", "70.27", "53.40", "55.21"),
    "cb": ("73.75", "75.95", "59.68", "58.72"),
    "cfs": ("74.69", "75.66", "59.37", "63.14"),
    "cdb-s": ("73.33", "75.18", "60.11", "63.48"),
    "cdb-w": ("78.11", "75.01", "64.69", "63.34"),
}

RECIPE = Table(
    name="table8",
    title="Precision and recall (%) of frequent and of other classes of clips",
    columns=(*EGTEA.measuring(*MEASURES), *MOVING_DIGITS.measuring(*MEASURES)),
    rows=ROWS,
    paper=PAPER,
)
