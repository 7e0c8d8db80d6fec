"""Boxes and polygons as labelme writes them: a JSON for each photograph."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from longtail.data.annotations import Entries
from longtail.data.labelfiles import Folders, categories_of, number, shown
from longtail.data.layout import files_by_split
from longtail.errors import LongtailError
from longtail.names import brief, nfc
from longtail.textfiles import read_json

__all__ = ["find_labelme", "looks_like_labelme"]

_SHAPES = {"rectangle": (2, 4), "polygon": (3, 1_000_000)}


def find_labelme(place: Path) -> dict[str, Callable[[], Entries]]:
    """The JSONs below a folder that have ``shapes``, in folders called as splits, or in any.

    Rectangles and polygons are read. Shapes of one label and ``group_id`` in a file are one object, as labelme's own
    converter has it. A rectangle's mask is the rectangle.

    Args:
        place: The folder.

    Raises:
        LongtailError: a JSON that is damaged, or none that has ``shapes``.
    """
    folders = Folders(place, ".json")
    read = {file: found for file in folders.labels if (found := _content(file)) is not None}
    if not read:
        raise LongtailError(f"{place} has no JSON with shapes, as labelme writes one for each image: give labelme:DIR")
    splits = files_by_split(place, list(read))
    names = [_label(shape) for content in read.values() for shape in content["shapes"]]
    categories, numbers = categories_of(name for name in names if name)
    if not categories:
        raise LongtailError(f"{place} has no shape with a label in any of its {len(read)} JSONs")
    polygons = any(_kind(shape) == "polygon" for content in read.values() for shape in content["shapes"])
    entries = {
        s: _entries(place, s, files, read, categories, numbers, polygons, folders) for s, files in splits.items()
    }
    used = {image["file_name"] for own in entries.values() for image in own.content["images"]}
    notes = folders.passed.notes("image")
    if without := folders.without(used):
        few = brief([shown(file, place) for file in without], 3)
        notes.append(f"{len(without)} photographs have no JSON of labelme and are left out: {few}")
    entries["train"].notes.extend(notes)
    return {split: (lambda own=own: own) for split, own in entries.items()}


def looks_like_labelme(place: Path) -> bool:
    """Whether a folder has JSONs of labelme."""
    try:
        files = Folders(place, ".json").labels
        return any(_content(file) is not None for file in files[:5])
    except LongtailError:
        return False


def _content(file: str) -> Mapping[str, Any] | None:
    """What a JSON of labelme holds; None: it is another."""
    content = read_json(Path(file), mend="it may be cut off")
    if not isinstance(content, Mapping) or "shapes" not in content:
        return None
    shapes = content["shapes"]
    if not isinstance(shapes, list) or not all(isinstance(shape, Mapping) for shape in shapes):
        raise LongtailError(f"{file}: shapes must be a list of objects")
    return content


def _label(shape: Mapping[str, Any]) -> str:
    label = shape.get("label")
    return nfc(label.strip()) if isinstance(label, str) else ""


def _kind(shape: Mapping[str, Any]) -> Any:
    return shape.get("shape_type") or "polygon"  # the oldest files have no other


def _entries(
    place: Path,
    split: str,
    files: Sequence[str],
    read: Mapping[str, Mapping[str, Any]],
    categories: list[dict[str, Any]],
    numbers: Mapping[str, int],
    polygons: bool,
    folders: Folders,
) -> Entries:
    images, annotations, faults, rectangles = [], [], [], 0
    for file in files:
        content, identity = read[file], shown(file, place)
        told = content.get("imagePath")
        sides = {"height": content.get("imageHeight"), "width": content.get("imageWidth")}
        images.append(
            {"id": identity, "file_name": _picture(file, told if isinstance(told, str) else "", folders), **sides}
        )
        parts: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row, shape in enumerate(content["shapes"], 1):
            where = f"{identity} shape {row}"
            try:
                points, label = _points(shape), _label(shape)
                if not label:
                    raise LongtailError("it has no label")
            except LongtailError as error:
                faults.append(f"{where}: {error}")
                continue
            rectangles += _kind(shape) == "rectangle"
            group = shape.get("group_id")
            key = (label, str(group)) if group is not None else (label, row, "")
            entry = {"id": where, "image_id": identity, "category_id": numbers[label], "segmentation": []}
            parts.setdefault(key, entry)["segmentation"].append(points)
        for entry in parts.values():
            xs, ys = ([v for piece in entry["segmentation"] for v in piece[k::2]] for k in (0, 1))
            entry["bbox"] = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            if not polygons:
                del entry["segmentation"]
        annotations += parts.values()
    notes = []
    if polygons and rectangles:
        notes.append(f"{rectangles} objects of {split} are rectangles: as masks, too, beside polygons")
    kept = {"images": images, "annotations": annotations, "categories": categories}
    return Entries(place, kept, place, split, faults=faults, notes=notes)


def _picture(file: str, told: str, folders: Folders) -> str:
    """The photograph that a JSON names, else the one of its own name beside it; where none is, what it names."""
    folder = os.path.dirname(file)
    if told and "\0" not in told:
        for name in dict.fromkeys((told, told.replace("\\", "/"))):
            if os.path.isfile(path := os.path.normpath(os.path.join(folder, name))):
                return os.path.abspath(path)
    found = folders.photograph(file, [folder], told)
    return os.path.abspath(found or os.path.join(folder, told.replace("\0", "") or f"{Path(file).stem}.jpg"))


def _points(shape: Mapping[str, Any]) -> list[float]:
    """The corners of a shape, ``x1 y1 x2 y2 ...``."""
    kind, points = _kind(shape), shape.get("points")
    if not isinstance(kind, str) or kind not in _SHAPES:
        raise LongtailError(f"the shape is a {str(kind)[:40]}, and only {' and '.join(_SHAPES)} are read")
    least, most = _SHAPES[kind]
    if not isinstance(points, list) or not least <= len(points) <= most:
        raise LongtailError(f"a {kind} of {len(points) if isinstance(points, list) else 'no'} points")
    if not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise LongtailError("a point is no pair of numbers")
    xs, ys = ([number(point[k]) for point in points] for k in (0, 1))
    if kind == "rectangle":
        left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
        return [left, top, right, top, right, bottom, left, bottom]
    return [value for point in zip(xs, ys, strict=True) for value in point]
