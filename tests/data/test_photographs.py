"""The photograph of an annotation is the one that its whole name says, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from longtail import LongtailError
from longtail.data import load_boxes
from longtail.data.annotations import read_annotations


def picture(file: Path, shade: int, size: tuple[int, int] = (12, 10), **options: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 0)).save(file, **options)


def write(root: Path, names: list[Any], split: str = "train", first: int = 1, **fields: Any) -> Path:
    """Annotations of one object in each image; the shade that its picture should have is its id."""
    content = {
        "images": [
            {"id": i, "file_name": name, "height": 10, "width": 12} | fields for i, name in enumerate(names, first)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1 + i % 2, "bbox": [1, 1, 5, 5]} for i, _ in enumerate(names, first)
        ],
    }
    file = root / f"instances_{split}.json"
    root.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def shades(file: Path, root: Path, **options: Any) -> list[int]:
    part = read_annotations(file, images=root, **options)
    return [int(part.read(row)[0].max()) for row in range(len(part))]


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["images/1.png", "images/night/1.png"], ["images/1.png", "images/night/1.png"]),
        (["1.png", "night/1.png"], ["images/1.png", "images/night/1.png"]),
        (["a/1.png", "b/1.png"], ["images/train/a/1.png", "images/train/b/1.png"]),
        (["a/b/1.png", "a/1.png"], ["train/a/b/1.png", "train/a/1.png"]),
        (["images\\1.png", "images\\2.png"], ["images/1.png", "images/2.png"]),
        (["a\\1.png", "a/1.png"], ["images/a\\1.png", "images/a/1.png"]),  # one that is called so
        (["./images/1.png", "images//2.png"], ["images/1.png", "images/2.png"]),
        (["train2017/1.png", "val2017/1.png"], ["train2017/1.png", "val2017/1.png"]),
        (["COCO_train2014_000000000007.jpg", "2.jpg"], ["train2017/000000000007.jpg", "train2017/2.jpg"]),
        (["ümlaut 1.png", "100%.png"], ["images/train/ümlaut 1.png", "images/train/100%.png"]),
    ],
    ids=str,
)
def test_a_name_is_a_whole_path(tmp_path: Path, names: list[str], files: list[str]) -> None:
    for shade, file in enumerate(files, 1):
        picture(tmp_path / file, shade if not file.endswith("jpg") else 100 * shade)
    found = shades(write(tmp_path, names), tmp_path)
    expected = [shade if not file.endswith("jpg") else 100 * shade for shade, file in enumerate(files, 1)]
    assert found == pytest.approx(expected, abs=3)


def test_an_absolute_name_is_that_file(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere" / "1.png", 1)
    picture(tmp_path / "data" / "images" / "1.png", 9)
    file = write(tmp_path / "data", [str(tmp_path / "elsewhere" / "1.png")])
    assert shades(file, tmp_path / "data") == [1]


@pytest.mark.parametrize(
    ("names", "files", "first"),
    [
        (["1.png", "cam2_frame_00001.png"], ["images/train/1.png", "images/train/frame_00001.png"], "cam2_frame"),
        (["images/night/1.png"], ["images/1.png"], "images/night/1.png"),
        (["1.png", "2.png"], ["images/train/1.png", "images/val/2.png"], "2.png"),
        (["1.png", "2.png"], ["images/train/1.png", "images/2.png", "2.png"], "2.png"),
        (["000000000001.png"], ["images/val/000000000001.png", "val2017/000000000001.png"], "000000000001.png"),
        (["sub/1.png"], ["images/train/1.png"], "sub/1.png"),
        (["COCO_train2014_000000000007.png"], ["images/val/000000000007.png"], "COCO_train2014_000000000007.png"),
        (["", "1.png"], ["images/train/1.png"], "a file without a name"),
        (["..", "1.png"], ["images/train/1.png"], r"\.\."),
        (["a\0b.png", "1.png"], ["images/train/1.png"], "a"),
    ],
    ids=str,
)
def test_a_missing_photograph_is_never_replaced_by_another(
    tmp_path: Path, names: list[str], files: list[str], first: str
) -> None:
    for file in files:
        picture(tmp_path / file, 1)
    with pytest.raises(
        LongtailError, match=f"1 of {len(names)} images of .* are missing on disk, the first is {first}"
    ):
        shades(write(tmp_path, names), tmp_path)


def test_the_splits_of_lvis_share_the_photographs_that_have_coco_names_and_no_others(tmp_path: Path) -> None:
    picture(tmp_path / "val2017" / "000000000001.png", 1)
    picture(tmp_path / "val2017" / "2.png", 2)
    file = write(tmp_path, ["000000000001.png"])
    assert shades(file, tmp_path, shared=True) == [1]
    with pytest.raises(LongtailError, match="missing on disk"):
        shades(file, tmp_path)
    with pytest.raises(LongtailError, match=r"the first is 2\.png"):
        shades(write(tmp_path, ["000000000001.png", "2.png"]), tmp_path, shared=True)


@pytest.mark.parametrize("second", ["images/1.png", "./1.png", "images//1.png", "link.png", "night/1.png"])
def test_two_entries_on_one_file_are_an_error(tmp_path: Path, second: str) -> None:
    picture(tmp_path / "images" / "1.png", 1)
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "images" / "1.png")
    (tmp_path / "images" / "night").symlink_to(tmp_path / "images")
    with pytest.raises(LongtailError, match="the images 1 and 2 are one file"):
        shades(write(tmp_path, ["1.png", second]), tmp_path)


def test_a_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1.png", 1)
    with pytest.raises(LongtailError, match="image 1 has the file name 5: it must be text"):
        shades(write(tmp_path, [5]), tmp_path)


def _both(root: Path, val: list[str]) -> None:
    for number in range(1, 7):
        picture(root / "images" / f"{number}.png", number)
    write(root, ["1.png", "2.png", "3.png", "4.png"])
    write(root, val, "val", first=5)


def test_a_photograph_of_the_training_file_is_not_judged(tmp_path: Path) -> None:
    _both(tmp_path, ["5.png", "images/../images/4.png"])
    with pytest.raises(LongtailError, match="1 photographs are in the train and in the val file"):
        load_boxes(f"coco:{tmp_path}")
    _both(tmp_path, ["5.png", "6.png"])
    assert len(load_boxes(f"coco:{tmp_path}", val_fraction=0.3).test) == 2


# -- sizes -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("missing", [{"height": None}, {"width": None, "height": None}, {"height": 0, "width": 0}])
def test_a_size_that_is_missing_is_the_photographs(tmp_path: Path, missing: dict[str, Any]) -> None:
    picture(tmp_path / "images" / "1.png", 1)
    notes: list[str] = []
    part = read_annotations(write(tmp_path, ["1.png"], **missing), images=tmp_path, broken="refuse", notes=notes)
    assert (part.images[0]["height"], part.images[0]["width"]) == (10, 12) and part.instance_counts() == [0, 1]
    assert "does not tell the size of 1 images" in notes[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"height": 1e8}, "the height 100000000.0: it must be a whole number from 1 to 65535"),
        ({"height": 10**400}, "the height 1000"),
        ({"height": -3}, "the height -3"),
        ({"width": 11.5}, "the width 11.5"),
        ({"width": "12"}, "the width '12'"),
        ({"width": [12]}, r"the width \[12\]"),
        ({"width": True}, "the width True"),
        ({"height": 60_000, "width": 60_000}, "60000 x 60000 pixels: at most"),
        ({"height": 12, "width": 10}, "the size 10 x 12 in the file, and .*1.png is 12 x 10 pixels"),
        ({"neg_category_ids": 3}, "no list as its neg_category_ids"),
    ],
    ids=str,
)
def test_an_image_whose_size_cannot_be_is_refused_or_left_out(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    for number in (1, 2):
        picture(tmp_path / "images" / f"{number}.png", number)
    file = write(tmp_path, ["1.png", "2.png"])
    content = json.loads(file.read_text())
    content["images"][0] |= wrong
    file.write_text(json.dumps(content))
    with pytest.raises(LongtailError, match=f"image 1 has {message}"):
        read_annotations(file, images=tmp_path, broken="refuse")
    notes: list[str] = []
    part = read_annotations(file, images=tmp_path, broken="skip", notes=notes)
    assert [image["id"] for image in part.images] == [2] and sum(part.instance_counts()) == 1
    assert notes[0].startswith("1 broken images of instances_train.json are left out: image 1 has ")


def turned(file: Path, orientation: int, size: tuple[int, int] = (12, 10)) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(file, 100, size, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_that_was_annotated_unturned_is_named(tmp_path: Path, orientation: int) -> None:
    """Boxes of a picture that lies on its side would be somewhere else on the upright one."""
    turned(tmp_path / "images" / "1.jpg", orientation)
    file, notes = write(tmp_path, ["1.jpg"]), list[str]()
    if orientation >= 5:
        with pytest.raises(LongtailError, match="once turned upright as its EXIF orientation says: it was annotated"):
            read_annotations(file, images=tmp_path, broken="refuse")
        file = write(tmp_path, ["1.jpg"], height=12, width=10)
    part = read_annotations(file, images=tmp_path, broken="refuse", notes=notes)
    assert part.read(0).shape == torch.Size([3, part.images[0]["height"], part.images[0]["width"]])
    ambiguous = orientation in (2, 3, 4)  # the size is the same either way
    assert [note for note in notes if "turned or mirrored by their EXIF" in note] == (notes[:1] if ambiguous else [])


def test_a_square_photograph_that_is_turned_is_noted(tmp_path: Path) -> None:
    turned(tmp_path / "images" / "1.jpg", 6, (10, 10))
    notes: list[str] = []
    read_annotations(write(tmp_path, ["1.jpg"], width=10), images=tmp_path, notes=notes)
    assert "turned or mirrored" in notes[0]
