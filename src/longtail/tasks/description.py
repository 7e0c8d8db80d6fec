"""What a run folder's ``data.json`` must hold before anything is built from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from longtail.errors import LongtailError

__all__ = ["BOXES", "COMMON", "IMAGES", "ROWS", "Rules", "check_description"]

_LARGEST = 2**20
"""Of a side in pixels, or of a number of frames: more is a damaged file."""
OPTIONAL = ("frames", "interpolation", "architecture", "image_mean", "image_std")
"""Entries that versions before did not write."""


Rules = dict[str, tuple[Callable[[Any], bool], str]]
"""By entry: whether its value is good, and what it must be in words."""


def check_description(info: dict[str, Any], path: Path, rules: Rules) -> dict[str, Any]:
    """The content of ``data.json``, checked.

    Raises:
        LongtailError: it lacks an entry, or an entry is not what it must be.
    """
    for key, (good, words) in rules.items():
        if key not in info:
            if key in OPTIONAL:
                continue
            raise LongtailError(f"{path} lacks {key}: train the run again with this version")
        if not good(info[key]):
            raise LongtailError(f"{path}: {key} must be {words}: restore the file or train the run again")
    classes = len(info["class_names"])
    train = info["class_counts"].get("train")
    fits = [len(info[key]) == classes for key in ("category_ids", "frequency") if key in rules]
    if not _is_list(train, lambda n: _is_int(n, 0, 2**53)) or len(train) != classes or not all(fits):
        raise LongtailError(f"{path} does not tell one number for each of its {classes} classes: train the run again")
    if "mean" in rules and not len(info["mean"]) == len(info["std"]) == info["data_channels"]:
        raise LongtailError(f"{path}: mean and std must be one number for each channel: train the run again")
    return info


def _is_int(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_list(value: Any, inside: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(inside, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_look(value: Any, low: float) -> bool:
    return _is_list(value, lambda x: _is_number(x, low, 10)) and len(value) == 3


def _is_network(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("name")) and isinstance(value.get("args"), dict)


COMMON: Rules = {
    "class_names": (lambda v: _is_list(v, _is_text), "a list of names"),
    "class_counts": (lambda v: isinstance(v, dict), "the counts of each split"),
    "model": (_is_text, "the name of a network"),
}
_PIXELS: Rules = {"image_size": (lambda v: _is_int(v, 1, _LARGEST), "a number of pixels")}
IMAGES: Rules = _PIXELS | {
    "channels": (lambda v: v in (1, 3) and _is_int(v, 1, 3), "1 or 3"),
    "data_channels": (lambda v: v in (1, 3) and _is_int(v, 1, 3), "1 or 3"),
    "mean": (lambda v: _is_list(v, lambda x: _is_number(x, -10, 10)), "a list of numbers"),
    "std": (lambda v: _is_list(v, lambda x: _is_number(x, 1e-6, 10)), "a list of numbers above 0"),
    "center_crop": (lambda v: _is_number(v, math.ulp(0.0), 1), "a number in (0, 1]"),
    "interpolation": (lambda v: v in ("bilinear", "bicubic"), "bilinear or bicubic"),
    "architecture": (lambda v: v is None or _is_network(v), "a network's name and args, or null"),
    "frames": (lambda v: _is_int(v, 0, _LARGEST), "a number of frames"),
}
ROWS: Rules = {
    "width": (lambda v: _is_int(v, 1, _LARGEST), "a number of dimensions"),
    "feature_width": (lambda v: _is_int(v, 1, _LARGEST), "a number of dimensions"),
    "head": (lambda v: v in ("linear", "cosine", "mlp"), "linear, cosine or mlp"),
}
BOXES: Rules = _PIXELS | {
    "category_ids": (lambda v: _is_list(v, lambda n: _is_int(n, -(2**63), 2**63 - 1)), "a list of whole numbers"),
    "frequency": (lambda v: _is_list(v, lambda f: f is None or f in ("r", "c", "f")), "a list of r, c, f"),
    "rules": (lambda v: v in ("coco", "lvis"), "coco or lvis"),
    "masks": (_is_flag, "true or false"),
    "frozen_norm": (_is_flag, "true or false"),
    "architecture": (lambda v: v is None or _is_network(v), "a network's name and args, or null"),
    "image_mean": (lambda v: _is_look(v, -10), "three numbers"),
    "image_std": (lambda v: _is_look(v, 1e-6), "three numbers above 0"),
}
