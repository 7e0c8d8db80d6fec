"""Segmentations as COCO and LVIS files write them: polygons and run lengths, checked before the mask API sees them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from longtail.errors import LongtailError

__all__ = ["as_rle", "finite_numbers", "mask_api"]


def mask_api() -> Any:
    """faster-coco-eval's mask functions, or a clear error where the package is missing."""
    try:
        from faster_coco_eval.core import mask
    except ImportError:
        raise LongtailError("boxes and masks need faster-coco-eval: pip install 'longtail[detection]'") from None
    return mask


def finite_numbers(values: Any) -> TypeGuard[Sequence[float]]:
    """Whether ``values`` is a sequence of finite numbers."""
    return isinstance(values, Sequence) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values
    )


def as_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """One compressed run-length object for polygons, run lengths or compressed run lengths.

    Args:
        segmentation: ``[[x1, y1, x2, y2, x3, y3, ...], ...]`` in pixels, or ``{"size": [height, width], "counts"}``
            with a list of run lengths (columns first, background first) or their compressed text.
        height, width: Of the image, in pixels.

    Returns:
        ``{"size": [height, width], "counts": bytes}``.

    Raises:
        LongtailError: fewer than three points, an odd number of coordinates, or run lengths that do not fit the image.
    """
    api = mask_api()
    if isinstance(segmentation, Mapping):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if not isinstance(size, Sequence) or list(size) != [height, width]:
            raise LongtailError(f"run lengths of size {size} in an image of height {height} and width {width}")
        if isinstance(counts, Sequence) and not isinstance(counts, str | bytes):
            if not finite_numbers(counts) or min(counts, default=-1) < 0 or sum(counts) != height * width:
                raise LongtailError(f"run lengths that do not add up to the image's {height} x {width} pixels")
            return api.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width)
        if not isinstance(counts, str | bytes):
            raise LongtailError("run lengths that are neither a list nor compressed text")
        return {"size": [height, width], "counts": counts.encode() if isinstance(counts, str) else counts}
    if not isinstance(segmentation, Sequence) or isinstance(segmentation, str) or not segmentation:
        raise LongtailError("a segmentation that is neither polygons nor run lengths")
    for polygon in segmentation:
        if not finite_numbers(polygon):
            raise LongtailError("a polygon that is no list of finite numbers")
        if len(polygon) < 6 or len(polygon) % 2:
            count = f"{len(polygon) // 2} points" if len(polygon) % 2 == 0 else f"{len(polygon)} coordinates"
            raise LongtailError(f"a polygon with {count}: it takes three points or more, as x and y")
    return api.merge(api.frPyObjects([list(map(float, p)) for p in segmentation], height, width))
