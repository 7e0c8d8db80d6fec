"""Table 8: precision and recall (%) of the five most frequent classes and of the others, in the runs of Table 7.

Result:
    moving-digits-head-precision: ce 72.82 ± 1.70 (3); focal 73.77 ± 2.79 (3); cdb-s 92.13 ± 3.06 (3); cdb-w 90.43 ±
        4.83 (3)
    moving-digits-head-recall: ce 98.33 ± 0.58 (3); focal 97.78 ± 0.51 (3); cdb-s 95.56 ± 2.69 (3); cdb-w 95.89 ± 1.26
        (3)
    moving-digits-tail-precision: ce 77.38 ± 12.32 (3); focal 83.42 ± 10.83 (3); cdb-s 92.07 ± 2.58 (3); cdb-w 92.72 ±
        1.89 (3)
    moving-digits-tail-recall: ce 54.76 ± 2.08 (3); focal 58.97 ± 1.92 (3); cdb-s 88.57 ± 2.08 (3); cdb-w 87.54 ± 4.26
        (3)
Time: 2.7 min a run, 48.5 min for the 18 runs one after the other
Hardware: AMD EPYC, 2 cores, bf16
Command: longtail reproduce table8 --columns moving-digits-head-precision moving-digits-head-recall
    moving-digits-tail-precision moving-digits-tail-recall --precision bf16 --out OUT
"""

from __future__ import annotations

from longtail.paper.base import TableRecipe
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

RECIPE = TableRecipe(
    name="table8",
    title="Precision and recall (%) of frequent and of other classes of clips",
    columns=(*EGTEA.measuring(*MEASURES), *MOVING_DIGITS.measuring(*MEASURES)),
    rows=ROWS,
    paper=PAPER,
)
