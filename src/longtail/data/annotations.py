"""Annotations in the terms of COCO, from whatever files, cleaned: what cannot be used is named, never guessed."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from longtail.data.base import Broken
from longtail.data.boxes import BoxSplit
from longtail.data.photographs import Photographs, find_photographs
from longtail.data.photos import image_header, read_image
from longtail.errors import LongtailError
from longtail.metrics.detection import frequency_group
from longtail.names import distinct_names, nfc
from longtail.rle import as_rle, finite_numbers, image_sides, mask_api, mask_pixels, polygons_of

__all__ = ["CHECKED_FILES", "Entries", "clean", "read_annotations", "read_json"]

CHECKED_FILES = 20_000
"""Up to so many photographs are looked at before training; a larger set fails at the bad file."""
_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")


@dataclasses.dataclass(frozen=True)
class Entries:
    """What the files of one split say, before anything of it is checked.

    Args:
        file: What messages name: the annotation file, or the folder or list that stands for many.
        content: ``images``, ``annotations`` and ``categories`` as in a file of COCO.
        images: Where the photographs' folders are; None: without pixels, for counting.
        split: Name of the split, which names the folder of the photographs.
        relative: Boxes and polygons are shares of the image's width and height.
        faults: Annotations that already the reader of the files could not use: as broken as those found later.
        notes: What the user should know of the files.
    """

    file: Path
    content: Mapping[str, Any]
    images: Path | None
    split: str = "train"
    relative: bool = False
    faults: Sequence[str] = ()
    notes: list[str] = dataclasses.field(default_factory=list)


def read_json(file: Path) -> Mapping[str, Any]:
    """The object in a JSON file.

    Raises:
        LongtailError: it cannot be read, or holds no object.
    """
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise LongtailError(f"{file} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise LongtailError(f"{file} is nested too deeply for annotations") from None
    except ValueError as error:
        raise LongtailError(f"{file} is no JSON ({error}): the file may be cut off") from None
    if not isinstance(content, Mapping):
        raise LongtailError(f"{file} holds no COCO-style object with images, annotations and categories")
    return content


def read_annotations(
    file: Path,
    *,
    images: Path | None = None,
    split: str = "train",
    **options: Any,
) -> BoxSplit:
    """One annotation file in the format of COCO or LVIS (v0.5 or v1), see `clean`.

    Args:
        file: The JSON file.
        images: Where the photographs' folders are; None: without pixels, for counting.
        split: Name of the split, which names the folder of the photographs.
        **options: Those of `clean`.

    Raises:
        LongtailError: as `clean`, and a file that is missing or damaged.
    """
    return clean(Entries(file, read_json(file), images, split), **options)


def clean(
    entries: Entries,
    *,
    masks: bool | None = False,
    broken: Broken = "skip",
    notes: list[str] | None = None,
    shared: bool = False,
    missing: list[str] | None = None,
    bit_depth: int | None = None,
) -> BoxSplit:
    """The images and objects of a split that can be used.

    Boxes are clipped to their image. Broken are boxes without area, in single precision too, or outside of their image,
    unknown categories and images, and where masks are wanted segmentations that make no mask; and images whose size
    cannot be or is not that of the photograph. A size that is missing is the photograph's.

    Args:
        entries: What the files say.
        masks: Whether to keep masks; None: those that can be used, and the notes tell of the others.
        broken: As in `load_boxes`; an image that is skipped goes with its annotations.
        notes: Takes lines about what was dropped.
        shared: As in `find_photographs`.
        missing: Takes a line where photographs are missing, in the place of an error: then they are only counted.
        bit_depth: As in `load_boxes`.

    Raises:
        LongtailError: see `load_boxes`.
    """
    reader = _Reader(entries, broken=broken, notes=[] if notes is None else notes)
    found = None
    if entries.images is not None:
        found = find_photographs(reader.images, entries.images, entries.split, entries.file, shared=shared)
        if found.missing and missing is None:
            raise LongtailError(found.missing)
        if found.missing and missing is not None:
            missing.append(found.missing)
    reader.take_sizes(found)
    return reader.split(masks, bit_depth)


class _Reader:
    """The entries of one split, on their way to be used."""

    def __init__(self, entries: Entries, *, broken: Broken, notes: list[str]) -> None:
        self.file, content = entries.file, entries.content
        self.broken, self.notes, self.faults, self.relative = broken, notes, entries.faults, entries.relative
        self.notes += entries.notes
        self.images = [dict(entry) for entry in self._entries(content, "images")]
        self.annotations: list[Mapping[str, Any]] = content.get("annotations", [])
        if not isinstance(self.annotations, list) or not all(isinstance(v, Mapping) for v in self.annotations):
            raise LongtailError(f"{self.file}: annotations must be a list of objects")
        categories = sorted(self._entries(content, "categories"), key=lambda category: category["id"])
        names = [str(c["id"] if c.get("name") is None else c["name"]) for c in categories]
        names = distinct_names(list(map(nfc, names)), [c["id"] for c in categories], kind="category")
        self.categories = [
            {"id": c["id"], "name": name} | _frequency(c) for c, name in zip(categories, names, strict=True)
        ]
        above = {c.get("supercategory") for c in categories if isinstance(c.get("supercategory"), str)}
        for category, entry in zip(categories, self.categories, strict=True):
            name, own = category.get("name"), category.get("supercategory")
            if isinstance(name, str) and name in above and name != own:
                entry["heading"] = True  # names a group of categories, and is one only if something is of it
        self.paths = [""] * len(self.images)
        self.left_out: dict[int, str] = {}  # row of an image that is broken, and why

    def _entries(self, content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
        """Copies of the images or categories, their ids checked."""
        values = content.get(key, [])
        if not isinstance(values, list) or not all(isinstance(v, Mapping) and "id" in v for v in values):
            raise LongtailError(f"{self.file}: {key} must be a list of objects with an id")
        if not values:
            raise LongtailError(f"{self.file} has no {key}: give COCO or LVIS JSON")
        entries = [{**value, "id": _identity(value["id"])} for value in values]
        for entry, value in zip(entries, values, strict=True):
            if entry["id"] is None or (key == "categories" and isinstance(entry["id"], str)):
                wanted = "a whole number" if key == "categories" else "a whole number or text"
                raise LongtailError(f"{self.file}: {key} have the id {str(value['id'])[:40]!r}: it must be {wanted}")
        if len({type(entry["id"]) for entry in entries}) > 1:
            raise LongtailError(f"{self.file}: the ids of the {key} are numbers and texts: use one of them")
        double, times = Counter(entry["id"] for entry in entries).most_common(1)[0]
        if times > 1:
            raise LongtailError(f"{self.file} has two {key} with the id {double}")
        return entries

    def _refuse_or_note(self, faults: Sequence[str], what: str) -> None:
        if faults and self.broken == "refuse":
            more = f" (and {len(faults) - 1} more broken {what})" if len(faults) > 1 else ""
            raise LongtailError(f"{self.file}: {faults[0]}{more}: mend or remove it")
        if faults:
            told = "; ".join(faults[:3])
            self.notes.append(f"{len(faults)} broken {what} of {self.file.name} are left out: {told}")

    # -- images --------------------------------------------------------------------------------------------------------
    def take_sizes(self, found: Photographs | None) -> None:
        """Height and width of every image, checked; from the photograph where the file does not tell them."""
        faults, read, turned = [], 0, list[str]()
        self.paths = self.paths if found is None else found.paths
        check = found is not None and len(self.images) <= CHECKED_FILES
        for row, (image, path) in enumerate(zip(self.images, self.paths, strict=True)):
            told = [image.get(side) or None for side in ("height", "width")]
            try:
                _check_lists(image)
                if None not in told:
                    told = list(image_sides(*told))
                if path and (check or None in told):
                    header = _header(path, needed=None in told)
                    if header:
                        size, ambiguous = _upright(path, told, *header)
                        turned += [path] if ambiguous else []
                        read += None in told
                        told = list(image_sides(*size))
            except LongtailError as error:
                self.left_out[row] = str(error)
                faults.append(f"image {image['id']} has {error}")
            image["height"], image["width"] = told
        self._refuse_or_note(faults, "images")
        if read and not self.relative:
            self.notes.append(f"{self.file.name} does not tell the size of {read} images: it is the photograph's")
        if turned:
            self.notes.append(
                f"{len(turned)} photographs of {self.file.name} are turned or mirrored by their EXIF orientation, e.g. "
                f"{turned[0]}: their boxes are taken as of the upright picture, and the size does not tell if they are"
            )

    # -- objects -------------------------------------------------------------------------------------------------------
    def split(self, masks: bool | None, bit_depth: int | None) -> BoxSplit:
        """The images that can be used, with their objects."""
        rows = {image["id"]: row for row, image in enumerate(self.images)}
        objects: list[list[dict[str, Any]]] = [[] for _ in rows]
        known, faults, without, pieces = {c["id"] for c in self.categories}, list(self.faults), list[str](), 0
        for place, annotation in enumerate(self.annotations, 1):
            name = f"annotation {annotation.get('id', f'no. {place}')} of image {annotation.get('image_id')}"
            row = rows.get(_identity(annotation.get("image_id")))
            if row in self.left_out:
                continue
            try:
                if row is None:
                    raise LongtailError("its image is not in the list of images")
                if self.relative:
                    annotation = _in_pixels(annotation, self.images[row])
                entry = _cleaned(annotation, self.images[row], known, masks is True)
                if masks is None and "segmentation" not in entry and annotation.get("segmentation"):
                    try:
                        entry["segmentation"] = _mask(annotation, self.images[row])
                    except LongtailError as error:
                        without.append(f"{name}: {error}")
                pieces += _left_over(annotation) if "segmentation" in entry else 0
                objects[row].append(entry | {"id": annotation.get("id", place)})
            except LongtailError as error:
                faults.append(f"{name}: {error}")
        self._refuse_or_note(faults, "annotations")
        if without:
            told = "; ".join(without[:3])
            self.notes.append(f"{len(without)} masks of {self.file.name} are broken for --task segment: {told}")
        if pieces:
            self.notes.append(
                f"{pieces} pieces of polygons of {self.file.name} have less than three points: no part of a mask"
            )
        kept = [row for row in range(len(self.images)) if row not in self.left_out]
        fields = ("id", "height", "width", *_LISTS)
        infos = [
            {k: self.images[row][k] for k in fields if k in self.images[row]} | {"path": self.paths[row]}
            for row in kept
        ]
        files: list[tuple[str, Any, Any]] = [(info["path"], info["height"], info["width"]) for info in infos]
        return BoxSplit(infos, [objects[row] for row in kept], self.categories, _Files(files, bit_depth))


def _identity(value: Any) -> Hashable:
    """An id as it is compared: a whole number, also where it was written as 1.0, or text; else None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _frequency(category: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of the frequency of a category, as far as it can be understood."""
    count = category.get("image_count")
    told = {"frequency": frequency_group({"frequency": category.get("frequency")})}
    told |= {"image_count": int(count)} if finite_numbers([count]) and count >= 0 else {}  # type: ignore[operator]
    return {key: value for key, value in told.items() if value is not None}


def _check_lists(image: dict[str, Any]) -> None:
    for key in _LISTS:
        values = image.get(key)
        if key in image and not (values is None or isinstance(values, list)):
            raise LongtailError(f"no list as its {key}")
        image |= {key: [_identity(value) for value in values]} if values else {}


def _header(path: str, *, needed: bool) -> tuple[int, int, int] | None:
    try:
        return image_header(path)
    except LongtailError:
        if needed:
            raise LongtailError(f"no height and width, and {path} cannot be read as an image") from None
        return None  # whoever reads the pixels says so


def _upright(path: str, told: Sequence[Any], height: int, width: int, orientation: int) -> tuple[tuple[int, int], bool]:
    """The size of the upright photograph, and whether nobody can tell that the annotations are of it."""
    stored, upright = (height, width), (width, height) if orientation >= 5 else (height, width)
    unlike = [own for own, side in zip(told, upright, strict=True) if own is not None and own != side]
    if not unlike:
        return upright, orientation > 1 and (stored == upright or None in told)
    size = f"{told[1]} x {told[0]} in the file, and {path} is {upright[1]} x {upright[0]} pixels"
    if orientation >= 5 and all(own in (None, side) for own, side in zip(told, stored, strict=True)):
        raise LongtailError(
            f"the size {size} once turned upright as its EXIF orientation says: it was annotated unturned, so take the "
            "orientation out of the photograph (exiftool -Orientation= FILE)"
        )
    raise LongtailError(f"the size {size}: give the photograph that was annotated")


def _cleaned(annotation: Mapping[str, Any], image: Mapping[str, Any], known: set[Any], masks: bool) -> dict[str, Any]:
    category = _identity(annotation.get("category_id"))
    if category not in known:
        raise LongtailError(f"category {annotation.get('category_id')!r} is unknown")
    crowd = annotation.get("iscrowd") or 0
    if not isinstance(crowd, int | float) or crowd not in (0, 1):
        raise LongtailError(f"iscrowd is {crowd!r}: it must be 0 or 1")
    entry: dict[str, Any] = {"category_id": category, "iscrowd": int(crowd)}
    box = annotation.get("bbox")
    if masks:
        entry["segmentation"] = _mask(annotation, image)
        if box is None:
            box = [float(v) for v in mask_api().toBbox(entry["segmentation"])]
    if not finite_numbers(box) or len(box) != 4:
        raise LongtailError(f"the box {str(box)[:80]} is not [x, y, width, height]")
    return entry | {"bbox": _clipped(list(map(float, box)), image["height"], image["width"])}


def _in_pixels(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> Mapping[str, Any]:
    """An annotation in shares of its image, in pixels; as it is where nobody knows how many there are."""
    width, height = image["width"], image["height"]
    if width is None or height is None:
        return annotation
    box, pieces = annotation["bbox"], annotation.get("segmentation", [])
    scaled = {"bbox": [v * side for v, side in zip(box, (width, height) * 2, strict=True)]}
    if pieces:
        scaled["segmentation"] = [[v * (height if k % 2 else width) for k, v in enumerate(piece)] for piece in pieces]
    return {**annotation, **scaled}


def _clipped(box: Sequence[float], height: int | None, width: int | None) -> list[float]:
    """The part of a box that is in its image; all of it where the size is not known."""
    x, y, w, h = box
    shown = f"[{', '.join(f'{value:.10g}' for value in box)}]"
    if w <= 0 or h <= 0:
        raise LongtailError(f"the box {shown} has no area")
    if height is None or width is None:
        return [x, y, w, h]
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if right <= left or bottom <= top:
        raise LongtailError(f"the box {shown} is outside of its {width} x {height} image")
    if min(right - left, bottom - top) < max(height, width) * 2.0**-20:
        raise LongtailError(
            f"the box {shown} has no width or height in single precision, inside of its {width} x {height} image"
        )
    return [left, top, right - left, bottom - top]


def _mask(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    if image["height"] is None or image["width"] is None:
        raise LongtailError("its image has no height and width")
    shape = annotation.get("segmentation")
    rle = as_rle(shape, image["height"], image["width"])
    if not mask_pixels(rle, drawn=not (isinstance(shape, Mapping) and isinstance(shape["counts"], str | bytes))):
        raise LongtailError("a mask without a pixel in the image")
    return rle


def _left_over(annotation: Mapping[str, Any]) -> int:
    shape = annotation["segmentation"]
    return 0 if isinstance(shape, Mapping) else sum(len(piece) < 6 for piece in polygons_of(shape))


@dataclasses.dataclass(frozen=True)
class _Files:
    """Reads photographs, and checks that they have the size that the annotations are for."""

    files: Sequence[tuple[str, int, int]]
    bit_depth: int | None = None

    def __call__(self, row: int) -> Tensor:
        path, height, width = self.files[row]
        image = read_image(path, bit_depth=self.bit_depth)
        if tuple(image.shape[1:]) != (height, width):
            raise LongtailError(
                f"{path} is {image.shape[2]} x {image.shape[1]} pixels and its annotations are for {width} x {height}: "
                "give the image that was annotated"
            )
        return image
