"""What a table or figure of the paper is, as data."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from longtail.config import RunConfig
from longtail.data.catalogue import CATALOGUE
from longtail.errors import LongtailError

__all__ = ["Cell", "Column", "FigureRecipe", "Row", "Runs", "TableRecipe"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A data set with its training protocol, and the measure that the table prints of it.

    Args:
        name: As in ``--columns``.
        title: The data in words, and what is special in the protocol.
        scales: ``RunConfig`` fields by scale; ``full`` is the paper's protocol, the others are changes to it.
        seeds: Number of seeds unless the user gives one.
        measure: ``error``, or a key of ``metrics.json``.
        group: Name of the columns that are other measures of the same runs: names their folder, and all of them in
            ``--columns``; "": the column's own name.
        pretrained: What the initial weights of the network are that the scale ``full`` needs from the user, in words.
        kwargs: By method, hyperparameters that depend on the size of the data; those of a row come first.
    """

    name: str
    title: str
    scales: Mapping[str, Mapping[str, Any]]
    seeds: int = 3
    measure: str = "error"
    group: str = ""
    pretrained: str = ""
    kwargs: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def measuring(self, *measures: str) -> tuple[Column, ...]:
        """A column ``NAME-MEASURE`` for each measure of the same runs."""
        return tuple(
            dataclasses.replace(self, name=f"{self.name}-{measure.replace('_', '-')}", measure=measure, group=self.name)
            for measure in measures
        )

    @property
    def folder(self) -> str:
        """Folder of its runs."""
        return self.group or self.name

    @property
    def data(self) -> str:
        return self.scales["full"]["data"]

    @property
    def downloads(self) -> bool:
        """Whether the data can be fetched if they are missing."""
        return "download" in CATALOGUE[self.data].options

    @property
    def model(self) -> str:
        return self.scales["full"]["model"]

    @property
    def holds_out(self) -> bool:
        """Whether there is a held-out split to measure difficulty on."""
        return self.scales["full"].get("protocol", "paper") == "paper"

    def fields(self, scale: str) -> dict[str, Any]:
        if scale not in self.scales:
            raise LongtailError(f"unknown scale {scale!r} of {self.name}: known are {', '.join(self.scales)}")
        return dict(self.scales["full"]) | dict(self.scales[scale])

    def is_full(self, scale: str) -> bool:
        """Whether the scale changes nothing: its numbers may stand beside the paper's."""
        return self.fields(scale) == self.fields("full")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A method with its hyperparameters.

    Args:
        name: As in ``--rows``.
        method: Identifier of the method.
        kwargs: Its hyperparameters as ``key=value``; the others are the library's defaults.
        beside: Name of the row whose printed numbers stand beside this one, if it is not its own.
        on_request: Only run where ``--rows`` names it.
        start: Name of the row whose finished run of the same seed gives the initial weights.
    """

    name: str
    method: str
    kwargs: tuple[str, ...] = ()
    beside: str = ""
    on_request: bool = False
    start: str = ""

    def build(self) -> Any:
        """The method itself."""
        from longtail.kwargs import parse_kwargs
        from longtail.methods import get_method

        return get_method(self.method, **parse_kwargs(self.kwargs))

    def fits(self, column: Column) -> bool:
        """Whether the column has the held-out split that the method may need."""
        return column.holds_out or not self.build().needs_held_out

    @cached_property
    def label(self) -> str:
        """The method, what differs from its defaults, and its start: names the runs' folder, which equal rows share."""
        from longtail.methods import get_method

        mine, defaults = self.build(), get_method(self.method)
        values = ((field.name, getattr(mine, field.name)) for field in dataclasses.fields(mine))
        own = (f"{name}={value}" for name, value in values if value != getattr(defaults, name))
        start = (f"from-{self.start}",) if self.start else ()
        return re.sub(r"[^\w.=,+-]+", "_", "-".join((self.method, *own, *start)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of a table.

    Args:
        table: Name of the table.
        column: Its data set and protocol.
        row: Its method.
        paper: The number as the paper prints it, in %, with its standard deviation where it has one; "" for none.
    """

    table: str
    column: Column
    row: Row
    paper: str = ""

    @property
    def paper_mean(self) -> float | None:
        return float(self.paper.partition("±")[0]) if self.paper else None

    @property
    def paper_std(self) -> float | None:
        std = self.paper.partition("±")[2]
        return float(std) if std else None

    def config(self, seed: int, *, scale: str = "full", **fields: Any) -> RunConfig:
        """The run of a seed; the subset of the data changes with the seed too."""
        kwargs = (*self.row.kwargs, *self.column.kwargs.get(self.row.method, ()))
        return RunConfig(
            **self.column.fields(scale)
            | {"method": self.row.method, "method_kwargs": kwargs, "seed": seed, "data_seed": seed, "weights": "none"}
            | fields
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRecipe:
    """A table of classification errors or other measures.

    Args:
        name: As on the command line.
        title: In words.
        columns: All its columns.
        rows: All its rows: the paper's and ours.
        paper: The printed numbers by row, in the order of ``columns``; "" where the paper has none, and nothing for
            columns of our own at the end.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    paper: Mapping[str, tuple[str, ...]]

    def cell(self, column: Column, row: Row) -> Cell:
        printed = self.paper.get(row.beside or row.name, ())
        place = self.columns.index(column)
        paper = printed[place] if place < len(printed) else ""
        return Cell(table=self.name, column=column, row=row, paper=paper)

    def start(self, cell: Cell) -> Cell | None:
        """The cell whose runs give the initial weights of this one's."""
        row = next((row for row in self.rows if row.name == cell.row.start), None)
        return None if row is None else self.cell(cell.column, row)


Runs = Sequence[tuple[Cell, Sequence[Path]]]
"""The cells of a figure that have finished runs, and the folders of these."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FigureRecipe:
    """A figure, with or without runs.

    Args:
        name: As on the command line.
        title: In words.
        draw: Writes PNG and CSV files into the folder that it is given, from the runs that it is given, and returns
            their paths.
        runs: The runs that it needs, as the cells of a table; None: it is drawn from formulas, or from ``data``.
        data: Name of the data set that it is drawn from; ``draw`` gets its folder in the place of runs.
    """

    name: str
    title: str
    draw: Callable[[Path, Any], list[Path]]
    runs: TableRecipe | None = None
    data: str = ""
