"""Annotations and detections as checked columns, and the precision that hotcoco computes from them.

A set like LVIS has hundreds of thousands of detections, so whole columns are checked. Only where a column is not as it
should be are its entries looked at one by one: the message names the first bad one.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import hotcoco
import numpy as np

from longtail.errors import LongtailError
from longtail.rle import as_rle

__all__ = ["precision_table"]

KEYS = {"box": "bbox", "mask": "segmentation"}
LIMITS = {"lvis": 300, "coco": 100}
"""Detections that count: the best of an image (LVIS), or of an image and category (COCO)."""


def precision_table(truth: Mapping[str, Any], found: Sequence[Any], kind: str, rules: str) -> np.ndarray:
    """Interpolated precision ``[10, 101, K]`` by IoU, recall and category, in the order of the category ids.

    -1 in all cells of a category without an annotation. Raises `LongtailError` for an entry that is missing or broken.
    """
    images, categories = _numbered(truth["images"], "image"), _numbered(truth["categories"], "category")
    if not categories:
        raise LongtailError("the annotations have no category: there is nothing to evaluate")
    own = _read(truth["annotations"], _annotation, images, categories, kind)
    own = own.take((own.image >= 0) & (own.category >= 0))
    results = _read(found, _detection, images, categories, kind)
    if strange := np.flatnonzero(results.image < 0)[:1].tolist():
        image = found[strange[0]]["image_id"]
        raise LongtailError(f"detection no. {strange[0]} is of image {image}, which is not in the annotations")
    if rules == "lvis" and np.bincount(results.image, minlength=1).max() > LIMITS["lvis"]:
        results = results.take(_best_of_images(results, LIMITS["lvis"]))
    kept = results.take(results.category >= 0)
    if len(results.row) and not len(kept.row):
        raise LongtailError("no detection is of a category of the annotations: compare their category_id")

    pictures = [_image(image, categories, kind) for image in truth["images"]]
    pictures.sort(key=lambda picture: images[picture["id"]])
    annotated = hotcoco.COCO.from_arrays(
        [picture | {"id": number} for number, picture in enumerate(pictures)],
        # The evaluator wants the frequency; the groups are made from the categories as they are.
        [{"id": number, "name": str(number), "frequency": "f"} for number in range(len(categories))],
        own.image,
        own.category,
        own.box,
        iscrowd=np.array([bool(own.entries[row].get("iscrowd")) for row in own.row], dtype=bool),
        segmentation=_masks(own, pictures, _annotation) if kind == "mask" else None,
        area=np.ones(len(own.row)) if kind == "mask" else None,  # inside the one range of areas that is evaluated
    )
    detected = annotated.load_res(
        np.column_stack([kept.image, kept.box, kept.score, kept.category]),
        segmentation=_masks(kept, pictures, _detection) if kind == "mask" else None,
    )
    evaluation = hotcoco.COCOeval(annotated, detected, "bbox" if kind == "box" else "segm", lvis_style=rules == "lvis")
    settings = evaluation.params
    settings.max_dets, settings.area_rng, settings.area_rng_lbl = [LIMITS[rules]], [[0.0, 1e10]], ["all"]
    evaluation.params = settings
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval is not None
    return evaluation.eval["precision"].reshape(10, 101, len(categories))


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Annotations or detections: the entries, and what they hold as arrays of their length n.

    Args:
        entries: As they were given, all of them.
        row: Of each of the n among the entries.
        image: Number of the image, -1 for one that is not in the annotations.
        category: Number of the category, likewise.
        box: float64 ``[n, 4]``; zeros where masks are compared.
        score: float64; zeros for annotations.
    """

    entries: Sequence[Mapping[str, Any]]
    row: np.ndarray
    image: np.ndarray
    category: np.ndarray
    box: np.ndarray
    score: np.ndarray

    def take(self, chosen: np.ndarray) -> _Columns:
        """What a mask or a list of places picks, in that order."""
        return _Columns(
            self.entries,
            self.row[chosen],
            self.image[chosen],
            self.category[chosen],
            self.box[chosen],
            self.score[chosen],
        )


def _annotation(entry: Mapping[str, Any], place: int) -> str:
    return f"annotation {entry['id']}" if "id" in entry else f"annotation no. {place}"


def _detection(entry: Mapping[str, Any], place: int) -> str:
    return f"detection no. {place}"


_Name = Callable[[Mapping[str, Any], int], str]


def _read(
    entries: Sequence[Any], name: _Name, images: Mapping[Any, int], categories: Mapping[Any, int], kind: str
) -> _Columns:
    def column(key: str) -> list[Any]:
        return _column(entries, key, name)

    image, category = (
        _places(entries, key, name, index) for key, index in (("image_id", images), ("category_id", categories))
    )
    score, box = np.zeros(len(entries)), np.zeros((len(entries), 4))
    if name is _detection:
        score = _numbers(column("score"), (), entries, name, "the score {!r}: it must be a finite number")
    shapes = column(KEYS[kind])
    if kind == "box":
        box = _numbers(shapes, (4,), entries, name, "the bbox {!r}: it must be [x, y, width, height] in pixels")
        if negative := np.flatnonzero((box[:, 2:] < 0).any(1))[:1].tolist():
            row = negative[0]
            raise LongtailError(
                f"{_of_image(entries[row], row, name)} has the bbox {shapes[row]!r}: its width or height is negative"
            )
    return _Columns(entries, np.arange(len(entries)), image, category, box, score)


