"""Boxes and polygons as YOLO's tools write them: ``data.yaml``, and a text file of shares beside each photograph."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from longtail.data.annotations import Entries
from longtail.data.filelists import images_below
from longtail.data.labelfiles import number, shown
from longtail.data.layout import SPLIT_NAMES, files_by_split
from longtail.data.photos import is_image
from longtail.data.walk import Passed, real_paths
from longtail.errors import LongtailError
from longtail.names import brief, nfc
from longtail.textfiles import read_text

__all__ = ["find_yolo", "looks_like_yolo"]

_YAMLS = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
_NAMES = ("classes.txt", "obj.names", "labels.txt")
_KEYS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_LARGEST = 1 << 20
_SLACK = 0.01
"""A share may miss 0 or 1 by so much, from rounding or a box drawn over the edge: it is clipped."""


def find_yolo(place: Path) -> dict[str, Callable[[], Entries]]:
    """What a YAML of YOLO names, or without one a folder with ``classes.txt``, as label tools export it.

    ``train``, ``val`` and ``test`` are folders, lists of files (``.txt``), or several of these, from ``path``, which
    counts from the YAML. The labels of ``images/a/b.jpg`` are ``labels/a/b.txt``, or ``b.txt`` beside it. A line is a
    class and a box ``cx cy w h``, or a polygon ``x1 y1 x2 y2 ...``, in shares of width and height. A photograph with
    an empty label file, or without one, is background.

    Args:
        place: The YAML, or its folder.

    Raises:
        LongtailError: files that are missing or damaged, or a split without any label file.
    """
    if not (place.is_file() or place.is_dir()):
        raise LongtailError(f"{place} does not exist: give yolo:DIR, or yolo:FILE of its data.yaml")
    file = place if place.is_file() else _yaml_in(place)
    notes: list[str] = []
    if file is None:
        names_file, names, keypoints = _names_in(place)
        file, root, passed = names_file, place, Passed()
        pictures = files_by_split(place, images_below(place, passed))
    else:
        told = _parse(file)
        root, passed, names, keypoints = file.parent, Passed(), _names(told, file), _keypoints(told, file)
        pictures = {s: found for s in SPLIT_NAMES if (found := _pictures(told, s, file, passed, notes)) is not None}
        if "train" not in pictures:
            raise LongtailError(f"{file} names no train: write where the photographs are that are trained on")
    passed.other.pop(".txt", None)  # labels beside their photographs
    notes += passed.notes("image")
    categories = [{"id": c, "name": name} for c, name in names.items()]
    entries = {}
    for split, files in pictures.items():
        own = _entries(file, root, split, files, categories, keypoints, notes if split == "train" else [])
        if own is not None:
            entries[split] = own
    return {split: (lambda own=own: own) for split, own in entries.items()}


def looks_like_yolo(place: Path) -> bool:
    """Whether a folder has a YAML of YOLO, or names of classes and labels beside them."""
    try:
        return _yaml_in(place) is not None or (
            any((place / name).is_file() for name in _NAMES)
            and any(
                f.suffix == ".txt" and f.name not in _NAMES for below in ("", "labels") for f in _listed(place / below)
            )
        )
    except LongtailError:
        return False


# -- the YAML ----------------------------------------------------------------------------------------------------------
def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _yaml_in(place: Path) -> Path | None:
    found = [file for file in _listed(place) if file.suffix.lower() in (".yaml", ".yml") and file.is_file()]
    for name in _YAMLS:
        if (file := place / name) in found:
            return file
    named = [file for file in found if "names:" in read_text(file)]
    if len(named) > 1:
        raise LongtailError(f"{place} has {brief([f.name for f in named])}: give one as yolo:{named[0]}")
    return named[0] if named else None


def _parse(file: Path) -> Mapping[str, Any]:
    """The keys of a YAML; every value is text as it is written, so that a class ``no`` is not false."""
    import yaml

    text = read_text(file)
    if len(text) > _LARGEST:
        raise LongtailError(f"{file} has {len(text)} characters: it is no data.yaml of YOLO")
    try:
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except RecursionError:
        raise LongtailError(f"{file} is nested too deeply for a data.yaml") from None
    except (yaml.YAMLError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise LongtailError(f"{file} is no YAML ({''.join(c for c in told if c.isprintable())})") from None
    if not isinstance(content, Mapping):
        raise LongtailError(f"{file} holds no keys such as names and train")
    return content


def _names(told: Mapping[str, Any], file: Path) -> dict[int, str]:
    names, count = told.get("names"), told.get("nc")
    if isinstance(names, Mapping) and all(isinstance(k, str) and k.strip().isdecimal() for k in names):
        found = {int(k.strip()[:9]): v for k, v in names.items()}
    elif isinstance(names, list):
        found = dict(enumerate(names))
    elif not names and isinstance(count, str) and count.strip().isdecimal() and 0 < int(count.strip()[:6]) <= 100_000:
        found = {c: f"class {c}" for c in range(int(count))}
    else:
        raise LongtailError(f"{file} has no names of the classes: write names, a list or numbers with names")
    if not found or not all(isinstance(name, str) and name.strip() for name in found.values()):
        raise LongtailError(f"{file}: each of the names must be a text")
    if isinstance(count, str) and count.strip() != str(len(found)) and count.strip():
        raise LongtailError(f"{file} has nc {count[:20]!r} and {len(found)} names: mend one of them")
    return dict(sorted(found.items()))


def _keypoints(told: Mapping[str, Any], file: Path) -> int:
    """How many numbers of keypoints follow a box."""
    shape = told.get("kpt_shape")
    if shape is None:
        return 0
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, str) and n.isdecimal() for n in shape):
        return int(shape[0][:4]) * int(shape[1][:4])
    raise LongtailError(f"{file}: kpt_shape must be two whole numbers")


def _names_in(place: Path) -> tuple[Path, dict[int, str], int]:
    for below in ("", "labels"):
        for name in _NAMES:
            if (file := place / below / name).is_file():
                names = [line.strip() for line in read_text(file).splitlines()]
                while names and not names[-1]:
                    names.pop()
                if not names or not all(names):
                    raise LongtailError(f"{file} must have the name of a class in each line")
                return file, dict(enumerate(names)), 0
    raise LongtailError(f"{place} has neither a data.yaml, which names classes and folders, nor a classes.txt")


# -- photographs -------------------------------------------------------------------------------------------------------
def _pictures(told: Mapping[str, Any], split: str, file: Path, passed: Passed, notes: list[str]) -> list[str] | None:
    """The photographs of a split; None: the YAML does not name it."""
    keys = [key for key in _KEYS[split] if told.get(key) not in (None, "", [])]
    if not keys:
        return None
    places = told[keys[0]] if isinstance(told[keys[0]], list) else [told[keys[0]]]
    base, found = told.get("path", ""), list[str]()
    if not isinstance(base, str) or not all(isinstance(place, str) and place for place in places):
        raise LongtailError(f"{file}: {keys[0]} and path must be paths")
    for place in places:
        where, looked = _located(place, base, file.parent)
        if where is None and split == "test":  # exports name it whether there is one or not
            notes.append(f"{file.name} names a test split, {place}, which is not there")
            return None
        if where is None:
            tried = " and no ".join(map(str, looked))
            raise LongtailError(
                f"{file}: {keys[0]} is {place}, and there is no {tried}: write it from the YAML's folder"
            )
        found += images_below(where, passed) if where.is_dir() else _listed_in(where, looked[0].parent)
    if not found:
        raise LongtailError(f"{file}: {keys[0]} has no photograph, in {brief(places)}")
    own = list(dict(zip(real_paths(found), found, strict=True)).values())
    if len(own) < len(found):
        notes.append(
            f"{file.name} names {len(found) - len(own)} photographs of {split} more than once: each counts once"
        )
    return own


def _located(place: str, base: str, home: Path) -> tuple[Path | None, list[Path]]:
    """Where a path of a YAML leads, and where it was looked for: its own folder counts, however it was moved."""
    here, inside = Path(place).expanduser(), place.replace("\\", "/")
    while inside.startswith(("../", "./")):
        inside = inside.partition("/")[2]
    starts = list(dict.fromkeys([home / Path(base).expanduser(), home]))
    looked = list(dict.fromkeys([start / way for start in starts for way in (here, place.replace("\\", "/"), inside)]))
    try:
        return next((way for way in looked if way.exists()), None), looked
    except (OSError, ValueError):
        raise LongtailError(f"{home}: {place[:80]!r} is no path") from None


def _listed_in(file: Path, base: Path) -> list[str]:
    """The photographs that a list names; those that are missing too, for whoever reads them."""
    if file.suffix.lower() != ".txt":
        if is_image(file.name):
            return [str(file)]
        raise LongtailError(f"{file} is neither a folder nor a list of files (.txt)")
    found = []
    for line in filter(None, map(str.strip, read_text(file).splitlines())):
        if "\0" in line:
            raise LongtailError(f"{file} is no list of files")
        where, looked = _located(line, os.path.relpath(base, file.parent), file.parent)
        if where is not None and where.is_dir():
            raise LongtailError(f"{file} names the folder {line}: it must name files")
        found.append(os.path.normpath(where or looked[0]))
    return found


# -- labels ------------------------------------------------------------------------------------------------------------
class _Labels:
    """The label file of each photograph, with one look at each folder; accents may be stored either way."""

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, str]] = {}
        self.used: dict[str, str] = {}

    def of(self, picture: str) -> str | None:
        folder, name = os.path.split(picture)
        stem = nfc(os.path.splitext(name)[0])
        for place in (_labels_of(folder), folder):
            if label := self._in(place).get(stem):
                if (other := self.used.setdefault(label, picture)) != picture:
                    raise LongtailError(f"{label} is of {other} and of {picture}: give them names of their own")
                return label
        return None

    def unused(self) -> list[str]:
        every = (label for place in self.folders.values() for label in place.values())
        return [label for label in every if label not in self.used]

    def _in(self, folder: str) -> dict[str, str]:
        if folder not in self.folders:
            try:
                names = [name for name in os.listdir(folder) if name.lower().endswith(".txt")]
            except (OSError, ValueError):
                names = []
            kept = (name for name in Passed().sift(folder, names) if name.lower() not in _NAMES)
            self.folders[folder] = {nfc(name[:-4]): os.path.join(folder, name) for name in kept}
        return self.folders[folder]


def _labels_of(folder: str) -> str:
    """The folder of labels: the last part ``images`` of the path is ``labels``."""
    parts = folder.split(os.sep)
    for k in range(len(parts) - 1, -1, -1):
        if parts[k].lower() == "images":
            for name in ("labels", "Labels", "LABELS"):
                other = os.sep.join([*parts[:k], name, *parts[k + 1 :]])
                if os.path.isdir(other):
                    return other
            break
    return folder


def _entries(
    file: Path,
    root: Path,
    split: str,
    pictures: Sequence[str],
    categories: list[dict[str, Any]],
    keypoints: int,
    notes: list[str],
) -> Entries | None:
    """A split; None: a test split that keeps its answers."""
    labels, images, annotations, faults = _Labels(), [], [], list[str]()
    empty, doubled, clipped, known = 0, 0, 0, {category["id"] for category in categories}
    for picture in pictures:
        identity = shown(picture, root)
        images.append({"id": identity, "file_name": os.path.abspath(picture)})
        label = labels.of(picture)
        empty += label is None
        seen: set[str] = set()
        for line, text in enumerate(read_text(Path(label)).splitlines() if label else (), 1):
            if not (words := text.split()):
                continue
            if " ".join(words) in seen:
                doubled += 1
                continue
            seen.add(" ".join(words))
            where = f"{shown(label or '', root)} line {line}"
            try:
                category, values = _line(words, keypoints)
                if category not in known:
                    raise LongtailError(f"class {category} is beyond the {len(categories)} names")
            except LongtailError as error:
                faults.append(f"{where}: {error}")
                continue
            clipped += any(not 0 <= value <= 1 for value in values)
            annotations.append({"id": where, "image_id": identity, "category_id": category} | _shape(values))
    if empty == len(pictures):
        if split == "test":
            return None
        folder = os.path.dirname(pictures[0])
        raise LongtailError(
            f"{file}: none of the {len(pictures)} photographs of {split} has a label file: looked in "
            f"{brief(list(dict.fromkeys((_labels_of(folder), folder))))}"
        )
    notes = list(notes)
    if empty:
        notes.append(f"{empty} of {len(pictures)} photographs of {split} have no label file: they are background")
    if unused := labels.unused():
        notes.append(f"{len(unused)} label files beside those of {split} have no photograph: {brief(unused, 3)}")
    if doubled:
        notes.append(f"{doubled} lines of the labels of {split} stand twice in their file: each counts once")
    if clipped:
        notes.append(f"{clipped} objects of {split} reach a little out of their image: they are clipped")
    content = {"images": images, "annotations": annotations, "categories": categories}
    return Entries(file, content, root, split, relative=True, faults=faults, notes=notes)


def _line(words: Sequence[str], keypoints: int) -> tuple[int, list[float]]:
    """The class of a line and its box or polygon, in shares."""
    first, *values = map(number, words)
    if not first.is_integer() or first < 0:
        raise LongtailError(f"the class {words[0][:40]!r} is no whole number")
    if keypoints and len(values) == 4 + keypoints:
        values = values[:4]
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise LongtailError(f"{len(words)} numbers are neither a class and a box nor a class and a polygon")
    if wrong := [value for value in values if not -_SLACK <= value <= 1 + _SLACK]:
        raise LongtailError(f"{wrong[0]:g} is no share of the image: boxes and polygons are between 0 and 1")
    return int(first), values


def _shape(values: Sequence[float]) -> dict[str, Any]:
    if len(values) == 4:
        x, y, width, height = values
        return {"bbox": [x - width / 2, y - height / 2, width, height]}
    left, top = min(values[::2]), min(values[1::2])
    box = [left, top, max(values[::2]) - left, max(values[1::2]) - top]
    return {"bbox": box, "segmentation": [list(values)]}
