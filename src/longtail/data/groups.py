"""Samples that belong together, such as clips of one recording or photographs of one animal, and so must not be cut."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from longtail.advice import noted
from longtail.data.base import Split
from longtail.data.copies import NearCopies
from longtail.errors import LongtailError
from longtail.names import brief

__all__ = ["group_numbers", "group_splits", "series_note"]


def group_splits(
    splits: dict[str, Split], group_by: str | None, root: Path, *, near: NearCopies | None = None
) -> list[str]:
    """Tell which samples belong together, and name the groups that lie in two splits.

    Args:
        splits: Of files; changed in place.
        group_by: None and ``auto``: as the data's own column says; where there is none, near copies belong together, if
            they are known. ``none``: nothing does. Otherwise a regular expression that is searched for in each path
            below ``root``, its folders parted by ``/``: the group is what its parentheses match, without any what all
            of it matches. A file that it does not match is on its own.
        root: Folder of the data.
        near: The near copies; None: not known.

    Returns:
        Notes.

    Raises:
        LongtailError: ``auto`` and nothing tells groups, no regular expression, or one that matches no file.
    """
    if group_by == "none":
        splits |= {name: dataclasses.replace(split, groups=None) for name, split in splits.items()}
    elif group_by not in (None, "auto"):
        _by_pattern(splits, group_by, root)
    elif all(split.groups is None for split in splits.values()):
        if near is not None:
            splits |= {name: dataclasses.replace(split, groups=near.of(split)) for name, split in splits.items()}
            return []  # its own notes tell of them
        if group_by == "auto":
            raise LongtailError(
                "--group-by auto looks for near copies by the features of a frozen network: add --tune head, or give "
                "none, or a regular expression on the path"
            )
    known = {name: set(split.groups) - {""} for name, split in splits.items() if split.groups is not None}
    if not known:
        return []
    item, total = splits["train"].item, sum(map(len, splits.values()))
    alone = sum(Counter(split.groups or ())[""] for split in splits.values())
    notes = [
        f"{len(set().union(*known.values()))} groups of {item}s stay together where splits are cut"
        + (f" ({alone} of {total} {item}s are in none)" if alone else "")
    ]
    for one, other in itertools.combinations(known, 2):
        if both := sorted(known[one] & known[other]):
            told = f"{len(both)} groups lie in the given {one} and {other} splits ({brief(both)})"
            notes.append(noted("LT003", f"{told}: results on {other} are too good"))
    return notes


def _by_pattern(splits: dict[str, Split], pattern: str, root: Path) -> None:
    try:
        form = re.compile(pattern)
    except re.error as error:
        raise LongtailError(
            f"--group-by {pattern!r} is no regular expression ({error}): write e.g. 'rec\\d+', or none"
        ) from None
    matched = 0
    for name, split in splits.items():
        groups = []
        for path in split.images:
            below = os.path.relpath(str(path), root).replace(os.sep, "/")
            found = form.search(below)
            groups.append("/".join(part or "" for part in found.groups() or found.group(0, 0)[:1]) if found else "")
        matched += sum(map(bool, groups))
        splits[name] = dataclasses.replace(split, groups=groups)
    if not matched:
        raise LongtailError(
            f"--group-by {pattern!r} matches no file below {root}, e.g. {below}: it is a regular expression that is "
            "searched for in each path"
        )


_SERIES = re.compile(r"(.*\d)\D+\d+(?:\.\w+)?")
SERIES_PATTERN = r"(.*\d)\D+\d+(?:\.\w+)?$"
"""For ``--group-by``: all of a path but its last number, where it has another before."""


def series_note(split: Split, root: Path) -> str | None:
    """What to say where file names look like series, ``rec03_001.png``: a number of a recording, then one of a picture.

    It takes two numbers in nearly every name, and several pictures and several series in most classes. A number of the
    class, as in ``n01440764_10026.jpg``, makes no series.
    """
    found = [
        _SERIES.fullmatch(os.path.relpath(str(p), root).replace(os.sep, "/").rpartition("/")[2]) for p in split.images
    ]
    folders = [os.path.dirname(str(path)) for path in split.images]
    series = [(folder, own[1]) for folder, own in zip(folders, found, strict=True) if own]
    sizes = Counter(series)
    inside = Counter(folder for folder, _ in sizes)
    grouped = sum(n for key, n in sizes.items() if n > 1 and inside[key[0]] > 1)
    if grouped < 0.8 * len(split) or len(sizes) > len(split) / 2:
        return None
    (_, most), n = sizes.most_common(1)[0]
    told = f"{grouped} of {len(split)} {split.item}s are in {len(sizes)} series, e.g. {n} called {most}..."
    return noted("LT015", told)


def group_numbers(split: Split) -> Tensor | None:
    """The group of each sample as a number, int64 ``[N]``; one in no group has a number of its own. None: no groups."""
    if split.groups is None or not any(split.groups):
        return None
    names = sorted(set(split.groups) - {""})
    index = {name: k for k, name in enumerate(names)}
    alone = itertools.count(len(names))
    return torch.tensor([index[group] if group else next(alone) for group in split.groups])
