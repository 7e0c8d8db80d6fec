"""Polygons and run lengths: what hotcoco draws is what faster-coco-eval draws, and damage is refused."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from longtail import LongtailError
from longtail.rle import as_rle, mask_api, mask_pixels

oracle: Any = pytest.importorskip("faster_coco_eval.core").mask
SIZES = ((1, 1), (7, 5), (32, 48), (100, 37), (3, 300))


def drawn(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return np.asfortranarray(rng.random((height, width)) < rng.choice([0, 0.1, 0.5, 1]), np.uint8)


def same(ours: Any, theirs: Any) -> bool:
    return np.asarray(ours).dtype == np.asarray(theirs).dtype and np.array_equal(ours, theirs)


def assert_alike(rle: dict[str, Any]) -> None:
    """All that is asked of a mask."""
    api = mask_api()
    assert same(api.decode(rle), oracle.decode(rle))
    assert int(api.area(rle)) == int(oracle.area(rle)) == mask_pixels(rle, drawn=False)
    assert same(api.toBbox(rle), oracle.toBbox(rle))


@pytest.mark.parametrize("spread", ["inside", "around", "far", "on the border", "whole numbers"])
def test_polygons_are_filled_to_the_same_pixel(spread: str) -> None:
    draw = random.Random(spread)
    for _ in range(150):
        height, width = draw.choice(SIZES)

        def value(side: int) -> float:
            border = draw.choice([0.0, side, side / 2, side - 0.5, 0.5, -0.5, side - 1e-9])
            bounds = {"inside": (0, side), "around": (-side, 2 * side), "far": (-1e5, 1e5)}
            number = draw.uniform(*bounds.get(spread, (-3, side + 3)))
            return {"on the border": border, "whole numbers": float(round(number))}.get(spread, number)

        polygons = [
            [side for _ in range(draw.randint(3, 9)) for side in (value(width), value(height))]
            for _ in range(draw.randint(1, 3))
        ]
        ours = as_rle(polygons, height, width)
        assert ours == oracle.merge(oracle.frPyObjects(polygons, height, width))
        assert_alike(ours)


def test_masks_are_written_and_read_alike() -> None:
    rng, api = np.random.default_rng(0), mask_api()
    for k in range(300):
        height, width = SIZES[k % len(SIZES)]
        a, b = (drawn(rng, height, width) for _ in range(2))
        rle, other = api.encode(a), api.encode(b)
        assert rle == oracle.encode(a) and (api.decode(rle) == a).all()
        assert_alike(rle)
        assert api.merge([rle, other]) == oracle.merge([rle, other])
        for crowd in (0, 1):
            assert same(api.iou([rle], [other], [crowd]), oracle.iou([rle], [other], [crowd]))
        lengths = np.diff(np.flatnonzero(np.diff(np.r_[2, a.ravel("F"), 2]))).tolist()
        runs = [0, *lengths] if a[0, 0] else lengths  # the first run is of background
        assert as_rle({"size": [height, width], "counts": runs}, height, width)["counts"] == rle["counts"]
        assert as_rle({"size": [height, width], "counts": rle["counts"].decode()}, height, width) == rle


def test_damaged_run_lengths_are_refused_wherever_they_do_not_fit() -> None:
    rng, draw = np.random.default_rng(0), random.Random(0)
    fitting = 0
    for _ in range(4000):
        height, width = draw.choice(SIZES)
        text = bytearray(oracle.encode(drawn(rng, height, width))["counts"])
        for _ in range(draw.randint(1, 3)):
            place = draw.randrange(len(text)) if text else 0
            text[place : place + draw.randint(0, 2)] = bytes(draw.choices(range(48, 112), k=draw.randint(0, 2)))
        rle = {"size": [height, width], "counts": bytes(text)}
        try:
            pixels: int | None = mask_pixels(rle, drawn=False)
        except LongtailError:
            pixels = None
        try:
            truth: int | None = int(oracle.decode(rle).sum())
        except (ValueError, RuntimeError):
            truth = None
        assert pixels == truth
        if pixels is not None:
            fitting += 1
            assert_alike(rle)
    assert 100 < fitting < 3900


@pytest.mark.parametrize("text", ["", "o" * 100_000, "\x7f", "0o", "/", "p", "1" * 300_000])
def test_text_that_is_no_run_lengths_is_refused_at_once(text: str) -> None:
    with pytest.raises(LongtailError, match="do not fit the image"):
        mask_pixels(as_rle({"size": [7, 5], "counts": text}, 7, 5), drawn=False)
