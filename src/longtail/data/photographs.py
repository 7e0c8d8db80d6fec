"""The photograph of each entry of an annotation file: found by the whole name that the file gives."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from longtail.data.walk import real_paths
from longtail.errors import LongtailError
from longtail.names import brief

__all__ = ["Photographs", "find_photographs"]

_FOLDERS = ("images/{}", "{}2017", "images/{}2017", "{}", "images", "")
_YEARS = ("train2017", "val2017", "test2017")
_OF_2014 = re.compile(r"COCO_(?:train|val|test)2014_(\d{12}\.\w+)")
_NUMBERED = re.compile(r"\d{12}\.\w+")
"""COCO's own names, which are unique over all its splits."""


class Photographs:
    """What was found.

    Args:
        paths: The file of each entry; "" where it is missing.
        missing: One line that says what is missing and where it was looked for; "" if nothing is.
    """

    def __init__(self, paths: list[str], missing: str) -> None:
        self.paths, self.missing = paths, missing


def find_photographs(
    images: Sequence[dict[str, Any]], root: Path, split: str, file: Path, *, shared: bool = False
) -> Photographs:
    """The file of each image.

    A name is a path below one of the folders of the split. Names that begin with the same folder, and those without a
    folder, lie in one place: the first that has any of them. A ``\\`` is read as ``/`` where the name as it is does not
    exist. Names of the download of 2014 also stand for those of 2017, which lack their beginning.

    Args:
        images: Entries with ``id`` and ``file_name`` or, as in LVIS v1, ``coco_url``.
        root: Folder of the data set.
        split: Its name is part of the folders' names.
        file: The annotation file.
        shared: COCO's own names are looked for in the folders of all splits, as LVIS divides COCO's images anew.

    Raises:
        LongtailError: a name that is no text, or two entries that are one file.
    """
    folders = [root / pattern.format(split) for pattern in _FOLDERS]
    folders = [folder for folder in dict.fromkeys([*folders, file.parent]) if folder.is_dir()]
    others = [root / below / year for year in _YEARS for below in ("", "images")]
    everywhere = [folder for folder in dict.fromkeys([*folders, *others]) if folder.is_dir()]
    looked, look = folders, _Listing()
    groups: dict[str, list[int]] = {}
    spelled = [_spellings(image, file) for image in images]
    paths = [""] * len(images)
    for row, names in enumerate(spelled):
        if shared and names and _is_coco(names[-1]):
            looked = everywhere
            paths[row] = next(_there(look, everywhere, names), "")
        else:
            top, slash, _ = names[-1].removeprefix("./").partition("/") if names else ("", "", "")
            groups.setdefault(top if slash else "", []).append(row)
    for rows in groups.values():
        home = [f for f in folders if any(True for row in rows for _ in _there(look, [f], spelled[row]))][:1]
        for row in rows:
            paths[row] = next(_there(look, home, spelled[row]), "")
    _refuse_doubles(images, paths, file)
    lost = [row for row, path in enumerate(paths) if not path]
    if not lost:
        return Photographs(paths, "")
    image = images[lost[0]]
    first = image.get("file_name") or image.get("coco_url") or "a file without a name"
    seen = [str(folder) for folder in looked if folder not in (root, file.parent)] or [str(root)]
    return Photographs(
        paths,
        f"{len(lost)} of {len(paths)} images of {file.name} are missing on disk, the first is {first} "
        f"(image {image['id']}): looked in {brief(seen, 3)}",
    )


def _spellings(image: dict[str, Any], file: Path) -> list[str]:
    """Paths that the name may stand for, the likeliest first; the last one has ``/`` between its folders."""
    name = image.get("file_name") or image.get("coco_url") or ""
    if not isinstance(name, str):
        raise LongtailError(f"{file}: image {image['id']} has the file name {name!r}: it must be text")
    if "://" in name:
        path = unquote(urlsplit(name).path).lstrip("/")
        names = [path, path.rpartition("/")[2]]  # the address tells of no folder here
    else:
        names = [name, name.replace("\\", "/")]
    for known in list(names):
        folder, slash, last = known.rpartition("/")
        if found := _OF_2014.fullmatch(last):
            names.append(f"{folder}{slash}{found[1]}")
    return [known for known in dict.fromkeys(names) if known]


def _is_coco(name: str) -> bool:
    return _NUMBERED.fullmatch(name.rpartition("/")[2]) is not None


class _Listing:
    """Which files there are, with one look at each folder."""

    def __init__(self) -> None:
        self.names: dict[str, set[str]] = {}

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self.names:
            try:
                self.names[folder] = set(os.listdir(folder))
            except (OSError, ValueError):  # no folder, or a name that no file can have
                self.names[folder] = set()
        return name in self.names[folder]


def _there(look: _Listing, folders: Sequence[Path], names: Sequence[str]) -> Iterator[str]:
    places = (os.path.join(folder, name) for folder in folders for name in names)
    return (place for place in places if place in look)


def _refuse_doubles(images: Sequence[dict[str, Any]], paths: Sequence[str], file: Path) -> None:
    """Two entries on one file would train on one picture with the annotations of two."""
    first: dict[str, int] = {}
    rows = [row for row, path in enumerate(paths) if path]
    for row, real in zip(rows, real_paths(paths[row] for row in rows), strict=True):
        if (before := first.setdefault(real, row)) != row:
            raise LongtailError(
                f"{file}: the images {images[before]['id']} and {images[row]['id']} are one file, {real}: "
                "keep one entry, with the annotations of both"
            )
