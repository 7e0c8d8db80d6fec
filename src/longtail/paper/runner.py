"""Find a recipe, train the runs of it that are missing, and put the paper's numbers beside ours."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from longtail import runfolder
from longtail.config import RunConfig
from longtail.errors import LongtailError
from longtail.names import brief
from longtail.paper.base import Cell, Column, FigureRecipe, Row, Runs, TableRecipe
from longtail.paper.catalogue import find_recipe, recipe_names
from longtail.training.jobs import Outcome

__all__ = ["reproduce"]


def reproduce(
    *what: str,
    out: str | Path,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    seeds: int | None = None,
    scale: str = "full",
    jobs: int = 1,
    data: Sequence[str] = (),
    weights: Sequence[str] = (),
    device: str = "auto",
    precision: str = "fp32",
    download: bool = False,
) -> Iterator[str]:
    """Reproduce tables and figures; the same call continues what was interrupted and trains nothing twice.

    A run is in ``out/COLUMN/METHOD-HYPERPARAMETERS/seed-<k>``, so that tables with the same ``out`` share their runs.
    ``out/paper.csv`` has a line a cell and ``out/runs.csv`` a line a run; both are written after every run, and keep
    the lines of other cells.

    Args:
        *what: ``table1``, ``figure2``, ...; figures that need runs are trained as tables are, then drawn from the
            finished runs in ``out``.
        out: Folder of the runs and the results.
        columns: Columns to run, or groups of columns that share their runs, or data sets for all columns with these
            data; none named: all whose data are there.
        rows: Rows to run; none named: all that this version has, without those that are only run on request.
        seeds: Number of seeds, counted from 0; None: the recipe's, and 1 for the scale ``smoke``.
        scale: ``full``: the paper's protocol; ``small``: a reduced one; ``smoke``: only shows that everything runs.
        jobs: Runs at a time.
        data: ``NAME:PATH`` of data sets that are not where ``longtail train`` looks for them.
        weights: ``MODEL:FILE`` of the initial weights of networks that the paper takes from elsewhere.
        device: As in ``RunConfig``.
        precision: As in ``RunConfig``.
        download: Fetch data sets that are missing.

    Yields:
        Lines to print.

    Raises:
        LongtailError: unknown names, missing data or weights of a named column, or a run that failed.
    """
    out = Path(out)
    recipes = [find_recipe(name) for name in what]
    tables = [(recipe, None) if isinstance(recipe, TableRecipe) else (recipe.runs, recipe) for recipe in recipes]
    without_runs = [recipe for recipe in recipes if isinstance(recipe, FigureRecipe) and recipe.runs is None]
    if not recipes:
        raise LongtailError(f"name at least one table or figure: {', '.join(recipe_names())}")
    if without_runs and (columns or rows):
        name = without_runs[0].name
        raise LongtailError(f"{name} has no columns and rows to choose from: leave out --columns and --rows")
    needed = [column for table, _ in tables if table for column in table.columns]
    places = _given("--data", data, [*(c.data for c in needed), *(f.data for f in without_runs if f.data)])
    files = _given("--weights", weights, [c.model for c in needed if c.pretrained])
    fields = {"device": device, "precision": precision, "download": download}
    plans: list[_Plan] = []
    for table, figure in tables:
        if table is not None:
            plan = _Plan(table=table, figure=figure, out=out, scale=scale, fields=fields, places=places, weights=files)
            plans.append(plan.choose(columns, rows, seeds))
    if download and not any(cell.column.downloads for plan in plans for cell in plan.cells):
        raise LongtailError(f"--download: nothing of {' and '.join(what)} can be fetched: leave it out")
    for plan in plans:  # all mistakes come out before the first run
        yield from plan.check()
    for figure in without_runs:
        if not figure.data:
            yield from _drawn(figure, out, [])
        elif figure.data in places:
            yield from _drawn(figure, out, Path(places[figure.data]).expanduser())
        else:
            missing = f"{figure.name} is drawn from the lists of {figure.data}: give --data {figure.data}:DIR"
            if len(recipes) == 1:
                raise LongtailError(missing)
            yield missing
    for plan in plans:
        yield from plan.train(jobs)
        if not plan.failed or any(True for cell in plan.cells for _ in plan.finished(cell)):
            yield from plan.report()
    if failed := [outcome for plan in plans for outcome in plan.failed]:
        labels: dict[str | None, list[str]] = {}
        for outcome in failed:
            labels.setdefault(outcome.problem, []).append(outcome.job.label)
        told = "; ".join(f"{brief(own)}: {problem}" for problem, own in labels.items())
        raise LongtailError(f"{len(failed)} runs failed, the same command trains them anew: {told}")


def _drawn(figure: FigureRecipe, out: Path, source: Runs | Path) -> Iterator[str]:
    if not figure.data:  # else `draw` makes it once it has read the data
        out.mkdir(parents=True, exist_ok=True)
    for path in figure.draw(out, source):
        yield f"{figure.name}: wrote {path}"


def _given(option: str, items: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """PATH by NAME of ``NAME:PATH``."""
    known = ", ".join(dict.fromkeys(names))
    places: dict[str, str] = {}
    for item in items:
        name, _, path = item.partition(":")
        if name not in names or not path:
            wanted = f"it must be NAME:PATH, NAME one of {known}" if known else "nothing here takes any"
            raise LongtailError(f"{option} {item}: {wanted}")
        if name in places:
            raise LongtailError(f"{option} names {name} twice")
        places[name] = path
    return places


def _is_done(path: Path, config: RunConfig) -> bool:
    """Whether the folder holds a finished run of this configuration."""
    from longtail.training.folder import RunFolder

    folder = RunFolder(path)
    if not folder.finished:
        return False
    try:
        folder.check(config)
    except LongtailError:
        return False
    return True


def _chosen(kind: str, names: Sequence[str], known: Mapping[str, Any], table: str) -> list[Any]:
    for name in names:
        if name not in known:
            raise LongtailError(f"{table} has no {kind} {name!r}: it has {', '.join(known)}")
    return [known[name] for name in known if name in names]  # in the order of the table


@dataclasses.dataclass(kw_only=True)
class _Plan:
    """The chosen cells of a table or figure and their runs."""

    table: TableRecipe
    figure: FigureRecipe | None = None
    out: Path
    scale: str
    fields: Mapping[str, Any]
    places: Mapping[str, str]
    weights: Mapping[str, str]
    columns: list[Column] = dataclasses.field(default_factory=list)
    """Those that the user named."""
    notes: list[str] = dataclasses.field(default_factory=list)
    """What is left out, and why."""
    cells: list[Cell] = dataclasses.field(default_factory=list)
    seeds: dict[str, int] = dataclasses.field(default_factory=dict)
    """Number of seeds by column."""
    failed: list[Outcome] = dataclasses.field(default_factory=list)
    """Runs that failed."""

    def choose(self, columns: Sequence[str], rows: Sequence[str], seeds: int | None) -> _Plan:
        """The cells that are asked for by name, or all."""
        if seeds is not None and seeds < 1:
            raise LongtailError(f"--seeds is {seeds}: it must be at least 1")
        table = self.table
        groups = {c.group: c for c in table.columns if c.group}
        others = [name for name in columns if all(name != c.data for c in table.columns)]
        _chosen("column", others, groups | {c.name: c for c in table.columns}, table.name)
        self.columns = [c for c in table.columns if {c.name, c.group, c.data} & set(columns)]
        some_rows: list[Row] = _chosen("row", rows, {r.name: r for r in table.rows}, table.name)
        some_rows = some_rows or [row for row in table.rows if not row.on_request]
        chosen = self.columns or [column for column in table.columns if self.scale in column.scales]
        if not chosen:
            scales = ", ".join(dict.fromkeys(scale for column in table.columns for scale in column.scales))
            raise LongtailError(f"{table.name} has no column of the scale {self.scale!r}: it has {scales}")
        for column in chosen:
            column.fields(self.scale)
            self.seeds[column.name] = seeds or (1 if self.scale == "smoke" else column.seeds)
            self.cells += [table.cell(column, row) for row in some_rows if row.fits(column)]
            if unfit := [row.name for row in some_rows if not row.fits(column)]:
                self.notes.append(f"column {column.name} holds nothing out, as these rows need: {', '.join(unfit)}")
        if not self.cells:
            raise LongtailError(f"{table.name} has no such cell: {self.notes[-1]}")
        return self

    def check(self) -> Iterator[str]:
        """Leave out the columns that have no data; one that was named must have them."""
        yield from (f"{self.table.name}: {note}" for note in self.notes)
        for folder, cells in self._folders():
            try:
                self._check_data(cells)
            except LongtailError as error:
                if self.columns:
                    raise
                yield f"{self.table.name}: column {folder} is left out: {error}"
                self.cells = [cell for cell in self.cells if cell.column.folder != folder]
        if not self.cells:
            raise LongtailError(f"no data for any column of {self.table.name}: give --data NAME:PATH")

    def _folders(self) -> list[tuple[str, list[Cell]]]:
        """The cells by the folder of their runs."""
        names = dict.fromkeys(cell.column.folder for cell in self.cells)
        return [(name, [cell for cell in self.cells if cell.column.folder == name]) for name in names]

    def _check_data(self, cells: Sequence[Cell]) -> None:
        """Say before the first run what would be missing at a later one."""
        from longtail.tasks.find import task_class

        runs = (
            (self.folder(cell, seed), self.config(cell, seed)) for cell in cells for seed in self._seeds(cell.column)
        )
        if all(_is_done(*run) for run in runs):
            return
        config, column = self.config(self.table.start(cells[0]) or cells[0], 0), cells[0].column
        if column.pretrained and config.model == column.model:
            if config.weights is None:
                words = [f"--weights {column.model}:FILE"]
                words += [] if column.data in self.places else [f"--data {column.data}:DIR"]
                raise LongtailError(f"{column.folder} starts from {column.pretrained}: give {' and '.join(words)}")
            if not Path(config.weights).is_file():
                raise LongtailError(f"weights {config.weights} do not exist or are no file")
        task_class(config.task).read(config)

    def _seeds(self, column: Column) -> range:
        return range(self.seeds[column.name])

    def folder(self, cell: Cell, seed: int) -> Path:
        return self.out / cell.column.folder / cell.row.label / f"seed-{seed}"

    def config(self, cell: Cell, seed: int) -> RunConfig:
        from longtail.training.recipes import resolve

        column = cell.column
        own: dict[str, Any] = {}
        if column.data in self.places:
            own["data"] = f"{column.data}:{self.places[column.data]}"
        if not column.downloads:
            own["download"] = False
        if column.pretrained and column.fields(self.scale)["model"] == column.model:
            own["weights"] = self.weights.get(column.model, "none")
        if start := self.table.start(cell):
            own["weights"] = str((self.folder(start, seed) / runfolder.LAST_WEIGHTS).resolve())
        return resolve(cell.config(seed, scale=self.scale, **{**self.fields, **own}))

    def train(self, parallel: int) -> Iterator[str]:
        """Data by data, all rows of a seed before the next seed; a run that several cells need is trained once."""
        from longtail.training.jobs import Job
        from longtail.training.launch import run_jobs

        jobs: dict[Path, Job] = {}
        for _, cells in self._folders():
            for seed in self._seeds(cells[0].column):
                for cell in cells:
                    folder, first, start = self.folder(cell, seed), None, self.table.start(cell)
                    if start is not None:
                        first = self.folder(start, seed)
                        jobs.setdefault(first, Job(self.config(start, seed), first))
                    jobs.setdefault(folder, Job(self.config(cell, seed), folder, first))
        todo = [job for job in jobs.values() if not _is_done(job.folder, job.config)]
        yield f"{self.table.name}: {len(jobs)} runs, {len(todo)} of them to train"
        done = itertools.count(1)
        for outcome in run_jobs(todo, parallel=parallel):
            if outcome.problem is None:
                self.write()
                yield f"{self.table.name}: {next(done)} of {len(todo)} runs done"
            else:
                self.failed.append(outcome)
                yield f"{self.table.name}: {outcome.job.label} failed, the others go on: {outcome.problem}"
        self.write()

    def write(self) -> None:
        from longtail.paper.results import write_results

        write_results(self.out, self.cells, self.finished, self.command, scale=self.scale)

    def finished(self, cell: Cell) -> Iterator[tuple[int, Path]]:
        """Seed and folder of every finished run of a cell, also of seeds that an earlier call trained."""
        folders = (self.out / cell.column.folder / cell.row.label).glob("seed-*")
        for seed in sorted(int(path.name[5:]) for path in folders if path.name[5:].isdecimal()):
            if _is_done(path := self.folder(cell, seed), self.config(cell, seed)):
                yield seed, path

    def command(self, cell: Cell, seeds: int) -> str:
        """The command that makes a cell."""
        words = ["longtail reproduce", cell.table, "--columns", cell.column.name, "--rows", cell.row.name]
        words += ["--seeds", str(seeds)]
        words += ["--scale", self.scale] if self.scale != "full" else []
        words += ["--precision", self.fields["precision"]] if self.fields["precision"] != "fp32" else []
        if cell.column.pretrained:
            words += ["--data", f"{cell.column.data}:DIR", "--weights", f"{cell.column.model}:FILE"]
        return " ".join([*words, "--out OUT"])

    def report(self) -> Iterator[str]:
        from longtail.paper.results import beside_paper
        from longtail.report import format_table, write_report

        for folder, cells in self._folders():
            for column in dict.fromkeys(cell.column.name for cell in cells):
                yield ""
                mine = [cell for cell in cells if cell.column.name == column]
                caption = self._caption(mine[0].column)
                yield format_table(beside_paper(caption, mine, self.finished, scale=self.scale))
            yield f"report: {write_report(self.out / folder).html}"
        yield f"results: {self.out / 'paper.csv'}, a line a cell; {self.out / 'runs.csv'}, a line a run"
        if self.figure:
            yield from _drawn(self.figure, self.out, self.drawable())

    def _caption(self, column: Column) -> str:
        scale = "" if self.scale == "full" else f", scale {self.scale}"
        model, measure = column.fields(self.scale)["model"], column.measure.replace("_", " ")
        return f"{self.table.name}, {column.title}, {model}{scale}: test {measure} (%)"

    def drawable(self) -> Runs:
        """Every cell of the figure, chosen now or not, that has finished runs."""
        columns = [column for column in self.table.columns if self.scale in column.scales]
        cells = [self.table.cell(column, row) for column in columns for row in self.table.rows if row.fits(column)]
        found = [(cell, [path for _, path in self.finished(cell)]) for cell in cells]
        return [(cell, paths) for cell, paths in found if paths]
