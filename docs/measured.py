"""The numbers of ``results/*.csv`` by table, column and row, and differences of rows paired by seed."""

from __future__ import annotations

import csv
from pathlib import Path

from longtail.report.statistics import Paired, paired, rounded

__all__ = ["Results", "interval", "read", "with_spread"]

Cell = tuple[str, str, str]
"""Table, column, row."""


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; none if the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Results:
    """``paper.csv`` and ``paper-runs.csv`` of a folder.

    Args:
        folder: That holds them; what is missing counts as empty.
    """

    def __init__(self, folder: Path) -> None:
        self.rows = read(folder / "paper.csv")
        self.cells: dict[Cell, dict[str, str]] = {(r["table"], r["column"], r["row"]): r for r in self.rows}
        self.runs: dict[Cell, dict[str, dict[str, str]]] = {}
        for run in read(folder / "paper-runs.csv"):
            self.runs.setdefault((run["table"], run["column"], run["row"]), {})[run["seed"]] = run

    def difference(self, cell: Cell, other: Cell) -> Paired | None:
        """``cell - other`` over the seeds that both have, in the unit of the table; None without such a seed."""
        ours, theirs = self.runs.get(cell, {}), self.runs.get(other, {})
        return paired([float(ours[s]["test"]) - float(theirs[s]["test"]) for s in sorted(ours) if s in theirs])


def with_spread(row: dict[str, str], *, mean: str = "mean", std: str = "std") -> str:
    """Mean and standard deviation over seeds, and how many seeds."""
    spread = f" ± {rounded(float(row[std]))}" if row[std] and int(row["n"]) > 1 else ""
    return f"{rounded(float(row[mean]))}{spread} ({row['n']})"


def interval(found: Paired, digits: int = 2) -> str:
    """The 95 % interval of a difference in brackets; "" with a single seed."""
    if found.low is None or found.high is None:
        return ""
    return f"[{rounded(found.low, digits)}, {rounded(found.high, digits)}]"
