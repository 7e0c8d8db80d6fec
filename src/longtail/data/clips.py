"""Readers of clips: a ``clips.csv`` with file and label, or a folder a class; and which of the files are whole."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path

import torch

from longtail.data.base import Split
from longtail.data.catalogue import FRAMES
from longtail.data.files import brief
from longtail.data.folders import read_folder
from longtail.data.layout import SPLIT_NAMES, split_named
from longtail.data.series import frame_series
from longtail.data.video import check_clip, image_names
from longtail.errors import LongtailError
from longtail.names import nfc

__all__ = ["check_clips", "drop_broken", "read_clips", "series_notes"]


def read_clips(path: Path, *, frames: int = FRAMES) -> tuple[dict[str, Split], list[str], list[str]]:
    """``clips.csv``, or ``[train/val/test/]CLASS/FILE``; a clip is a video file or a folder of extracted frames.

    The columns ``file`` and ``label`` are needed; columns ``split`` (train, val, test) and ``group`` (clips that must
    not be cut apart) are read if they are there. Files are relative to the folder, or absolute.

    Args:
        path: The folder.
        frames: Frames that stand for a clip.

    Returns:
        Splits by name (``train`` always), class names (numbers in their order, else alphabetical), notes.

    Raises:
        LongtailError: no such folder, a missing column, label or file, a class without a training clip.
    """
    table = path / "clips.csv"
    if not table.is_file():
        return read_folder(path, frames=frames)
    rows = _rows(table)
    missing = [file for _, file, _, _ in rows if not (os.path.isfile(file) or image_names(file))]
    if missing:
        raise LongtailError(
            f"{len(missing)} of the {len(rows)} clips in {table} are neither a file nor a folder of frames, "
            f"first {missing[0]}: copy them there"
        )
    labels = {label for _, _, label, _ in rows}
    names = sorted(
        labels, key=lambda label: (0, int(label), "") if label.isdecimal() and len(label) < 19 else (1, 0, label)
    )
    return _splits(rows, names, frames, table), names, []


def _rows(table: Path) -> list[tuple[str, str, str, str]]:
    """Split, full path, label and group of each line."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LongtailError(f"{table} cannot be read as CSV: {error}") from None
    if lacking := [name for name in ("file", "label") if name not in header]:
        there = f"it has {brief(header)}" if header else "it is empty"
        raise LongtailError(f"{table} has no column {lacking[0]!r} ({there}): its first line must be file,label")
    rows, seen = [], {}
    for number, line in enumerate(lines, 2):
        file, label = ((line[name] or "").strip() for name in ("file", "label"))
        word = (line.get("split") or "train").strip()
        split = split_named(word)
        if not file or not label:
            raise LongtailError(f"{table} line {number} has no {'label' if file else 'file'}: complete or remove it")
        if split is None:
            raise LongtailError(f"{table} line {number} has the split {word!r}: it must be train, val or test")
        if "\0" in file:
            raise LongtailError(f"{table} line {number} has a file name with a zero byte: mend the file")
        full = os.path.join(table.parent, file)
        first = seen.setdefault(os.path.realpath(full), number)  # however it is written
        if first != number:
            raise LongtailError(f"{table} names {file} in line {first} and again in line {number}: remove one")
        rows.append((split, full, nfc(label), (line.get("group") or "").strip()))
    if not rows:
        raise LongtailError(f"{table} has no line below file,label")
    return rows


def _splits(rows: list[tuple[str, str, str, str]], names: list[str], frames: int, source: Path) -> dict[str, Split]:
    index = {name: c for c, name in enumerate(names)}
    splits = {}
    for split in SPLIT_NAMES:
        own = [row for row in rows if row[0] == split]
        if own:
            groups = [group for *_, group in own] if any(row[3] for row in rows) else None
            labels = torch.tensor([index[label] for _, _, label, _ in own])
            splits[split] = Split([file for _, file, _, _ in own], labels, frames, groups)
    if "train" not in splits:
        raise LongtailError(f"{source} has no training clip: its split column must say train somewhere")
    if empty := [names[c] for c, n in enumerate(splits["train"].class_counts(len(names))) if n == 0]:
        raise LongtailError(f"{source}: classes without a training clip: {brief(empty)}")
    return splits


def check_clips(paths: Iterable[str], *, decode: bool = False) -> dict[str, str]:
    """The broken ones of some clips, and what is wrong with them.

    Args:
        paths: Video files and folders of frames.
        decode: Decode every frame; otherwise each file's structure and its first frame.
    """
    return {path: fault for path in paths if (fault := check_clip(path, decode=decode))}


def drop_broken(splits: dict[str, Split], *, skip: bool) -> list[str]:
    """Take broken clips out of ``splits``, and say so.

    Args:
        splits: Changed in place.
        skip: Otherwise a broken clip is an error.

    Returns:
        Notes that name them.

    Raises:
        LongtailError: names the first broken clip and counts the others; or no whole one is left.
    """
    faults = check_clips(str(path) for split in splits.values() for path in split.images)
    if not faults:
        return []
    if not skip:
        more = f" (and {len(faults) - 1} more such files)" if len(faults) > 1 else ""
        raise LongtailError(f"{next(iter(faults.values()))}{more}; or leave such clips out with --broken skip")
    for name, split in list(splits.items()):
        whole = [i for i, path in enumerate(split.images) if str(path) not in faults]
        if whole:
            splits[name] = split.subset(torch.tensor(whole))
        elif name == "train":
            raise LongtailError(f"no clip can be read: {next(iter(faults.values()))}")
        else:
            del splits[name]
    return [f"left out: {fault}" for fault in faults.values()]


def series_notes(paths: Iterable[str]) -> list[str]:
    """What lies beside the frames of some clips and is not read, and where numbers of frames are missing."""
    beside, uneven = dict[tuple[str, str], list[str]](), dict[str, int]()
    for path in paths:
        series = frame_series(image_names(path))
        if series.others and series.frames:
            beside.setdefault((series.taken, brief(list(series.others))), []).append(path)
        if gaps := series.gaps():
            uneven[path] = gaps
    notes = [
        f"{len(folders)} folders hold more than the frames: {taken} is read, {others} is not (first {folders[0]})"
        for (taken, others), folders in beside.items()
    ]
    if uneven:
        first, missing = next(iter(uneven.items()))
        notes.append(
            f"{len(uneven)} folders of frames have gaps in their numbers, first {first} ({missing} missing); the "
            "frames are read as if none were"
        )
    return notes
