"""Where the annotations of a COCO or LVIS folder are: as the downloads have them, and as label tools write them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from longtail.data.annotations import Entries, read_json
from longtail.data.layout import SPLIT_NAMES, folder_of, only_one, split_roles
from longtail.data.walk import Passed
from longtail.errors import LongtailError
from longtail.names import brief

__all__ = ["find_coco", "find_lvis", "looks_like_coco"]

_EXPORTED = "_annotations.coco.json"
_BELOW = ("", "annotations")
_MOST = 20
"""So many JSON files of one folder are opened to find the one that is a COCO file."""
_LARGE = 1 << 26


def find_coco(place: Path, *, files: Sequence[str]) -> dict[str, Callable[[], Entries]]:
    """The annotations of each split, read when asked for; of ``train`` alone where nothing is split.

    Looked for are, in this order: the files of the download; a JSON inside of each split's folder; JSONs beside each
    other whose names are those of splits; one JSON for all.

    Args:
        place: Folder of the data set, or its one JSON file.
        files: Names that the file of a split may have, ``{}`` standing for the split.

    Raises:
        LongtailError: there is none, or several may be meant.
    """
    if place.is_file():
        return {"train": _entries(place, folder_of(place), _word(place))}
    if found := _downloaded(place, "coco", files):
        return found
    inside = _inside_of_splits(place)
    if inside and "train" not in inside:
        raise LongtailError(f"{place} has annotations inside of its {brief(sorted(inside))}, and none for training")
    if inside:
        return {split: _entries(file, file.parent, split) for split, file in inside.items()}
    if found := _beside_each_other(place):
        return found
    raise _nothing(place, "train", files)


def find_lvis(place: Path, *, files: Sequence[str]) -> dict[str, Callable[[], Entries]]:
    """As `find_coco`, of the files of the download alone."""
    if found := _downloaded(place, "lvis", files):
        return found
    raise _nothing(place, "train", files)


def _downloaded(place: Path, name: str, files: Sequence[str]) -> dict[str, Callable[[], Entries]]:
    if not place.is_dir():
        raise LongtailError(f"{place} is no folder: give {name}:DIR")
    found = {s: f for s in SPLIT_NAMES for p in reversed(files) if (f := place / p.format(s)).is_file()}
    for split in ("train", "val"):
        if found and split not in found:
            raise _nothing(place, split, files)
    return {split: _entries(file, place, split) for split, file in found.items()}


def looks_like_coco(place: Path) -> bool:
    """Whether `find_coco` finds anything there."""
    try:
        return bool(find_coco(place, files=()))
    except LongtailError:
        return False


def _entries(file: Path, images: Path, split: str) -> Callable[[], Entries]:
    return functools.partial(_read, file, images, split)


def _read(file: Path, images: Path, split: str) -> Entries:
    return Entries(file, read_json(file), images, split)


def _nothing(place: Path, split: str, files: Sequence[str]) -> LongtailError:
    looked = brief([pattern.format(split) for pattern in files])
    return LongtailError(f"{place} has no annotations of the split {split}: looked for {looked}")


def _word(file: Path) -> str:
    """What the folder of the photographs may be called: ``default`` of ``instances_default.json``."""
    return file.stem.removeprefix("instances_")


def _inside_of_splits(place: Path) -> dict[str, Path]:
    folders = Passed().sift(place, (entry.name for entry in place.iterdir() if entry.is_dir()), folders=True)
    found: dict[str, Path] = {}
    roles = split_roles(folders)
    for split in SPLIT_NAMES:
        if folder := only_one((f for f, role in roles.items() if role == split), split=split, where=place):
            here = _jsons(place / folder)
            if file := _only(here, wanted=_EXPORTED):
                found[split] = file
    return found


def _beside_each_other(place: Path) -> dict[str, Callable[[], Entries]]:
    """JSONs called as splits, else the only one, in the folder or in ``annotations``; empty: there are none."""
    for below in _BELOW:
        files = {file.stem: file for file in _jsons(place / below)}
        roles = {stem: role for stem, role in split_roles(files).items() if len(files) <= _MOST}
        if "train" in roles.values():
            found = {s: _named(files, roles, s, place / below) for s in SPLIT_NAMES if s in roles.values()}
            return {split: _entries(file, place, split) for split, file in found.items()}
        if file := _only(list(files.values()), wanted=_EXPORTED):
            return {"train": _entries(file, place, _word(file))}
    return {}


def _named(files: dict[str, Path], roles: dict[str, str], split: str, where: Path) -> Path:
    stems = [stem for stem, role in roles.items() if role == split]
    many = [stem for stem in stems if _is_coco(files[stem])] if len(stems) > 1 else stems
    return files[only_one(many or stems, split=split, where=where) or stems[0]]


def _jsons(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    names = Passed().sift(folder, (entry.name for entry in folder.iterdir() if entry.is_file()))
    return [folder / name for name in names if name.lower().endswith(".json")]


def _only(files: Sequence[Path], *, wanted: str) -> Path | None:
    """The COCO file among JSON files; None: there is none.

    Raises:
        LongtailError: there are several.
    """
    if exported := [file for file in files if file.name == wanted]:
        return exported[0]
    if len(files) > _MOST:
        return None  # one for each image, as other tools write them
    coco = list(filter(_is_coco, files))
    if len(coco) > 1:
        raise LongtailError(f"{coco[0].parent} has several COCO files, {_names(coco)}: give one as coco:FILE")
    return coco[0] if coco else None


def _names(files: Iterable[Path]) -> str:
    return brief([file.name for file in files])


def _is_coco(file: Path) -> bool:
    """Whether a JSON has the lists of a COCO file; one that cannot be read may have them, and whoever reads it says."""
    try:
        if file.stat().st_size > _LARGE:
            return True  # nobody else writes so much, and it takes seconds to read
        content = read_json(file)
    except OSError:
        return False
    except LongtailError as error:
        return "holds no COCO" not in str(error)
    return isinstance(content.get("images"), list) and isinstance(content.get("annotations"), list)
