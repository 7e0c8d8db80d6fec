"""Average precision of boxes and masks by the rules of LVIS or COCO."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from longtail.checks import check_choice
from longtail.errors import LongtailError
from longtail.textfiles import parse_json

__all__ = ["Kind", "Rules", "detection_ap", "frequency_group"]

Kind = Literal["box", "mask"]
Rules = Literal["lvis", "coco"]


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
            ``[x, y, width, height]`` in pixels, as lists, arrays or tensors; masks are polygons or run lengths. Neither
            argument is changed.
        kind: What is compared, ``"box"`` or ``"mask"``.
        rules: ``"lvis"`` or ``"coco"``.

    Returns:
        Fractions in [0, 1], NaN where nothing is defined: ``AP``, ``AP50``, ``AP75`` over all categories that have an
        annotation; ``APr``, ``APc``, ``APf`` over the rare, common and frequent ones of them (`frequency_group`);
        ``per_category``: AP by category id, NaN for a category without an annotation.

    Raises:
        LongtailError: a file or entry that is missing or broken, an unknown image, a repeated id, or no detection of
            a known category.
    """
    check_choice(kind, "kind", get_args(Kind))
    check_choice(rules, "rules", get_args(Rules))
    truth, found = _load(annotations, "annotations"), _load(detections, "detections")
    if not isinstance(truth, Mapping) or not isinstance(found, Sequence) or isinstance(found, str):
        raise LongtailError("annotations must be a COCO-style JSON object, and detections a JSON list of results")
    for key in ("images", "annotations", "categories"):
        if not isinstance(truth.get(key), Sequence):
            raise LongtailError(f"the annotations have no list of {key}: give COCO or LVIS JSON")
    try:
        from longtail.metrics._precision import precision_table
    except ImportError:
        raise LongtailError("average precision needs hotcoco: pip install 'longtail[detection]'") from None
    # The published evaluators add 2e-16 to the denominator of the precision; rounding makes a perfect one 1 again.
    precision = torch.from_numpy(precision_table(truth, found, kind, rules)).round(decimals=14)
    precision[precision < 0] = math.nan  # a category without an annotation
    precision = precision.mean(dim=1)  # [10, K]: average precision by IoU and category
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    groups = [frequency_group(category) for category in categories]
    values = precision.mean(dim=0).tolist()
    return {
        "AP": float(precision.nanmean()),
        "AP50": float(precision[0].nanmean()),
        "AP75": float(precision[5].nanmean()),
        **{f"AP{group}": float(precision[:, [own == group for own in groups]].nanmean()) for group in "rcf"},
        "per_category": {category["id"]: value for category, value in zip(categories, values, strict=True)},
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
        with open(source, encoding="utf-8-sig") as file:
            return parse_json(file.read())
    except OSError as error:
        raise LongtailError(f"the {name} cannot be read: {source}: {error.strerror}") from None
    except ValueError as error:
        raise LongtailError(f"the {name} in {source} are no JSON ({error}): the file may be cut off") from None
