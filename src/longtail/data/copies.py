"""Copies: files with the same bytes, and samples that are nearly equal; in two splits, or under two classes."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from longtail.advice import noted
from longtail.data.base import Split
from longtail.data.video import frame_files

__all__ = ["Near", "NearCopies", "copy_notes"]

_MANY_ALIKE = 0.25
"""Share of a split in groups with another split's samples from which it is told, whether any of them are copies."""


@dataclasses.dataclass(frozen=True)
class NearCopies:
    """Which samples are nearly equal.

    Args:
        groups: Of each sample its group of near copies of its own class, by its file or key; one that has no near copy
            is absent.
        copies: Pairs of samples that hardly differ and are in different given splits, the surest first.
        mixed: Likewise, under different classes.
    """

    groups: Mapping[str, str]
    copies: Sequence[tuple[str, str]] = ()
    mixed: Sequence[tuple[str, str]] = ()

    def of(self, split: Split) -> list[str]:
        """The group of each sample of a split; empty: it has no near copy."""
        return [self.groups.get(str(key), "") for key in split.images]

    def notes(self, splits: Mapping[str, Split], class_names: Sequence[str], *, kept: bool) -> list[str]:
        """What to say of them.

        Args:
            splits: As they are trained and judged on.
            class_names: ``[C]``.
            kept: Whether the splits that were cut keep the groups together.
        """
        item, notes = splits["train"].item, []
        groups = {name: self.of(split) for name, split in splits.items()}
        label = {str(k): int(c) for part in splits.values() for k, c in zip(part.images, part.labels, strict=True)}
        if sizes := Counter(group for own in groups.values() for group in own if group):
            total = sum(map(len, splits.values()))
            largest, most = sizes.most_common(1)[0]
            example = next(
                str(k) for s, own in groups.items() for k, g in zip(splits[s].images, own, strict=True) if g == largest
            )
            told = (
                f"{sizes.total()} of {total} {item}s have near copies, in {len(sizes)} groups; the largest has {most}, "
                f"of {class_names[label[example]]}, e.g. {example}"
            )
            notes.append(noted("LT012", told + ("; no cut parts a group" if kept else "")))
        for one, other in itertools.combinations(splits, 2):
            shared = set(groups[one]) & set(groups[other]) - {""}
            alike = sum(group in shared for group in groups[other])
            sides = {str(k): s for s in (one, other) for k in splits[s].images}
            sure = [pair for pair in self.copies if {sides.get(key) for key in pair} == {one, other}]
            found = {key for pair in sure for key in pair if sides[key] == other}
            if not found and alike <= _MANY_ALIKE * len(splits[other]):
                continue
            told = f"{alike} of {len(splits[other])} {other} {item}s have near copies in {one}"
            if sure:
                told += f"; {len(found)} hardly differ, e.g. {sure[0][0]} and {sure[0][1]}"
            notes.append(noted("LT013", told))
        if self.mixed:
            known = [pair for pair in self.mixed if all(key in label for key in pair)] or [self.mixed[0]]
            names = [f"{key} ({class_names[label[key]]})" if key in label else key for key in known[0]]
            told = f"{len({key for pair in self.mixed for key in pair})} {item}s, e.g. {' and '.join(names)}"
            notes.append(noted("LT014", told))
        return notes


Near = Callable[[Mapping[str, Split]], NearCopies]
"""Finds near copies in the given splits of a data set, before any other is cut."""


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
