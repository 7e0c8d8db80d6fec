"""Images named in a table: a CSV file with a column for the file and one for its label."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from longtail.data.base import Split
from longtail.data.layout import SPLIT_NAMES, split_named
from longtail.data.photos import is_image
from longtail.data.walk import real_paths
from longtail.errors import LongtailError
from longtail.names import brief, nfc
from longtail.textfiles import read_text

__all__ = ["Row", "by_number", "given_columns", "read_csv", "read_rows", "splits_of", "usual_name"]

_NAMES = {
    "file": "file path filepath file_path filename file_name image image_path image_file image_name img img_path "
    "image_id id",
    "label": "label class target category species breed class_name label_name category_name class_id label_id "
    "category_id",
    "split": "split subset set partition",
    "group": "group group_id",
}
"""What a column may be called, in any case, the likeliest first; blanks and hyphens count as underscores."""
_FOLDERS = ("", "images", "train")
_DELIMITERS = ",;\t|"


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table: its number, and what its columns say; no group: empty."""

    line: int
    file: str
    label: str
    split: str
    group: str


def given_columns(columns: Sequence[str], roles: Sequence[str]) -> dict[str, str]:
    """``--columns ROLE=NAME ...`` as a dictionary; ``image`` is another word for ``file``.

    Raises:
        LongtailError: not of this form, no such role, or one that is given twice.
    """
    found: dict[str, str] = {}
    for word in columns:
        role, equals, name = word.partition("=")
        role = "file" if role.strip() == "image" else role.strip()
        if not equals or not name.strip() or role not in roles:
            raise LongtailError(f"--columns {word!r}: write ROLE=NAME, where ROLE is {', '.join(roles)}")
        if role in found:
            raise LongtailError(f"--columns names {role} twice: {found[role]!r} and {name.strip()!r}")
        found[role] = name.strip()
    return found


def read_csv(path: Path, *, columns: Sequence[str] = ()) -> tuple[dict[str, Split], list[str], list[str]]:
    """A table with a line for each image: file, label and, if you like, split (train, val, test) and group.

    Files are relative to the folder of the table, or to ``images`` or ``train`` in it, or absolute. Where a file is not
    there, the one image of that name with an ending is meant.

    Args:
        path: The table.
        columns: ``ROLE=NAME`` for columns with names of their own, see `given_columns`.

    Returns:
        Splits by name (``train`` always), class names (numbers in their order, else alphabetical), notes.

    Raises:
        LongtailError: as `read_rows`, files that are missing, or that an ending could be added to in several ways.
    """
    rows, notes = read_rows(path, columns)
    places = [path.parent / folder for folder in _FOLDERS]
    found = [_located(rows, place, path) for place in places]
    files = max(found, key=lambda own: sum(file is not None for file in own))
    if missing := [row for row, file in zip(rows, files, strict=True) if file is None]:
        raise LongtailError(
            f"{len(missing)} of the {len(rows)} images in {path} are missing, first {missing[0].file!r} in line "
            f"{missing[0].line} (looked in {brief(list(map(str, places)))}): copy or link the images there"
        )
    whole = [dataclasses.replace(row, file=file) for row, file in zip(rows, files, strict=True) if file is not None]
    splits, names = splits_of(whole, path)
    return splits, names, notes


def read_rows(table: Path, columns: Sequence[str] = ()) -> tuple[list[Row], list[str]]:
    """The lines of a table, and notes on what was taken for what.

    Columns are parted by commas, semicolons, tabs or bars, as the first line shows.

    Raises:
        LongtailError: no table in UTF-8, a column that is missing or can be one of several, or a line that lacks a
            value or has too many.
    """
    text = read_text(table)
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        lines = [(reader.line_num, values) for line in reader if any(values := [value.strip() for value in line])]
    except csv.Error as error:
        raise LongtailError(f"{table} line {reader.line_num} cannot be read as CSV: {error}") from None
    names, lines = (lines[0][1] if lines else []), lines[1:]
    for number, values in lines:
        if len(values) > len(names):
            raise LongtailError(
                f"{table} line {number} has {len(values)} values for {len(names)} columns: put a value that holds "
                f"{delimiter!r} in quotation marks"
            )
    cells = {k: [values[k] if k < len(values) else "" for _, values in lines] for k in range(len(names))}
    taken = _columns(table, names, cells, given_columns(columns, tuple(_NAMES)))
    word = {role: cells[k] if k is not None else [""] * len(lines) for role, k in taken.items()}
    rows, notes = [], []
    for (number, _), file, label, split, group in zip(
        lines, word["file"], word["label"], word["split"], word["group"], strict=True
    ):
        if not file or not label:
            raise LongtailError(f"{table} line {number} has no {'label' if file else 'file'}: complete or remove it")
        if "\0" in file:
            raise LongtailError(f"{table} line {number} has a file name with a zero byte: mend the file")
        role = split_named(split or "train")
        if role is None:
            raise LongtailError(f"{table} line {number} has the split {split!r}: it must be train, val or test")
        rows.append(Row(number, file, nfc(label), role, group))
    if not rows:
        raise LongtailError(f"{table} has no line below {delimiter.join(names)}")
    own = {role: names[k] for role, k in taken.items() if k is not None and names[k].lower() != role}
    if own and not columns:
        notes.append(f"{table.name}: " + ", ".join(f"{role} is the column {name!r}" for role, name in own.items()))
    return rows, notes + _alike({row.label for row in rows})


