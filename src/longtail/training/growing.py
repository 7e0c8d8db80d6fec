"""The tables of a run folder that grow by each epoch, and what a checkpoint says of them."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from longtail import runfolder
from longtail.errors import LongtailError
from longtail.training.files import append_csv, write_csv

__all__ = ["GrowingTables"]

_PIECE = 1 << 20


class GrowingTables:
    """`runfolder.GROWING`: rows are only added; a run that is continued cuts them to where its checkpoint was.

    Args:
        path: The run folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, tuple[Any, int]] = {}  # running digest and size

    def append(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows to a table."""
        added = append_csv(self.path / name, runfolder.COLUMNS[name], rows)
        content, size = self._known.get(name) or (hashlib.sha256(), 0)
        content.update(added)
        self._known[name] = (content, size + len(added))

    def state(self) -> dict[str, dict[str, Any]]:
        """Length and digest of each table, for the checkpoint."""
        return {name: {"bytes": size, "sha256": content.hexdigest()} for name, (content, size) in self._known.items()}

    def cut(self, state: dict[str, Any] | None) -> None:
        """Take out what came after a checkpoint; None: there is none, so that nothing stays.

        Raises:
            LongtailError: a table is missing or not what it was.
        """
        self._known = {}
        for name in runfolder.GROWING:
            columns = runfolder.COLUMNS[name]
            then = None if state is None else state.get("tables", {}).get(name)
            if then is not None:
                self._cut_to(name, columns, then)
            elif state is not None and "tables" not in state:  # of an earlier version
                self._cut_by_epoch(name, columns, state["epoch"])
            else:
                (self.path / name).unlink(missing_ok=True)

    def _cut_to(self, name: str, columns: Sequence[str], then: dict[str, Any]) -> None:
        """Cut a CSV file to what it was at the checkpoint, if that is still there."""
        path, size = self.path / name, then["bytes"]
        content = hashlib.sha256()
        try:
            with open(path, "rb+") as f:
                header = f.readline()
                f.seek(0)
                for start in range(0, size, _PIECE):
                    content.update(f.read(min(_PIECE, size - start)))
                if content.hexdigest() != then["sha256"]:
                    raise LongtailError(
                        f"{path} is not what it was when the last epoch ended (rows are missing or changed): restore "
                        "it, or start again in another folder"
                    )
                f.truncate(size)
        except FileNotFoundError:
            raise LongtailError(f"{path} is missing: restore it, or start again in another folder") from None
        if header.decode(errors="replace").strip().split(",") != list(columns):  # a version with other columns
            self._cut_by_epoch(name, columns, None)
            return
        self._known[name] = (content, size)

    def _cut_by_epoch(self, name: str, columns: Sequence[str], done: int | None) -> None:
        """Rewrite a CSV file with all columns, row by row, up to an epoch."""
        path = self.path / name
        if not path.is_file():
            if name == runfolder.HARD:
                return
            raise LongtailError(f"{path} is missing: restore it, or start again in another folder")
        found: set[int] = set()

        def rows(file: TextIO) -> Iterator[dict[str, str]]:
            reader = csv.DictReader(file)
            if not set(reader.fieldnames or ()) <= set(columns):
                raise LongtailError(f"{path} is damaged (its first line): restore it or choose another --out")
            for row in reader:
                epoch = row.get("epoch") or ""
                whole = None not in row and None not in row.values()
                if whole and epoch.isdecimal() and (done is None or int(epoch) <= done):
                    found.add(int(epoch))
                    yield {column: row.get(column, "") for column in columns}

        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            try:
                write_csv(path, columns, rows(file))
            except csv.Error as error:
                raise LongtailError(f"{path} is damaged ({error}): restore it or choose another --out") from None
        if done is not None and name != runfolder.HARD and found != set(range(1, done + 1)):
            raise LongtailError(
                f"{path} has rows of {len(found)} epochs and the checkpoint is of epoch {done}: restore it, or start "
                "again in another folder"
            )
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256")
        self._known[name] = (content, path.stat().st_size)
