"""Files with the same bytes: a picture in two splits, or in two classes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence

from longtail.advice import noted
from longtail.data.video import frame_files

__all__ = ["copy_notes"]


def copy_notes(parts: Mapping[str, tuple[Sequence[str], Sequence[str]]], item: str) -> list[str]:
    """What to say of byte copies in different splits, and under different classes.

    Only files of equal size are read.

    Args:
        parts: For each split its files, or folders of frames, and the class of each; no classes: only splits are told.
        item: What a file is called.
    """
    sized: dict[tuple[int, ...], list[tuple[str, str, str]]] = {}
    for split, (paths, classes) in parts.items():
        for row, path in enumerate(paths):
            sized.setdefault(_size(path), []).append((split, path, classes[row] if classes else ""))
    equal: dict[bytes, list[tuple[str, str, str]]] = {}
    for rows in sized.values():
        for row in rows if len(rows) > 1 else ():
            equal.setdefault(_digest(row[1]), []).append(row)
    shared: dict[tuple[str, str], list[tuple[str, str]]] = {}
    mixed: list[tuple[str, str]] = []
    for rows in equal.values():
        first, others = rows[0], rows[1:]
        for split in dict.fromkeys(row[0] for row in others):
            if split != first[0]:
                copy = next(row for row in others if row[0] == split)
                shared.setdefault((first[0], split), []).append((first[1], copy[1]))
        if other := next((row for row in others if row[2] != first[2]), None):
            mixed.append((first[1], other[1]))
    notes = []
    for (one, other), pairs in shared.items():
        told = f"{len(pairs)} {item}s are in {one} and as byte copies in {other}, e.g. {pairs[0][0]} and {pairs[0][1]}"
        notes.append(noted("LT001", told))
    if mixed:
        told = f"{len(mixed)} {item}s are under two classes as byte copies, e.g. {mixed[0][0]} and {mixed[0][1]}"
        notes.append(noted("LT002", told))
    return notes


def _files(path: str) -> Iterable[str]:
    return frame_files(path) if os.path.isdir(path) else [path]


def _size(path: str) -> tuple[int, ...]:
    return tuple(os.path.getsize(file) for file in _files(path))


def _digest(path: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for file in _files(path):
        with open(file, "rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.digest()