def _of_image(entry: Mapping[str, Any], place: int, name: _Name) -> str:
    return f"{name(entry, place)} of image {entry['image_id']}"


def _column(entries: Sequence[Any], key: str, name: _Name) -> list[Any]:
    """One value of every entry, none of them missing."""
    try:
        values = list(map(operator.itemgetter(key), entries))
    except (KeyError, TypeError, IndexError):
        values = [entry.get(key) if isinstance(entry, Mapping) else None for entry in entries]
    if any(map(operator.is_, values, itertools.repeat(None))):
        place = next(place for place, value in enumerate(values) if value is None)
        entry = entries[place] if isinstance(entries[place], Mapping) else {}
        raise LongtailError(f"{name(entry, place)} has no {key}")
    return values


def _places(entries: Sequence[Any], key: str, name: _Name, index: Mapping[Any, int]) -> np.ndarray:
    """The numbers that ``index`` gives to the ids of one column, -1 for those that it does not know."""
    try:
        places = np.fromiter(map(index.get, map(operator.itemgetter(key), entries), itertools.repeat(-1)), np.int64)
    except (KeyError, TypeError, IndexError):
        places = None
    if places is None or (places < 0).any():  # missing, perhaps, or nothing that can be an id
        values = _ids(_column(entries, key, name), entries, key, name)
        places = np.fromiter(map(index.get, values, itertools.repeat(-1)), np.int64)
    return places


def _ids(values: list[Any], entries: Sequence[Any], key: str, name: _Name) -> list[Any]:
    try:
        set(values)
    except TypeError:
        place = next(i for i, value in enumerate(values) if value.__hash__ is None or isinstance(value, tuple))
        raise LongtailError(
            f"{name(entries[place], place)} has the {key} {values[place]!r}: it must be a number or a text"
        ) from None
    return values


def _numbers(values: list[Any], shape: tuple[int, ...], entries: Sequence[Any], name: _Name, what: str) -> np.ndarray:
    """Finite numbers as float64 ``[n, *shape]``, from numbers, lists, arrays and tensors."""
    array = _as_numbers(values)
    if array is None or array.shape != (len(values), *shape) or not np.isfinite(array).all():
        for place, value in enumerate(values):
            own = _as_numbers(value)
            if own is None or own.shape != shape or not np.isfinite(own).all():
                raise LongtailError(f"{_of_image(entries[place], place, name)} has {what.format(value)}")
        array = np.stack([np.asarray(_as_numbers(value)) for value in values]) if values else np.zeros((0, *shape))
    return array


def _as_numbers(values: Any) -> np.ndarray | None:
    """float64, or None for what holds anything but numbers."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        return None
    return array.astype(np.float64) if array.dtype.kind in "iuf" else None


def _best_of_images(found: _Columns, limit: int) -> np.ndarray:
    """Rows of the ``limit`` best detections of each image, the first of equal ones, by image and falling score."""
    order = np.lexsort((-found.score, found.image))  # stable
    image = found.image[order]
    rank = np.arange(len(order)) - np.searchsorted(image, image, side="left")
    return order[rank < limit]


def _numbered(entries: Sequence[Any], what: str) -> dict[Any, int]:
    """From the id of an entry to its number in the order of the ids."""

    def name(entry: Mapping[str, Any], place: int) -> str:
        return f"{what} no. {place}"

    ids = _ids(_column(entries, "id", name), entries, "id", name)
    if len(set(ids)) < len(ids):
        twice = next(own for place, own in enumerate(ids) if own in ids[:place])
        raise LongtailError(f"the annotations list {what} {twice} more than once: remove the repeated entries")
    try:
        ordered = sorted(ids)
    except TypeError:
        raise LongtailError(f"the {what} ids are numbers and texts: use one of them") from None
    return {own: number for number, own in enumerate(ordered)}


def _image(image: Mapping[str, Any], categories: Mapping[Any, int], kind: str) -> dict[str, Any]:
    """What the evaluator reads of an image."""
    size = [image.get("height"), image.get("width")] if kind == "mask" else [1, 1]
    numbers = _as_numbers(size)
    if numbers is None or (numbers < 1).any() or (numbers % 1).any():
        raise LongtailError(f"image {image['id']} has no height and width in whole pixels: masks need them")
    height, width = (int(n) for n in numbers)
    entry: dict[str, Any] = {"id": image["id"], "height": height, "width": width}
    for key in ("neg_category_ids", "not_exhaustive_category_ids"):
        listed = image.get(key)
        if listed is not None and (isinstance(listed, str) or not isinstance(listed, Iterable)):
            raise LongtailError(f"image {image['id']} has the {key} {listed!r}: it must be a list")
        entry[key] = [categories[own] for own in listed or () if own in categories]
    return entry


def _masks(columns: _Columns, pictures: Sequence[Mapping[str, Any]], name: _Name) -> list[Any]:
    masks = []
    for row, image in zip(columns.row.tolist(), columns.image.tolist(), strict=True):
        entry = columns.entries[row]
        try:
            masks.append(as_rle(entry["segmentation"], pictures[image]["height"], pictures[image]["width"]))
        except LongtailError as error:
            raise LongtailError(f"{_of_image(entry, row, name)} has {error}") from None
    return masks
