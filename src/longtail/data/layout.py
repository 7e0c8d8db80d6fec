"""Which folders and lists are the splits of a data set: the usual spellings, in any case."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from longtail.errors import LongtailError

__all__ = ["SPLIT_NAMES", "files_by_split", "folder_of", "only_one", "split_named", "split_roles"]

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What a split is called, in any case: in a list's name, in a column, and as a folder."""
_ALSO = {"trn": "train", "dev": "val", "validate": "val", "tst": "test"}
_SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names} | _ALSO
_AROUND = "dataset|set|data|image|img|photo|picture|clip|video|frame|folder|split|part|seg"
_WORD = re.compile(
    rf"(?<![^\W\d_])({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})(?=(?:(?:{_AROUND})s?)?(?![^\W\d_]))"
)
_PLAIN = re.compile(rf"(?:{_AROUND}|s|[\W\d_])*")


def split_named(name: str) -> str | None:
    """The split that ``name`` stands for as it is, in any case; None: none."""
    return next((split for split, names in SPLIT_NAMES.items() if name.strip().lower() in names), None)


def split_roles(names: Iterable[str]) -> dict[str, str]:
    """The names that say a split, each with its split.

    ``Train``, ``test_images`` and ``valid2`` do so by themselves; ``leaves-train`` beside ``leaves-test``, which differ
    in nothing else. ``train_station`` and ``trainer`` do not.
    """
    families: dict[str, dict[str, str]] = {}
    for name in names:
        lower = name.lower()
        if len(words := _WORD.findall(lower)) == 1:
            families.setdefault(_WORD.sub("*", lower), {})[name] = _SPLIT_OF[words[0]]
    roles: dict[str, str] = {}
    for form, family in families.items():
        if _PLAIN.fullmatch(form) or {"train"} < set(family.values()):
            roles |= family
    return roles


def folder_of(place: Path) -> Path:
    """The folder of a data set, where it is named by its one file: that of ``annotations`` is the one above."""
    if not place.is_file():
        return place
    return place.parent.parent if place.parent.name.lower() == "annotations" else place.parent


def only_one(names: Iterable[str], *, split: str, where: object) -> str | None:
    """The one of ``names`` that is a split; None if there is none.

    Raises:
        LongtailError: there are several.
    """
    found = list(names)
    if len(found) > 1:
        word = {"val": "validation", "train": "training"}.get(split, split)
        raise LongtailError(f"{where} has both {found[0]} and {found[1]}: keep one as the {word} split")
    return found[0] if found else None


def files_by_split(root: Path, files: Sequence[str]) -> dict[str, list[str]]:
    """Files below a folder by the split whose name a folder on their way has; all are ``train`` where none has.

    Raises:
        LongtailError: files outside of all splits' folders, no folder for training, or two for one split.
    """
    ways = [os.path.relpath(os.path.dirname(file), root).split(os.sep) for file in files]
    roles = split_roles({name for way in ways for name in way})
    found: dict[str, list[str]] = {}
    names: dict[str, set[str]] = {}
    outside = []
    for file, way in zip(files, ways, strict=True):
        if name := next((name for name in way if name in roles), None):
            found.setdefault(roles[name], []).append(file)
            names.setdefault(roles[name], set()).add(name)
        else:
            outside.append(file)
    if not found:
        return {"train": outside}
    for split, own in names.items():
        only_one(sorted(own), split=split, where=root)
    if outside:
        raise LongtailError(
            f"{root} has folders of splits ({', '.join(sorted(set().union(*names.values())))}), "
            f"and {len(outside)} files are in none of them, e.g. {outside[0]}: move them into one"
        )
    if "train" not in found:
        raise LongtailError(f"{root} has a folder for {' and '.join(sorted(found))} and none for training")
    return {split: found[split] for split in SPLIT_NAMES if split in found}
