"""Average precision of boxes and masks by the rules of LVIS or COCO."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from longtail.checks import check_choice
from longtail.errors import LongtailError
from longtail.metrics.masks import as_rle, finite_numbers, mask_api

__all__ = ["Kind", "Rules", "detection_ap", "frequency_group"]

Kind = Literal["box", "mask"]
Rules = Literal["lvis", "coco"]
_KEYS = {"box": "bbox", "mask": "segmentation"}
_LIMITS = {"lvis": 300, "coco": 100}


def detection_ap(
    annotations: str | Path | Mapping[str, Any],
    detections: str | Path | Sequence[Mapping[str, Any]],
    *,
    kind: Kind = "box",
    rules: Rules = "lvis",
) -> dict[str, Any]:
    """Average precision over IoU 0.50, 0.55, ..., 0.95 and 101 recall levels, as the published evaluators give it.

    LVIS is annotated in part only, so its rules judge a detection where something is known: those of a category that is
    neither annotated in the image nor in its ``neg_category_ids`` are dropped, unmatched ones of a category in its
    ``not_exhaustive_category_ids`` are left out of the count, and the best 300 of each image are taken over all
    categories. COCO's rules know no such lists and take the best 100 of each image and category. Regions marked
    ``iscrowd`` are matched without being counted.

    Args:
        annotations: COCO or LVIS (v0.5, v1) JSON with ``images``, ``annotations`` and ``categories``: the object or its
            file. A list that is missing in an image is empty.
        detections: A list of ``{"image_id", "category_id", "score", "bbox" or "segmentation"}``, or its file. Boxes are
            ``[x, y, width, height]`` in pixels; masks are polygons or run lengths. Neither argument is changed.
        kind: What is compared, ``"box"`` or ``"mask"``.
        rules: ``"lvis"`` or ``"coco"``.

    Returns:
        Fractions in [0, 1], NaN where nothing is defined: ``AP``, ``AP50``, ``AP75`` over all categories that have an
        annotation; ``APr``, ``APc``, ``APf`` over the rare, common and frequent ones of them (`frequency_group`);
        ``per_category``: AP by category id, NaN for a category without an annotation.

    Raises:
        LongtailError: a file or entry that is missing or broken, an unknown image, or no detection of a known category.
    """
    check_choice(kind, "kind", get_args(Kind))
    check_choice(rules, "rules", get_args(Rules))
    truth, found = _load(annotations, "annotations"), _load(detections, "detections")
    if not isinstance(truth, Mapping) or not isinstance(found, Sequence) or isinstance(found, str):
        raise LongtailError("annotations must be a COCO-style JSON object, and detections a JSON list of results")
    for key in ("images", "annotations", "categories"):
        if not isinstance(truth.get(key), Sequence):
            raise LongtailError(f"the annotations have no list of {key}: give COCO or LVIS JSON")
    precision = _precision(truth, found, kind, rules)  # [10, 101, K], -1 where a category has no annotation
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    groups = [frequency_group(category) for category in categories]

    def mean(values: Tensor) -> float:
        defined = values[values > -1]
        return float(defined.mean()) if len(defined) else math.nan

    def of_group(group: str) -> float:
        return mean(precision[:, :, [own == group for own in groups]])

    return {
        "AP": mean(precision),
        "AP50": mean(precision[0]),
        "AP75": mean(precision[5]),
        **{f"AP{group}": of_group(group) for group in "rcf"},
        "per_category": {category["id"]: mean(precision[:, :, k]) for k, category in enumerate(categories)},
    }


def frequency_group(category: Mapping[str, Any]) -> str | None:
    """``"r"``, ``"c"`` or ``"f"`` of a category entry: rare, common, frequent.

    Its ``frequency`` if it has one, else by its ``image_count``: 1 to 10 training images are rare, 11 to 100 common,
    more frequent (Gupta et al., CVPR 2019). None if neither tells.
    """
    group, count = category.get("frequency"), category.get("image_count")
    if group in ("r", "c", "f"):
        return group
    if not count:
        return None
    return "r" if count <= 10 else "c" if count <= 100 else "f"


def _load(source: Any, name: str) -> Any:
    if not isinstance(source, str | Path):
        return source
    try:
        with open(source, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise LongtailError(f"the {name} cannot be read: {source}: {error.strerror}") from None
    except ValueError as error:
        raise LongtailError(f"the {name} in {source} are no JSON ({error}): the file may be cut off") from None


def _precision(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], kind: Kind, rules: Rules) -> Tensor:
    mask_api()  # says what is missing
    from faster_coco_eval import COCO, COCOeval_faster

    images = {image["id"]: image for image in _entries(truth["images"], "image", ("id",))}
    known = {category["id"] for category in _entries(truth["categories"], "category", ("id",))}
    if not known:
        raise LongtailError("the annotations have no category: there is nothing to evaluate")
    own = [
        a
        for a in _entries(truth["annotations"], "annotation", ("image_id", "category_id", _KEYS[kind]))
        if a["image_id"] in images and a["category_id"] in known
    ]
    results = _best(found, images, kind, _LIMITS["lvis"] if rules == "lvis" else None)
    if results and not any(d["category_id"] in known for d in results):
        raise LongtailError("no detection is of a category of the annotations: compare their category_id")
    keep = [d for d in results if d["category_id"] in known]
    shape = (10, 101, len(known))
    if not own:
        return -torch.ones(shape, dtype=torch.float64)
    data = {
        "images": [_image(image, kind) for image in images.values()],
        # The evaluator wants the tag; the groups are made from the categories as they are.
        "categories": [{"id": c, "name": str(c), "frequency": "f"} for c in sorted(known)],
    }
    coco = []
    for entries in (own, keep):
        shapes = [_shape(entry, images[entry["image_id"]], kind) | {"id": i} for i, entry in enumerate(entries, 1)]
        coco.append(COCO({**data, "annotations": shapes}))
    evaluation = COCOeval_faster(*coco, iouType="bbox" if kind == "box" else "segm", lvis_style=rules == "lvis")
    evaluation.params.maxDets = [_LIMITS[rules]]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = torch.as_tensor(evaluation.eval["precision"], dtype=torch.float64)
    return precision.reshape(*shape, -1)[..., 0]  # area range: all


def _entries(values: Sequence[Any], what: str, needed: Iterable[str]) -> Sequence[Mapping[str, Any]]:
    for place, entry in enumerate(values):
        for key in needed:
            if not isinstance(entry, Mapping) or entry.get(key) is None:
                name = (
                    f"{what} {entry['id']}" if isinstance(entry, Mapping) and "id" in entry else f"{what} no. {place}"
                )
                raise LongtailError(f"{name} has no {key}")
    return values


def _best(found: Sequence[Any], images: Mapping[Any, Any], kind: Kind, limit: int | None) -> list[Mapping[str, Any]]:
    """The detections, checked; only the ``limit`` best of each image (the first of equal ones), in the order given."""
    by_image: dict[Any, list[int]] = defaultdict(list)
    for place, entry in enumerate(_entries(found, "detection", ("image_id", "category_id", "score", _KEYS[kind]))):
        if entry["image_id"] not in images:
            raise LongtailError(
                f"detection no. {place} is of image {entry['image_id']}, which is not in the annotations"
            )
        if not finite_numbers([entry["score"]]):
            raise LongtailError(f"detection no. {place} has the score {entry['score']!r}: it must be a finite number")
        by_image[entry["image_id"]].append(place)
    chosen = [sorted(own, key=lambda place: -found[place]["score"])[:limit] for own in by_image.values()]
    return [found[place] for own in chosen for place in own]


def _image(image: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    if kind == "mask" and not finite_numbers([image.get("height"), image.get("width")]):
        raise LongtailError(f"image {image['id']} has no height and width: masks need them")
    lists = ("neg_category_ids", "not_exhaustive_category_ids")
    return {"id": image["id"], "height": image.get("height", 0), "width": image.get("width", 0)} | {
        name: list(image.get(name) or ()) for name in lists
    }


def _shape(entry: Mapping[str, Any], image: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """What the evaluator reads of an annotation or detection, in objects of its own: it writes into them."""
    value = entry[_KEYS[kind]]
    result = "score" in entry
    shape: dict[str, Any] = {key: entry[key] for key in ("image_id", "category_id")}
    shape |= {"score": float(entry["score"])} if result else {"iscrowd": int(bool(entry.get("iscrowd")))}
    try:
        if kind == "mask":
            return shape | {
                "segmentation": as_rle(value, image["height"], image["width"]),
                "area": 1.0,
                "bbox": [0.0] * 4,
            }
        if not finite_numbers(value) or len(value) != 4:
            raise LongtailError(f"the bbox {value!r}: it must be [x, y, width, height] in pixels")
    except LongtailError as error:
        what = "a detection" if result else f"annotation {entry.get('id')}"
        raise LongtailError(f"{what} of image {entry['image_id']} has {error}") from None
    return shape | {"bbox": [float(v) for v in value], "area": float(value[2] * value[3])}
