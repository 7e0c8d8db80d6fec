"""Files that are whole or absent: everything a run folder holds is written through here."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TextIO

import safetensors.torch
import torch

from longtail import textfiles
from longtail.atomic import atomic, named
from longtail.cells import quoted, unquoted
from longtail.errors import Busy, LongtailError
from longtail.textfiles import json_text, write_json

__all__ = [
    "append_csv",
    "atomic",
    "check_place",
    "check_table",
    "digest_of",
    "intact",
    "json_text",
    "load_state",
    "load_tensors",
    "locked",
    "open_lock",
    "read_csv",
    "read_json",
    "save_state",
    "save_tensors",
    "write_csv",
    "write_json",
    "write_table",
]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of a run folder."""
    mend = "restore it or start in a new folder"
    value = textfiles.read_json(path, mend=mend)
    if not isinstance(value, dict):
        raise LongtailError(f"{path} holds no JSON object: {mend}")
    return value


def _write_rows(out: TextIO, columns: Iterable[str], rows: Iterable[Mapping[str, Any]], *, header: bool) -> None:
    writer = csv.DictWriter(out, list(columns), lineterminator="\n", restval="")
    if header:
        writer.writeheader()
    writer.writerows({name: quoted(value) for name, value in row.items()} for row in rows)


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write all rows, one after the other: they may come from a generator."""

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", newline="") as f:
            _write_rows(f, columns, rows, header=True)

    atomic(path, write)


TABLES = (".json", ".jsonl", ".csv")
"""Forms of `write_table`, by the ending of the file."""


def check_table(path: Path) -> None:
    """Refuse before any work what `write_table` would refuse after it."""
    if path.suffix.lower() not in TABLES:
        raise LongtailError(f"--out is {path}: its ending must be one of {', '.join(TABLES)}")
    check_place(path)


def check_place(path: Path, option: str = "--out") -> None:
    """Refuse before any work a file that could not be written after it."""
    if path.is_dir():
        raise LongtailError(f"{path} is a folder: give {option} a file")
    if not path.parent.is_dir():
        raise LongtailError(f"{path.parent} does not exist: make the folder or choose another {option}")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows of the same columns as a list in JSON, a line each in JSON, or CSV, by the ending of the file."""
    if path.suffix.lower() == ".csv":
        write_csv(path, columns, rows)
    elif path.suffix.lower() == ".json":
        write_json(path, list(rows))
    else:
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        atomic(path, lambda p: p.write_text(text, encoding="utf-8"))


def append_csv(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Add rows, and the header if the file is new; returns what was added.

    A kill can tear the last line: `read_csv` leaves such a line out.
    """
    with named(path), open(path, "ab") as f:
        text = io.StringIO()
        _write_rows(text, columns, rows, header=f.tell() == 0)
        content = text.getvalue().encode()
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    return content


def read_csv(path: Path) -> list[dict[str, str]]:
    """All whole rows; an absent file has none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]
    try:
        rows = [row for row in csv.DictReader(io.StringIO(whole)) if None not in row and None not in row.values()]
    except csv.Error as error:
        raise LongtailError(f"{path} cannot be read as CSV ({error}): restore it or start in a new folder") from None
    return [{name: unquoted(value) for name, value in row.items()} for row in rows]


def digest_of(path: Path) -> str:
    """SHA-256 of a file, as ``sha256sum`` prints it."""
    try:
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except FileNotFoundError:
        raise LongtailError(f"{path} is missing: restore it, or start again in another folder") from None


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; `load_state` reads them without running code."""
    content = io.BytesIO()  # torch.save hides what the system says when it writes to a file itself
    torch.save(state, content)
    atomic(path, lambda p: p.write_bytes(content.getbuffer()))


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, its checksums compared; nothing in the file can run code.

    Raises:
        LongtailError: a file that cannot be read or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as parts:  # torch does not look at the checksums that it writes
            if (part := parts.testzip()) is not None:
                raise ValueError(part)
        with warnings.catch_warnings(action="ignore"):  # about pickles, which are refused
            return dict(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        raise LongtailError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # damaged in one of many ways
        reason = type(error).__name__
        raise LongtailError(f"{path} is damaged ({reason}): remove it to start again from epoch 1") from None


def save_tensors(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write a safetensors file."""
    content = safetensors.torch.save(weights)
    atomic(path, lambda p: p.write_bytes(content))


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file by name, on the CPU.

    Raises:
        LongtailError: a file that cannot be read or is damaged.
    """
    try:
        return safetensors.torch.load_file(path)
    except OSError as error:
        raise LongtailError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:
        raise LongtailError(f"{path} is damaged ({error}): remove the run folder and train again") from None


def open_lock(path: Path) -> IO[str]:
    """A file to be locked, made if it is not there; not through a link, which could lead to somebody else's file."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise LongtailError(f"{path} is a link: remove it") from None
    return open(handle, "w")


@contextlib.contextmanager
def intact(folder: Path) -> Iterator[None]:
    """Read what every finished run has; whatever fails on the way means that its folder is damaged.

    Raises:
        LongtailError: it names the folder.
    """
    try:
        yield
    except LongtailError as error:
        raise (error if str(folder) in str(error) else LongtailError(f"{folder}: {error}")) from None
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise LongtailError(
            f"{folder} is no whole run folder ({type(error).__name__}: {error}): restore its files or train it again"
        ) from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one process; the system lets go of it when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # not on Windows: two runs in one folder are then the user's to avoid
        yield
        return
    with open_lock(folder / ".lock") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process is training in {folder}: wait for it or choose another --out") from None
        except OSError:  # a file system without locks
            pass
        yield
