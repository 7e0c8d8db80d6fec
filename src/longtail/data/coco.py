"""Readers of COCO and LVIS: annotations in JSON, photographs in folders."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail.data.base import Broken, check_broken, parse_spec
from longtail.data.boxes import BoxData, BoxSplit
from longtail.data.files import brief
from longtail.data.photos import check_images, read_image
from longtail.errors import LongtailError
from longtail.metrics.detection import frequency_group
from longtail.metrics.masks import as_rle, finite_numbers, mask_api

__all__ = ["load_boxes", "read_annotations"]

VAL_FRACTION = 0.15
CHECKED_FILES = 20_000
_FILES = {
    "coco": ("instances_{}.json", "annotations/instances_{}.json", "annotations/instances_{}2017.json"),
    "lvis": tuple(
        f"{folder}{name}"
        for name in ("instances_{}.json", "lvis_v1_{}.json", "lvis_v0.5_{}.json")
        for folder in ("", "annotations/")
    ),
}
_FOLDERS = ("images/{}", "{}2017", "images/{}2017", "{}", "images", "")


def load_boxes(
    spec: str,
    *,
    data_seed: int = 0,
    val_fraction: float | None = None,
    masks: bool = False,
    broken: Broken = "skip",
) -> BoxData:
    """Read a detection data set and split it.

    ``coco:DIR`` and ``lvis:DIR`` know the plain layout (``instances_train.json``, ``instances_val.json``,
    ``images/train``, ``images/val``; a ``test`` likewise) and those of the official downloads (``annotations``,
    ``train2017``, ``val2017``, ``lvis_v1_train.json``, ``lvis_v0.5_train.json``). Without a ``test`` part the given
    ``val`` is the test split, and a difficulty split is cut from the training images, at random but never with the last
    training image of a category. ``shapes-lt`` is drawn in memory.

    Args:
        spec: ``coco:DIR``, ``lvis:DIR`` or ``shapes-lt``.
        data_seed: Picks the images of the difficulty split.
        val_fraction: Share of the training images for it; None: 0.15.
        masks: Whether masks are wanted.
        broken: Annotations that cannot be used: ``skip`` them (the notes name them), or ``refuse`` them.

    Raises:
        LongtailError: an unknown name, files that are missing or damaged, or annotations that cannot be used.
    """
    name, place = parse_spec(spec)
    check_broken(broken)
    if not (val_fraction is None or 0 < val_fraction < 0.9):
        raise LongtailError(f"val_fraction {val_fraction} must be between 0 and 0.9")
    if name == "shapes-lt":
        if place:
            raise LongtailError("shapes-lt is drawn and takes no path: write just shapes-lt")
        from longtail.data.shapes import shapes_lt

        return shapes_lt(seed=data_seed, masks=masks)
    if name not in _FILES:
        raise LongtailError(f"unknown detection data set {spec!r}: known are coco:DIR, lvis:DIR, shapes-lt")
    if not place:
        raise LongtailError(f"{name} needs a path: {name}:DIR")
    root, notes = Path(place).expanduser(), []
    files = {split: _find(root, name, split) for split in ("train", "val", "test")}
    for split in ("train", "val"):
        if files[split] is None:
            raise LongtailError(
                f"{root} has no annotations of the split {split}: looked for "
                f"{brief([pattern.format(split) for pattern in _FILES[name]])}"
            )
    parts = {
        split: read_annotations(file, images=root, split=split, masks=masks, broken=broken, notes=notes)
        for split, file in files.items()
        if file is not None and (split != "test" or _annotated(file))
    }
    train = parts["train"]
    if not any(train.instance_counts()):
        raise LongtailError(f"{files['train']} has no usable annotation: there is nothing to train on")
    parts = {split: _same_categories(part, train, files[split]) for split, part in parts.items()}
    paths = [image["path"] for part in parts.values() for image in part.images]
    if len(paths) <= CHECKED_FILES:
        check_images(paths)
    if "test" not in parts:
        parts["test"] = parts.pop("val")
        notes.append("there is no test split: the given val split is the test split, a new val is cut from train")
        rows = cut_images(train.labels_per_image(), val_fraction or VAL_FRACTION, data_seed)
        parts["train"], parts["val"] = (train.subset(own) for own in rows)
    absent = [train.categories[c]["name"] for c, n in enumerate(parts["train"].image_counts()) if n == 0]
    if absent:
        notes.append(f"{len(absent)} categories without a training image: {brief(absent)}")
    rules = "lvis" if name == "lvis" else "coco"
    splits = _tagged(parts)
    return BoxData(name=spec, train=splits["train"], val=splits["val"], test=splits["test"], rules=rules, notes=notes)


def _find(root: Path, name: str, split: str) -> Path | None:
    if not root.is_dir():
        raise LongtailError(f"{root} is no folder: give {name}:DIR")
    return next((f for pattern in _FILES[name] if (f := root / pattern.format(split)).is_file()), None)


def _annotated(file: Path) -> bool:
    """Whether a test file tells its answers; the official ones keep them."""
    return bool(_json(file).get("annotations"))


def _json(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise LongtailError(f"{file} cannot be read: {error.strerror}") from None
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
    masks: bool = False,
    broken: Broken = "skip",
    notes: list[str] | None = None,
) -> BoxSplit:
    """One annotation file in the format of COCO or LVIS (v0.5 or v1).

    Boxes are clipped to their image. Broken are boxes without area or outside of their image, unknown categories and
    images, and where masks are wanted segmentations that make no mask.

    Args:
        file: The JSON file.
        images: Where the photographs' folders are; None: without pixels, for counting.
        split: Name of the split, which names the folder of the photographs.
        masks: Whether to keep masks.
        broken: As in `load_boxes`.
        notes: Takes lines about what was dropped.

    Raises:
        LongtailError: see `load_boxes`.
    """
    content = _json(file)
    entries = {key: content.get(key, []) for key in ("images", "annotations", "categories")}
    for key, value in entries.items():
        if not isinstance(value, list) or not all(isinstance(v, Mapping) and "id" in v for v in value):
            raise LongtailError(f"{file}: {key} must be a list of objects with an id")
    for key in ("categories", "images"):
        if not entries[key]:
            raise LongtailError(f"{file} has no {key}: give COCO or LVIS JSON")
        ids = [entry["id"] for entry in entries[key]]
        if len(set(ids)) < len(ids):
            double = next(i for i in ids if ids.count(i) > 1)
            raise LongtailError(f"{file} has two {key} with the id {double}")
    categories = sorted(entries["categories"], key=lambda category: category["id"])
    names = [
        {"id": c["id"], "name": str(c.get("name", c["id"]))} | {k: c[k] for k in ("frequency", "image_count") if k in c}
        for c in categories
    ]
    rows = {image["id"]: row for row, image in enumerate(entries["images"])}
    objects: list[list[dict[str, Any]]] = [[] for _ in rows]
    known, faults = {category["id"] for category in names}, []
    for annotation in entries["annotations"]:
        row = rows.get(annotation.get("image_id"))
        try:
            if row is None:
                raise LongtailError("its image is not in the list of images")
            objects[row].append(_cleaned(annotation, entries["images"][row], known, masks))
        except LongtailError as error:
            faults.append(f"annotation {annotation['id']} of image {annotation.get('image_id')}: {error}")
    if faults and broken == "refuse":
        more = f" (and {len(faults) - 1} more broken annotations)" if len(faults) > 1 else ""
        raise LongtailError(f"{file}: {faults[0]}{more}: mend or remove it")
    if faults and notes is not None:
        notes.append(f"{len(faults)} broken annotations of {file.name} are left out: {'; '.join(faults[:3])}")
    paths = _paths(entries["images"], images, split, file) if images is not None else [""] * len(rows)
    kept = ("id", "height", "width", "neg_category_ids", "not_exhaustive_category_ids")
    infos: list[dict[str, Any]] = [
        {key: image[key] for key in kept if key in image} | {"path": path}
        for image, path in zip(entries["images"], paths, strict=True)
    ]
    return BoxSplit(infos, objects, names, _Files([(i["path"], i["height"], i["width"]) for i in infos]))


def _cleaned(annotation: Mapping[str, Any], image: Mapping[str, Any], known: set[Any], masks: bool) -> dict[str, Any]:
    height: Any = image.get("height")
    width: Any = image.get("width")
    if not finite_numbers([height, width]) or min(height, width) < 1:
        raise LongtailError("its image has no height and width")
    if annotation.get("category_id") not in known:
        raise LongtailError(f"category {annotation.get('category_id')} is unknown")
    entry = {"id": annotation["id"], "category_id": annotation["category_id"]}
    entry["iscrowd"] = int(bool(annotation.get("iscrowd", 0)))
    box, shape = annotation.get("bbox"), annotation.get("segmentation")
    if masks:
        entry["segmentation"] = as_rle(shape, height, width)
        try:
            pixels = int(mask_api().decode(entry["segmentation"]).sum())
        except ValueError:
            raise LongtailError("run lengths that do not fit the image") from None
        if not pixels:
            raise LongtailError("a mask without a pixel in the image")
        if box is None:
            box = [float(v) for v in mask_api().toBbox(entry["segmentation"])]
    if not finite_numbers(box) or len(box) != 4:
        raise LongtailError(f"the box {box} is not [x, y, width, height]")
    x, y, w, h = map(float, box)
    if w <= 0 or h <= 0:
        raise LongtailError(f"the box {box} has no area")
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if right <= left or bottom <= top:
        raise LongtailError(f"the box {box} is outside of its {width} x {height} image")
    return entry | {"bbox": [left, top, right - left, bottom - top]}


def _paths(images: Sequence[Mapping[str, Any]], root: Path, split: str, file: Path) -> list[str]:
    """The file of each image. LVIS v0.5 says ``COCO_val2014_000000000139.jpg``, v1 tells a web address only."""
    years = [f"{part}2017" for part in dict.fromkeys((split, "train", "val", "test"))]  # LVIS splits COCO's anew
    folders = [root / p.format(split) for p in _FOLDERS]
    folders += [root / below / year for year in years for below in ("", "images")]
    contents = [(folder, set(os.listdir(folder))) for folder in dict.fromkeys(folders) if folder.is_dir()]
    paths, missing = [], []
    for image in images:
        name = str(image.get("file_name") or image.get("coco_url") or "")
        base = name.rsplit("/", 1)[-1]
        places = (folder / n for folder, names in contents for n in (base, base[-16:]) if n and n in names)
        path = next(places, None)
        if path is None and name and (root / name).is_file():
            path = root / name
        paths.append(str(path))
        if path is None:
            missing.append(f"{name or 'a file without a name'} (image {image['id']})")
    if missing:
        seen = [str(folder) for folder, _ in contents if folder != root] or [str(root)]
        raise LongtailError(
            f"{len(missing)} of {len(paths)} images of {file.name} are missing on disk, the first is {missing[0]}: "
            f"looked in {brief(seen, 3)}"
        )
    return paths


class _Files:
    """Reads photographs, and checks that they have the size that the annotations are for."""

    def __init__(self, files: Sequence[tuple[str, int, int]]) -> None:
        self.files = files

    def __call__(self, row: int) -> Tensor:
        path, height, width = self.files[row]
        image = read_image(path)
        if tuple(image.shape[1:]) != (height, width):
            raise LongtailError(
                f"{path} is {image.shape[2]} x {image.shape[1]} pixels and its annotations are for {width} x {height}: "
                "give the image that was annotated"
            )
        return image


def _same_categories(part: BoxSplit, train: BoxSplit, file: Path | None) -> BoxSplit:
    names = {category["id"]: category["name"] for category in train.categories}
    for category in part.categories:
        if names.get(category["id"]) != category["name"]:
            raise LongtailError(
                f"{file}: category {category['id']} is {category['name']!r}, and the training file has "
                f"{names.get(category['id'])!r}: all splits need the same categories"
            )
    return BoxSplit(part.images, part.objects, train.categories, part.read)


def _tagged(parts: Mapping[str, BoxSplit]) -> dict[str, BoxSplit]:
    """Categories without a frequency group get theirs from the number of training images."""
    train = parts["train"]
    categories = [
        category | {"frequency": category.get("frequency") or frequency_group({"image_count": count})}
        for category, count in zip(map(dict, train.categories), train.image_counts(), strict=True)
    ]
    return {split: BoxSplit(part.images, part.objects, categories, part.read) for split, part in parts.items()}


def cut_images(labels_per_image: Sequence[Sequence[int]], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Rows that stay and rows that are held out: a random share, but never the last image of a class."""
    left: dict[int, int] = {}
    for own in labels_per_image:
        for c in set(own):
            left[c] = left.get(c, 0) + 1
    wanted, held = max(1, round(fraction * len(labels_per_image))), set()
    for row in torch.randperm(len(labels_per_image), generator=torch.Generator().manual_seed(seed)).tolist():
        own = set(labels_per_image[row])
        if len(held) < wanted and all(left[c] > 1 for c in own):
            held.add(row)
            for c in own:
                left[c] -= 1
    if not held or len(held) == len(labels_per_image):
        raise LongtailError("there are too few training images to hold some out: add images or give a test split")
    return [row for row in range(len(labels_per_image)) if row not in held], sorted(held)