def _columns(
    table: Path, names: Sequence[str], cells: Mapping[int, Sequence[str]], given: Mapping[str, str]
) -> dict[str, int | None]:
    """The place of the column of each role; None: there is none, which only split and group may."""
    has = f"it has {brief(names, 12)}" if names else "it is empty"
    taken: dict[str, int | None] = {}
    for role in _NAMES:
        if role in given:
            same = [k for k, name in enumerate(names) if name == given[role]]
            if len(same) != 1:
                raise LongtailError(f"{table} has {'several columns' if same else 'no column'} {given[role]!r} ({has})")
            taken[role] = same[0]
            continue
        found = [k for word in usual_name(role, names) for k, name in enumerate(names) if name == word]
        exact = [k for k in found if _plain(names[k]) == role]
        if role == "split" and not exact:  # a column "set" may number something else
            found = [k for k in found if all(split_named(v or "train") for v in cells[k])]
        if not found and role in ("file", "label"):
            raise LongtailError(
                f"{table} has no column {role!r} ({has}): its first line must be file,label, or name it with "
                f"--columns {role}=NAME"
            )
        if len(exact) > 1 or (not exact and role == "label" and any(not _same(cells, found[0], k) for k in found[1:])):
            several = brief([names[k] for k in exact or found])
            raise LongtailError(f"{table}: the {role} could be any of {several}: name it with --columns {role}=NAME")
        taken[role] = next(iter(exact or found), None)
    return taken


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def usual_name(role: str, names: Sequence[str]) -> list[str]:
    """Those of ``names`` by which a role is usually called, the likeliest first."""
    return list(dict.fromkeys(name for word in _NAMES[role].split() for name in names if _plain(name) == word))


def by_number(word: str) -> tuple[int, int, str]:
    """The order of class names: numbers in their order, then words in the alphabet's."""
    return (0, int(word), "") if word.isdecimal() and len(word) < 19 else (1, 0, word)


def _same(cells: Mapping[int, Sequence[str]], one: int, other: int) -> bool:
    """Whether two columns tell the same classes, in other words."""
    pairs = set(zip(cells[one], cells[other], strict=True))
    return len(pairs) == len(set(cells[one])) == len(set(cells[other]))


def _alike(labels: set[str]) -> list[str]:
    spellings: dict[str, list[str]] = {}
    for label in sorted(labels):
        spellings.setdefault(" ".join(label.casefold().split()), []).append(label)
    pairs = [" / ".join(own) for own in spellings.values() if len(own) > 1]
    return [f"classes that differ in spelling only, are they one? {brief(pairs)}"] if pairs else []


def _located(rows: Sequence[Row], place: Path, table: Path) -> list[str | None]:
    """The file of each row below a folder; each folder is listed once."""
    listed: dict[str, tuple[set[str], dict[str, list[str]]]] = {}

    def find(row: Row, name: str) -> str | None:
        folder, base = os.path.split(os.path.join(place, name))
        if folder not in listed:
            there = os.listdir(folder) if os.path.isdir(folder) else []
            stems: dict[str, list[str]] = {}
            for file in filter(is_image, there):
                stems.setdefault(os.path.splitext(file)[0], []).append(file)
            listed[folder] = set(there), stems
        there, stems = listed[folder]
        if base in there:
            return os.path.join(folder, base)
        if len(same := sorted(stems.get(base, ()))) > 1:
            raise LongtailError(f"{table} line {row.line}: {row.file!r} may be {brief(same)} in {folder}: write which")
        return os.path.join(folder, same[0]) if same else None

    return [find(row, row.file) or find(row, row.file.replace("\\", "/")) for row in rows]  # made on Windows


def splits_of(
    rows: Sequence[Row], table: Path, *, make: Callable[..., Split] = Split, item: str = "image"
) -> tuple[dict[str, Split], list[str]]:
    """Splits, and class names: numbers in their order, else alphabetical.

    Args:
        rows: With the full paths of their files.
        table: Where they were read.
        make: Takes ``images``, ``labels`` and ``groups``.
        item: What one is called.

    Raises:
        LongtailError: a file twice, no training part, or a class that is not in it.
    """
    seen: dict[str, Row] = {}
    for row, real in zip(rows, real_paths(row.file for row in rows), strict=True):
        first = seen.setdefault(real, row)
        if first is not row:
            other = f", once as {first.label!r} and once as {row.label!r}" if first.label != row.label else ""
            raise LongtailError(
                f"{table} names {os.path.relpath(row.file, table.parent)} in line {first.line} and again in line "
                f"{row.line}{other}: remove one"
            )
    names = sorted({row.label for row in rows}, key=by_number)
    index = {name: c for c, name in enumerate(names)}
    splits = {}
    for split in SPLIT_NAMES:
        if own := [row for row in rows if row.split == split]:
            splits[split] = make(
                images=[row.file for row in own],
                labels=torch.tensor([index[row.label] for row in own]),
                groups=[row.group for row in own] if any(row.group for row in rows) else None,
            )
    if "train" not in splits:
        raise LongtailError(f"{table} has no training {item}: its split column must say train somewhere")
    if empty := [names[c] for c, n in enumerate(splits["train"].class_counts(len(names))) if n == 0]:
        raise LongtailError(f"{table}: classes without a training {item}: {brief(empty)}")
    return splits, names
