"""Readers of clips: a ``clips.csv`` with file and label, or a folder per class; and which of the files are whole."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from longtail.data.base import Split
from longtail.data.catalogue import FRAMES
from longtail.data.folders import read_folder
from longtail.data.series import frame_series
from longtail.data.table import read_rows, splits_of
from longtail.data.video import check_clip, image_names
from longtail.errors import LongtailError
from longtail.names import brief

__all__ = ["check_clips", "drop_broken", "read_clips", "series_notes"]


def read_clips(
    path: Path, *, frames: int = FRAMES, columns: Sequence[str] = ()
) -> tuple[dict[str, Split], list[str], list[str]]:
    """``clips.csv``, or ``[train/val/test/]CLASS/FILE``; a clip is a video file or a folder of extracted frames.

    The columns ``file`` and ``label`` are needed; columns ``split`` (train, val, test) and ``group`` (clips that must
    not be cut apart) are read if they are there. Files are relative to the folder, or absolute.

    Args:
        path: The folder.
        frames: Frames that stand for a clip.
        columns: ``ROLE=NAME`` for columns of ``clips.csv`` with names of their own, as in `read_csv`.

    Returns:
        Splits by name (``train`` always), class names (numbers in their order, else alphabetical), notes.

    Raises:
        LongtailError: no such folder, a missing column, label or file, a class without a training clip.
    """
    table = path / "clips.csv"
    if not table.is_file():
        return read_folder(path, frames=frames)
    rows, notes = read_rows(table, columns)
    rows = [dataclasses.replace(row, file=os.path.join(path, row.file)) for row in rows]
    missing = [row.file for row in rows if not (os.path.isfile(row.file) or image_names(row.file))]
    if missing:
        raise LongtailError(
            f"{len(missing)} of the {len(rows)} clips in {table} are neither a file nor a folder of frames, "
            f"first {missing[0]}: copy them there"
        )
    splits, names = splits_of(rows, table, make=functools.partial(Split, frames=frames), item="clip")
    return splits, names, notes


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
