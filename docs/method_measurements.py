"""What was measured of each method with its defaults, for the method cards: ``src/longtail/methods/measured.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from measured import Results, interval

from longtail.methods import get_method, list_methods
from longtail.paper import find_recipe, recipe_names
from longtail.paper.base import Column, Row, TableRecipe
from longtail.report.statistics import rounded

__all__ = ["measurements"]

COLUMNS: tuple[str, ...] = ("method", "data", "measure", "n", "ours", "ce", "difference", "interval")
MEASURES = {
    "error": "error",
    "AP": "AP",
    "APr": "AP of rare classes",
    "top1": "accuracy",
    "tail_recall": "recall of the tail",
}
"""The measures that stand on the cards, and what they are called there."""


def measurements(results: Results) -> str:
    """The CSV file's text: a line per method and column of the tables; every run counts once."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    for name in list_methods():
        writer.writerows(_lines(name, results))
    return file.getvalue()


def _lines(name: str, results: Results) -> Iterator[dict[str, str]]:
    default, seen = get_method(name), set()
    for table, column, row in _rows():
        if row.method != name or row.build() != default or row.start not in ("", "ce"):
            continue
        for suffix, scale in (("", ""), ("-small", ", small scale")):
            cell = results.cells.get((table + suffix, column.name, row.name))
            if cell is None or (column.name, scale) in seen:
                continue
            seen.add((column.name, scale))
            baseline = (table + suffix, column.name, "ce")
            own = results.cells.get(baseline)
            found = results.difference((table + suffix, column.name, row.name), baseline)
            line = {
                "method": name,
                "data": f"{column.title}{scale}" + "".join(f", {item}" for item in column.kwargs.get(name, ())),
                "measure": MEASURES[column.measure],
                "n": cell["n"],
                "ours": _spread(cell),
            }
            if own is not None and found is not None and name != "ce":
                line |= {"ce": _spread(own), "difference": rounded(found.mean, sign=True), "interval": interval(found)}
            yield line


def _rows() -> Iterator[tuple[str, Column, Row]]:
    tables = [recipe for recipe in map(find_recipe, recipe_names()) if isinstance(recipe, TableRecipe)]
    for table in sorted(tables, key=lambda table: (table.name == "comparison", table.name)):
        for column in table.columns:
            if column.measure in MEASURES:
                for row in table.rows:
                    yield table.name, column, row


def _spread(cell: dict[str, str]) -> str:
    mean = rounded(float(cell["mean"]))
    return f"{mean} ± {rounded(float(cell['std']))}" if cell["std"] and int(cell["n"]) > 1 else mean
