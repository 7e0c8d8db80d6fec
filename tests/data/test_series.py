"""Which images of a folder are the frames of its clip."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from longtail.data import load_data
from longtail.data.series import frame_series
from longtail.data.video import frame_files
from longtail.errors import LongtailError


def numbered(form: str, count: int = 4) -> list[str]:
    return [form.format(k) for k in range(1, count + 1)]


@pytest.mark.parametrize("frames", ["img_{:05}.jpg", "image{}.png", "frame_{}.jpg", "RGB_{:03}.png", "{:06}.jpg"])
@pytest.mark.parametrize(
    "others",
    [
        ["flow_x_{:05}.jpg", "flow_y_{:05}.jpg"],
        ["x_{:04}.jpg", "y_{:04}.jpg"],
        ["depth_{}.png"],
        ["mask_{:05}.png", "flow-x-{}.jpg"],
        ["frame_flow_{}.jpg"],
        ["cover.jpg"],
    ],
)
def test_the_pictures_are_taken_and_what_lies_beside_them_is_not(frames: str, others: list[str]) -> None:
    names = [name for form in (frames, *others) for name in numbered(form)]
    random.Random(0).shuffle(names)
    series = frame_series(list(dict.fromkeys(names)))
    assert series.frames == numbered(frames)
    assert len(series.others) == len(others)


@pytest.mark.parametrize(
    "forms",
    [
        ["img_{}.jpg"],
        ["frame{}.png"],
        ["{}.jpg"],
        ["flow_x_{}.jpg"],  # alone in its folder it is what the user wants to train on
        ["depth_{}.png"],
        ["v_Archery_g01_c01_{:04}.jpg"],
        ["2024-05-01 12.00.{:02}.jpg"],
        ["frame_{}.033.jpg"],
    ],
)
def test_one_series_is_the_frames(forms: list[str]) -> None:
    names = [name for form in forms for name in numbered(form, 12)]
    assert frame_series(names[::-1]).frames == names and not frame_series(names).others


@pytest.mark.parametrize(
    "forms",
    [
        ["flow_x_{}.jpg", "flow_y_{}.jpg"],
        ["left_{}.jpg", "right_{}.jpg"],
        ["cam1_{:04}.jpg", "cam2_{:04}.jpg"],
        ["img_left_{}.jpg", "img_right_{}.jpg"],
        ["{:04}.jpg", "{:04}.png"],
        ["depth_{}.png", "mask_{}.png"],
    ],
)
def test_several_series_of_which_none_is_the_pictures_are_refused(forms: list[str], tmp_path: Path) -> None:
    names = [name for form in forms for name in numbered(form)]
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(LongtailError, match="holds 2 series of images") as caught:
        frame_files(tmp_path)
    assert all(other in str(caught.value) for other in frame_series(names).others)


@pytest.mark.parametrize(
    "names",
    [["a.jpg", "b.jpg", "c.jpg"], ["12.04.jpg", "12.08.jpg", "13.04.jpg"], ["start1.jpg", "mid2.jpg", "end3.jpg"], []],
)
def test_names_that_tell_no_series_are_all_frames(names: list[str]) -> None:
    assert sorted(frame_series(names).frames) == sorted(names)


@given(st.permutations(range(1, 130)))
def test_frames_are_in_the_order_of_their_numbers(order: list[int]) -> None:
    assert frame_series([f"img_{k}.jpg" for k in order]).frames == [f"img_{k}.jpg" for k in range(1, 130)]


@pytest.mark.parametrize(
    ("numbers", "gaps"),
    [
        (range(10), 0),
        (range(0, 100, 5), 0),
        ([1, 2, 3, 4, 7, 8, 9, 10], 2),
        ([0, 5, 10, 15, 25, 30, 35], 1),
        ([1, 5, 7, 20, 22], 0),
        ([3], 0),
    ],
)
def test_gaps_are_counted_where_the_numbers_count_evenly(numbers: list[int], gaps: int) -> None:
    assert frame_series([f"f_{k}.jpg" for k in numbers]).gaps() == gaps


def test_a_clip_with_its_flow_is_read_from_its_pictures_alone(tmp_path: Path) -> None:
    for name, clip in [(c, f"v{k}") for c in ("run", "sit") for k in range(4)]:
        folder = tmp_path / name / clip
        folder.mkdir(parents=True)
        for k in range(4):
            Image.fromarray(np.full((32, 32, 3), (255, 0, 0), np.uint8)).save(folder / f"img_{k + 1:05}.png")
            for axis in "xy":
                Image.fromarray(np.full((32, 32), 128, np.uint8)).save(folder / f"flow_{axis}_{k:05}.png")
    data = load_data(f"clips:{tmp_path}")
    assert [note for note in data.notes if "flow_x_*, flow_y_*" in note and "img_* is read" in note]
    for path in data.train.images:
        assert [Path(file).name for file in frame_files(path)] == numbered("img_{:05}.png")  # type: ignore[arg-type]
