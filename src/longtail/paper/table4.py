"""Table 4: classification errors (%) of decoupled learning on CIFAR100-LT.

Result: not run yet
Time: not measured
Hardware: not measured
Command: longtail reproduce table4 --out OUT
"""

from __future__ import annotations

from longtail.paper.base import Row, TableRecipe
from longtail.paper.columns import CIFAR100_10, CIFAR100_100

__all__ = ["RECIPE"]

STAGE1 = ("ce", "cdb-w", "cdb-s")
PRINTED = {  # imbalance 10, then 100; in each the first stages in the order above
    ("crt", "class-aware"): ("41.28 40.99 40.97", "57.06 56.74 56.87"),
    ("crt", "cdb-w"): ("41.47 41.33 41.35", "57.44 57.38 57.36"),
    ("crt", "cdb-s"): ("41.05 40.89 40.92", "56.49 56.24 56.29"),
    ("lws", "class-aware"): ("40.64 40.42 40.48", "56.68 56.41 56.45"),
    ("lws", "cdb-w"): ("41.11 41.02 41.06", "57.20 56.88 56.99"),
    ("lws", "cdb-s"): ("40.44 40.16 40.21", "56.26 56.11 56.12"),
}
PAPER = {
    f"{method}:{stage1}+{balance}": tuple(block.split()[i] for block in blocks)
    for (method, balance), blocks in PRINTED.items()
    for i, stage1 in enumerate(STAGE1)
}
_PRESETS = {"paper": "paper", "accv": "code2020-imagenet"}


def _row(name: str, suffix: str = "") -> Row:
    """``METHOD:STAGE1+BALANCE``; with a suffix, the CDB methods in it follow that preset."""
    method, _, stages = name.partition(":")
    preset = f":preset={_PRESETS[suffix]}" if suffix else ""
    first, second = (stage + (preset if stage.startswith("cdb") else "") for stage in stages.split("+"))
    return Row(
        name=f"{name}-{suffix}" if suffix else name,
        method=method,
        kwargs=(f"stage1={first}", f"balance={second}"),
        beside=name if suffix else "",
        on_request=bool(suffix),
    )


RECIPE = TableRecipe(
    name="table4",
    title="Classification errors (%) of decoupled learning, by first and second stage",
    columns=(CIFAR100_10, CIFAR100_100),
    rows=(
        *(_row(name) for name in PAPER),
        *(_row(name, suffix) for suffix in _PRESETS for name in PAPER if "cdb" in name),
    ),
    paper=PAPER,
)
