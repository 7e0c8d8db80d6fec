"""From finished runs to ``paper.csv`` (a line a cell) and ``runs.csv`` (a line a run)."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from longtail import runfolder
from longtail.errors import LongtailError
from longtail.paper.base import Cell
from longtail.report import Table
from longtail.report.measures import measure_set
from longtail.report.statistics import Spread, rounded, spread
from longtail.training.files import intact, open_lock, read_csv, read_json, write_csv

__all__ = ["CELLS", "RUNS", "beside_paper", "merge", "write_results"]

CELLS = ("table", "column", "row", "n", "mean", "std", "paper", "hardware", "seconds", "command")
RUNS = (
    "table", "column", "row", "seed", "test", "val", "epoch", "last_test", "last_val",
    "epochs", "seconds", "hardware", "longtail", "run",
)  # fmt: skip
_OLD_NAMES = {f"{name}_error": name for name in ("test", "val", "last_test", "last_val")}
"""Columns of ``runs.csv`` as they were called before there were other measures than the error."""
_KEY = ("table", "column", "row")
Finished = Callable[[Cell], Iterable[tuple[int, Path]]]


def write_results(
    out: Path, cells: Sequence[Cell], finished: Finished, command: Callable[[Cell, int], str], *, scale: str
) -> None:
    """Replace the lines of ``cells`` in ``out/paper.csv`` and ``out/runs.csv``; the other lines stay.

    Args:
        out: Folder of the results.
        cells: What to write; cells without a finished run are left out.
        finished: Seed and folder of every finished run of a cell.
        command: The command that makes a cell with that number of seeds.
        scale: Any but ``full`` becomes part of the table's name, e.g. ``table1-smoke``: its numbers are no match.
    """
    cell_rows, run_rows = [], []
    for cell in cells:
        key = {"table": cell.table if scale == "full" else f"{cell.table}-{scale}"}
        key |= {"column": cell.column.name, "row": cell.row.name}
        measure = cell.column.measure
        runs: list[dict[str, Any]] = [key | _run_row(seed, path, out, measure) for seed, path in finished(cell)]
        runs = [run for run in runs if run["test"] != ""]
        result = spread([run["test"] for run in runs])
        if result is None:
            continue
        run_rows += runs
        cell_rows.append(
            key
            | {
                "n": result.n,
                "mean": round(result.mean, 4),
                "std": "" if result.std is None else round(result.std, 4),
                "paper": cell.paper,
                "hardware": "; ".join(dict.fromkeys(run["hardware"] for run in runs if run["hardware"])),
                "seconds": round(math.fsum(run["seconds"] for run in runs) / len(runs), 1),
                "command": command(cell, result.n),
            }
        )
    if not cell_rows:
        return
    _replace(out / "paper.csv", CELLS, cell_rows)
    _replace(out / "runs.csv", RUNS, run_rows)


def _run_row(seed: int, path: Path, out: Path, measure: str) -> dict[str, Any]:
    with intact(path):
        return _row_of(seed, path, out, measure)


def _row_of(seed: int, path: Path, out: Path, measure: str) -> dict[str, Any]:
    metrics, about = read_json(path / runfolder.METRICS), read_json(path / runfolder.CONFIG)
    history = read_csv(path / runfolder.HISTORY)
    runfolder.check_format(about, path / runfolder.CONFIG)
    precision = about["config"]["precision"]
    best, last = metrics["best"], metrics["last"]
    return {
        "seed": seed,
        "test": _in_percent(metrics["test"], measure),
        "val": _in_percent(metrics.get("val"), measure),
        "epoch": (best if metrics["final"] == "best" else last)["epoch"],
        "last_test": _in_percent(last["test"], measure),
        "last_val": _in_percent(last.get("val"), measure),
        "epochs": metrics["epochs"],
        "seconds": round(math.fsum(float(row["seconds"]) for row in history), 1),
        "hardware": about.get("hardware", "") + ("" if precision == "fp32" else f", {precision}"),
        "longtail": about.get("longtail") or "",
        "run": path.relative_to(out).as_posix(),
    }


def _in_percent(metrics: dict[str, Any] | None, measure: str) -> float | str:
    """The measure in %, "" if the split has none; where it is the error, the test splits are balanced."""
    value = None if metrics is None else measure_set(metrics)[measure].value(metrics)
    return "" if value is None else round(100 * value, 4)


def _replace(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Put rows in the place of those with the same table, column and row; the recipes' order."""
    keys = {tuple(row[k] for k in _KEY) for row in rows}
    order = {key: i for i, key in enumerate(_order())}

    def place(row: dict[str, Any]) -> tuple[int, str, int]:
        cell = (row["table"].partition("-")[0], row["column"], row["row"])
        return order.get(cell, len(order)), row["table"], int(row.get("seed", 0))

    with _one_at_a_time(path.parent):
        kept = [row for row in _read(path, columns) if tuple(row[k] for k in _KEY) not in keys]
        write_csv(path, columns, sorted([*kept, *rows], key=place))


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait for other processes that write results into the folder: several may fill the columns of a table."""
    try:
        import fcntl
    except ImportError:  # not on Windows: there one call at a time
        yield
        return
    with open_lock(folder / ".results.lock") as f:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(f, fcntl.LOCK_EX)
        yield


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    rows = [{_OLD_NAMES.get(name, name): value for name, value in row.items()} for row in read_csv(path)]
    if rows and set(rows[0]) != set(columns):
        raise LongtailError(f"{path} has other columns than {','.join(columns)}: move it away")
    if wrong := [row["seed"] for row in rows if not re.fullmatch("[0-9]{1,18}", row.get("seed", "0"))]:
        raise LongtailError(f"{path}: the seed {wrong[0][:40]!r} is no number: mend the file or move it away")
    return rows


def _order() -> Iterator[tuple[str, str, str]]:
    from longtail.paper.base import TableRecipe
    from longtail.paper.catalogue import find_recipe, recipe_names

    for name in recipe_names():
        recipe = find_recipe(name)
        table = recipe if isinstance(recipe, TableRecipe) else recipe.runs
        for column in table.columns if table else ():
            for row in table.rows if table else ():
                yield name, column.name, row.name


def beside_paper(title: str, cells: Sequence[Cell], finished: Finished, *, scale: str) -> Table:
    """A line per row: what we measured, and what the paper prints where ``scale`` leaves the protocol as it is."""
    cells = [cell if cell.column.is_full(scale) else dataclasses.replace(cell, paper="") for cell in cells]
    rows = []
    for cell in cells:
        runs = [_run_row(seed, path, path.parent, cell.column.measure) for seed, path in finished(cell)]
        ours, last = (spread([run[key] for run in runs if run[key] != ""]) for key in ("test", "last_test"))
        gap = "-" if ours is None or cell.paper_mean is None else rounded(ours.mean - cell.paper_mean, sign=True)
        rows.append((cell.row.name, cell.paper or "-", _with_std(ours), gap, _with_std(last), str(len(runs))))
    return Table(title, ("Row", "Paper", "Ours", "Ours - paper", "Ours, last epoch", "Seeds"), tuple(rows))


def _with_std(s: Spread | None) -> str:
    if s is None:
        return "-"
    return rounded(s.mean) if s.std is None else f"{rounded(s.mean)} ± {rounded(s.std)}"


def merge(source: Path, target: Path) -> list[Path]:
    """Put the results of a folder of runs into a folder of results, in the place of those of the same cells.

    Args:
        source: A folder that ``longtail reproduce`` wrote.
        target: ``results``: its ``paper.csv`` takes the cells, its ``paper-runs.csv`` the runs.

    Returns:
        The files that were written.

    Raises:
        LongtailError: there are no results, or only those of smoke runs.
    """
    written = []
    for name, columns, there in (("paper.csv", CELLS, "paper.csv"), ("runs.csv", RUNS, "paper-runs.csv")):
        rows = [row for row in _read(source / name, columns) if not row["table"].endswith("-smoke")]
        if not rows:
            raise LongtailError(f"{source / name} holds no results: run longtail reproduce with the scale full first")
        target.mkdir(parents=True, exist_ok=True)
        _replace(target / there, columns, rows)
        written.append(target / there)
    return written
