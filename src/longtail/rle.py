"""Segmentations as COCO and LVIS files write them: polygons and run lengths, checked before the mask API sees them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from longtail.errors import LongtailError

__all__ = ["as_rle", "finite_numbers", "image_sides", "mask_api", "mask_pixels", "polygons_of"]

MOST_SIDE, MOST_PIXELS = 65_535, 1 << 28
"""Of an image: what a JPEG can have, and three times what Pillow warns of."""
MOST_OUTLINE = 1 << 22
"""Pixels that the outline of a polygon may be long, and farthest that a point may be."""


def mask_api() -> Any:
    """hotcoco's mask functions, or a clear error where the package is missing."""
    try:
        from hotcoco import mask
    except ImportError:
        raise LongtailError("boxes and masks need hotcoco: pip install 'longtail[detection]'") from None
    return mask


def finite_numbers(values: Any) -> TypeGuard[Sequence[float]]:
    """Whether ``values`` is a sequence of finite numbers."""
    return isinstance(values, Sequence) and not isinstance(values, str | bytes) and all(map(_is_finite, values))


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def image_sides(height: Any, width: Any) -> tuple[int, int]:
    """Height and width of an image as whole numbers.

    Raises:
        LongtailError: no whole numbers from 1 to `MOST_SIDE`, or more than `MOST_PIXELS` pixels.
    """
    for name, side in (("height", height), ("width", width)):
        if not _is_finite(side) or side != int(side) or not 1 <= side <= MOST_SIDE:
            raise LongtailError(f"the {name} {_shown(side)}: it must be a whole number from 1 to {MOST_SIDE}")
    if height * width > MOST_PIXELS:
        raise LongtailError(f"{width:.0f} x {height:.0f} pixels: at most {MOST_PIXELS} can be read")
    return int(height), int(width)


def _shown(value: Any, most: int = 40) -> str:
    """The value as it was written, in a few letters."""
    try:
        text = repr(value)
    except ValueError:  # more digits than are printed
        return "of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}..."


def as_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """One compressed run-length object for polygons, run lengths or compressed run lengths.

    Args:
        segmentation: ``[[x1, y1, x2, y2, x3, y3, ...], ...]`` in pixels, or one such polygon alone, or ``{"size":
            [height, width], "counts"}`` with a list of run lengths (columns first, background first) or their
            compressed text. Pieces of less than three points, which label tools leave over, are passed over beside
            others.
        height, width: Of the image, in pixels.

    Returns:
        ``{"size": [height, width], "counts": bytes}``.

    Raises:
        LongtailError: an image size that cannot be, no piece with three points, an odd number of coordinates, points
            far outside of the image, or run lengths that do not fit it.
    """
    height, width = image_sides(height, width)
    if isinstance(segmentation, Mapping):
        return _of_runs(segmentation, height, width)
    pieces = polygons_of(segmentation)
    for polygon in [polygon for polygon in pieces if len(polygon) >= 6] or pieces:
        if len(polygon) < 6 or len(polygon) % 2:
            count = f"{len(polygon) // 2} points" if len(polygon) % 2 == 0 else f"{len(polygon)} coordinates"
            raise LongtailError(f"a polygon with {count}: it takes three points or more, as x and y")
        _check_outline(polygon, height, width)
    api, whole = mask_api(), [list(map(float, polygon)) for polygon in pieces if len(polygon) >= 6]
    return api.merge(api.frPyObjects(whole, height, width))


def polygons_of(segmentation: Any) -> list[Sequence[float]]:
    """The polygons of a segmentation, left-over pieces too; one that is not in a list of its own is one of them.

    Raises:
        LongtailError: they are no lists of finite numbers, or there is none.
    """
    if not isinstance(segmentation, Sequence) or isinstance(segmentation, str | bytes):
        raise LongtailError("a segmentation that is neither polygons nor run lengths")
    if not segmentation:
        raise LongtailError("a segmentation that is empty")
    polygons = [segmentation] if finite_numbers(segmentation) else list(segmentation)
    if not all(map(finite_numbers, polygons)):
        raise LongtailError("a polygon that is no list of finite numbers")
    return polygons


def _check_outline(polygon: Sequence[float], height: int, width: int) -> None:
    """To fill a polygon takes memory in proportion to its outline, also where that is outside of the image."""
    span = max(polygon) - min(polygon)
    if max(map(abs, polygon)) > MOST_OUTLINE:
        raise LongtailError(
            f"a polygon with a coordinate of {max(polygon, key=abs):g}, far outside of its {width} x {height} image"
        )
    if span * len(polygon) <= MOST_OUTLINE:
        return
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    steps = zip(points, [*points[1:], points[0]], strict=True)
    length = sum(max(abs(x2 - x1), abs(y2 - y1)) for (x1, y1), (x2, y2) in steps)
    if length > MOST_OUTLINE:
        raise LongtailError(f"a polygon whose outline is {length:.0f} pixels long, in a {width} x {height} image")


def _of_runs(segmentation: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, Sequence) or isinstance(size, str) or list(size) != [height, width]:
        raise LongtailError(f"run lengths of size {_shown(size)} in an image of height {height} and width {width}")
    if isinstance(counts, Sequence) and not isinstance(counts, str | bytes):
        whole = finite_numbers(counts) and all(count == int(count) and count >= 0 for count in counts)
        if not whole or sum(counts) != height * width:
            raise LongtailError(f"run lengths that do not add up to the image's {height} x {width} pixels")
        return mask_api().frPyObjects({"size": [height, width], "counts": list(map(int, counts))}, height, width)
    if not isinstance(counts, str | bytes):
        raise LongtailError("run lengths that are neither a list nor compressed text")
    try:
        coded = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    except UnicodeEncodeError:
        raise LongtailError("run lengths that are no compressed text") from None
    return {"size": [height, width], "counts": coded}


def mask_pixels(rle: Mapping[str, Any], *, drawn: bool) -> int:
    """Number of pixels of a mask that `as_rle` gave.

    Args:
        rle: Compressed run lengths.
        drawn: They were made here, from polygons or plain run lengths; otherwise they are read to see that they fit the
            image: the mask functions take any.

    Raises:
        LongtailError: they do not fit.
    """
    if drawn:
        return int(mask_api().area(rle))
    runs, (height, width) = _runs(rle["counts"]), rle["size"]
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise LongtailError("run lengths that do not fit the image")
    return sum(runs[1::2])


def _runs(coded: bytes) -> list[int]:
    """The numbers in compressed run lengths, five bits a letter; from the fourth on they are written as the difference
    to the one before the last. None where the text is no such."""
    runs: list[int] = []
    value = shift = 0
    for letter in coded:
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 30:
            return []
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last letter of a number
            value -= (bits & 16) << shift - 4
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return [] if shift else runs
