"""COCO and LVIS readers: every layout and format of annotation, counts, and one clear line for what is broken."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from longtail import LongtailError
from longtail.data import inspect_boxes, load_boxes
from longtail.data.coco import cut_images, read_annotations

SQUARE = [[2, 2, 6, 2, 6, 6, 2, 6]]
RUNS = {"size": [10, 12], "counts": [22, 4, 6, 4, 6, 4, 6, 4, 64]}


def annotation(number: int, image: int, category: int, **more: Any) -> dict[str, Any]:
    entry = {"id": number, "image_id": image, "category_id": category, "bbox": [2, 2, 4, 4], "segmentation": SQUARE}
    return entry | more


def content(first: int = 1, images: int = 4) -> dict[str, Any]:
    """Images of 12 x 10 pixels: the first with two cats and a dog, one with an eel, one without an object, ..."""
    ids = [first + k for k in range(images)]
    return {
        "images": [{"id": i, "file_name": f"{i:012}.png", "height": 10, "width": 12} for i in ids],
        "categories": [{"id": 9, "name": "eel"}, {"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": [
            annotation(1, ids[0], 3),
            annotation(2, ids[0], 3, bbox=[0, 0, 3.5, 2], segmentation=RUNS),
            annotation(3, ids[0], 5, iscrowd=1, segmentation=RUNS),
            annotation(4, ids[1], 9),
            annotation(5, ids[3], 3),
            annotation(6, ids[3], 9),
        ],
    }


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    for split, first in (("train", 1), ("val", 101)):
        write(tmp_path, split, content(first))
        folder = tmp_path / "images" / split
        folder.mkdir(parents=True)
        for number in range(first, first + 4):
            Image.new("RGB", (12, 10), (number % 255, 0, 0)).save(folder / f"{number:012}.png")
    return tmp_path


def write(folder: Path, split: str, value: Any) -> None:
    (folder / f"instances_{split}.json").write_text(json.dumps(value))


def test_targets_are_what_torchvision_trains_on(coco: Path) -> None:
    part = read_annotations(coco / "instances_train.json", images=coco, masks=True)
    image, target = part[0]
    assert image.shape == (3, 10, 12) and image.dtype == torch.uint8 and int(image[0].max()) == 1
    assert target["boxes"].tolist() == [[2, 2, 6, 6], [0, 0, 3.5, 2]]
    assert target["labels"].tolist() == [1, 1]  # cat is the first of the ids 3, 5, 9; the crowd of dogs trains nothing
    expected = torch.zeros(10, 12, dtype=torch.uint8)
    expected[2:6, 2:6] = 1
    assert all(torch.equal(mask, expected) for mask in target["masks"])  # polygon and run lengths
    image, target = part[2]
    assert target["boxes"].shape == (0, 4) and target["labels"].shape == (0,) and target["masks"].shape == (0, 10, 12)
    assert "masks" not in read_annotations(coco / "instances_train.json", images=coco).target(0)


def test_images_and_instances_are_counted_apart_and_crowds_not_at_all(coco: Path) -> None:
    part = read_annotations(coco / "instances_train.json")
    assert [c["name"] for c in part.categories] == ["cat", "dog", "eel"]
    assert part.instance_counts() == [3, 0, 2]
    assert part.image_counts() == [2, 0, 2]
    assert part.labels_per_image() == [[0, 0], [2], [], [0, 2]]
    assert len(part.truth()["annotations"]) == 6 and part.truth()["annotations"][2]["iscrowd"] == 1


def test_the_given_val_is_the_test_split_and_a_new_one_is_cut(coco: Path) -> None:
    data = load_boxes(f"coco:{coco}", val_fraction=0.25)
    assert [len(s) for s in (data.train, data.val, data.test)] == [3, 1, 4]
    assert sorted(i["id"] for s in (data.train, data.val) for i in s.images) == [1, 2, 3, 4]
    assert data.test.images[0]["id"] == 101
    held_out = data.val.images[0]["id"]
    assert int(data.val.read(0)[0].max()) == held_out  # pixels stay with their annotations
    assert "a new val is cut from train" in data.notes[0]
    assert "1 categories without a training image: dog" in data.notes[1]
    assert data.train.categories[0]["frequency"] == "r" and data.train.categories[1]["frequency"] is None
    found = inspect_boxes(data)
    assert found["groups"]["r"]["classes"] == 2 and found["splits"]["test"]["empty"] == 1
    assert json.loads(json.dumps(found)) == found


def test_a_test_part_leaves_val_as_the_difficulty_split(coco: Path) -> None:
    shutil.copytree(coco / "images" / "val", coco / "images" / "test")
    write(coco, "test", content(101))
    data = load_boxes(f"coco:{coco}")
    assert [len(s) for s in (data.train, data.val, data.test)] == [4, 4, 4] and not data.notes[:-1]


def test_the_last_training_image_of_a_class_is_never_held_out() -> None:
    labels = [[0], [0], [0, 1], [], [2], [2]]
    for seed in range(20):
        train, held = cut_images(labels, 0.5, seed)
        assert sorted(train + held) == list(range(6)) and len(held) == 3
        assert {c for row in train for c in labels[row]} == {0, 1, 2}
    assert cut_images(labels, 0.5, 3) == cut_images(labels, 0.5, 3)
    with pytest.raises(LongtailError, match="too few training images"):
        cut_images([[0], [1]], 0.5, 0)


@pytest.mark.parametrize(
    ("name", "files", "folders", "image_name"),
    [
        ("coco", "annotations/instances_{}2017.json", "{}2017", "{:012}.png"),
        ("coco", "annotations/instances_{}2017.json", "images/{}2017", "{:012}.png"),
        ("lvis", "lvis_v0.5_{}.json", "{}2017", "COCO_val2014_{:012}.png"),
        ("lvis", "annotations/lvis_v1_{}.json", "val2017", "http://images.cocodataset.org/val2017/{:012}.png"),
    ],
)
def test_official_layouts(tmp_path: Path, name: str, files: str, folders: str, image_name: str) -> None:
    for split, first in (("train", 1), ("val", 101)):
        value = content(first)
        for image in value["images"]:
            place = image_name.format(image["id"])
            del image["file_name"]
            image["coco_url" if "/" in place else "file_name"] = place
            folder = tmp_path / folders.format(split)
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 10), (image["id"], 0, 0)).save(folder / f"{image['id']:012}.png")
        if name == "lvis":
            value["images"][0] |= {"neg_category_ids": [9], "not_exhaustive_category_ids": [3]}
            value["categories"] = [c | {"frequency": "f", "image_count": 200} for c in value["categories"]]
        file = tmp_path / files.format(split)
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(value))
    data = load_boxes(f"{name}:{tmp_path}", masks=True)
    assert int(data.test.read(2)[0].max()) == 103
    assert data.rules == name
    if name == "lvis":
        assert data.test.truth()["images"][0]["neg_category_ids"] == [9]
        assert data.test.truth()["images"][0]["not_exhaustive_category_ids"] == [3]
        assert {c["frequency"] for c in data.train.categories} == {"f"}  # as published, not as counted here


def test_real_photographs_and_lvis_annotations(test_data: Path) -> None:
    data = load_boxes(f"coco:{test_data / 'coco'}", masks=True)
    assert data.num_classes == 80 and len(data.train) + len(data.val) == len(data.test) == 100
    assert sum(data.train.instance_counts()) + sum(data.val.instance_counts()) == 746
    image, target = data.train[0]
    assert image.shape[1:] == target["masks"].shape[1:]
    for mask, (x1, y1, x2, y2) in zip(target["masks"], target["boxes"].tolist(), strict=True):
        ys, xs = mask.nonzero(as_tuple=True)
        assert (
            x1 - 2 <= int(xs.min()) and int(xs.max()) <= x2 + 2 and y1 - 2 <= int(ys.min()) and int(ys.max()) <= y2 + 2
        )
    lvis = read_annotations(test_data / "lvis" / "lvis_val_100.json", masks=True)
    assert len(lvis) == 100 and sum(lvis.instance_counts()) == 977 and len(lvis.categories) == 1230


BROKEN = [
    ({"bbox": [1, 1, 0, 4]}, "has no area"),
    ({"bbox": [1, 1, 4, -1]}, "has no area"),
    ({"bbox": [12, 1, 4, 4]}, "is outside of its 12 x 10 image"),
    ({"bbox": [1, 1, 4]}, r"the box \[1, 1, 4\] is not"),
    ({"bbox": [1, 1, 4, float("nan")]}, "is not"),
    ({"category_id": 77}, "category 77 is unknown"),
    ({"image_id": 55}, "annotation 4 of image 55: its image is not in the list"),
    ({"segmentation": [[1, 1, 2, 2]]}, "a polygon with 2 points: it takes three"),
    ({"segmentation": [[50, 50, 60, 50, 60, 60]]}, "a mask without a pixel"),
    ({"segmentation": None}, "neither polygons nor run lengths"),
    ({"segmentation": []}, "a segmentation that is empty"),
    ({"segmentation": "dog"}, "neither polygons nor run lengths"),
    ({"segmentation": [[1, 1, 2, 2], [3, 3]]}, "a polygon with 2 points"),
    ({"segmentation": [[1, 1, 6, 1, 6, 6, 1]]}, "a polygon with 7 coordinates"),
    ({"segmentation": [[0, 0, 1e9, 0, 1e9, 9]]}, r"a coordinate of 1e\+09, far outside of its 12 x 10 image"),
    ({"segmentation": [[0, 0, 4e6, 4e6, 1, 0]]}, "a polygon whose outline is 8000001 pixels long"),
    ({"segmentation": [[0, 0, 10**400, 0, 5, 5]]}, "no list of finite numbers"),
    ({"segmentation": {"size": [10, 12], "counts": [60.5, 59.5]}}, "do not add up"),
    ({"segmentation": {"size": [10, 12], "counts": [-1, 121]}}, "do not add up"),
    ({"segmentation": {"size": [10, 12], "counts": [10**9, 0]}}, "do not add up"),
    ({"segmentation": {"size": [10, 12], "counts": "ü"}}, "no compressed text"),
    ({"segmentation": {"size": [10, 12], "counts": "oooooooooooooooo"}}, "run lengths that do not fit"),
    ({"segmentation": {"size": [10, 12], "counts": "PP"}}, "run lengths that do not fit"),
    ({"segmentation": {"size": [1e8, 12], "counts": [1]}}, "run lengths of size"),
    ({"segmentation": {"size": "ab", "counts": [1]}}, "run lengths of size"),
    ({"bbox": [11.9999999, 1, 4, 4]}, "no width or height in single precision"),
    ({"bbox": [1, 1, 1e-9, 4]}, "no width or height in single precision"),
    ({"bbox": [1e-9, -4, 4, 4.0000001]}, "no width or height in single precision"),
    ({"bbox": [1, 1, 10**400, 4]}, "is not"),
    ({"bbox": "1, 1, 4, 4"}, "is not"),
    ({"bbox": {"x": 1}}, "is not"),
    ({"category_id": "5"}, "category '5' is unknown"),
    ({"category_id": [5]}, r"category \[5\] is unknown"),
    ({"iscrowd": "0"}, "iscrowd is '0'"),
    ({"iscrowd": 2}, "iscrowd is 2"),
    ({"segmentation": {"size": [10, 12], "counts": "???"}}, "run lengths that do not fit"),
    ({"segmentation": {"size": [9, 9], "counts": [81]}}, "run lengths of size"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_a_broken_annotation_is_named_and_dropped_or_refused(coco: Path, change: dict[str, Any], message: str) -> None:
    value = content()
    value["annotations"][3] |= change
    write(coco, "train", value)
    with pytest.raises(LongtailError, match=message) as error:
        load_boxes(f"coco:{coco}", masks=True, broken="refuse")
    assert f"annotation 4 of image {change.get('image_id', 2)}" in str(error.value)
    data = load_boxes(f"coco:{coco}", masks=True)
    note = next(note for note in data.notes if "broken" in note)
    assert note.startswith("1 broken annotations of instances_train.json are left out: annotation 4 of image")
    assert sum(data.train.instance_counts()) + sum(data.val.instance_counts()) == 4


def test_a_box_beyond_the_edge_is_clipped(coco: Path) -> None:
    value = content()
    value["annotations"][3]["bbox"] = [-1, 8, 20, 5]
    write(coco, "train", value)
    part = read_annotations(coco / "instances_train.json", broken="refuse")
    assert part.target(1)["boxes"].tolist() == [[0, 8, 12, 10]]


def _edit(change: dict[str, Any]) -> Any:
    return {key: value for key, value in (content() | change).items() if value is not None}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (_edit({"categories": None}), "instances_train.json has no categories"),
        (_edit({"categories": []}), "has no categories"),
        (_edit({"images": []}), "has no images"),
        (_edit({"annotations": []}), "no usable annotation: there is nothing to train on"),
        (_edit({"annotations": {}}), "annotations must be a list"),
        (_edit({"categories": [{"id": 3, "name": "a"}] * 2}), "two categories with the id 3"),
        ([1, 2], "no COCO-style object"),
        (_edit({"categories": [{"id": 3, "name": "cow"}, {"id": 5}, {"id": 9}]}), "category 3 is 'cat'"),
    ],
)
def test_a_wrong_file_is_one_clear_line(coco: Path, value: Any, message: str) -> None:
    write(coco, "train", value)
    with pytest.raises(LongtailError, match=message):
        load_boxes(f"coco:{coco}")


def test_missing_and_damaged_images_are_named(coco: Path) -> None:
    file = coco / "images" / "train" / "000000000003.png"
    original = file.read_bytes()
    file.write_bytes(original[:40])
    with pytest.raises(LongtailError, match=r"000000000003.png cannot be read as an image"):
        load_boxes(f"coco:{coco}")
    Image.new("RGB", (10, 12)).save(file)
    with pytest.raises(LongtailError, match=r"image 3 has the size 12 x 10 in the file, and .* is 10 x 12 pixels"):
        load_boxes(f"coco:{coco}", broken="refuse")
    file.unlink()
    with pytest.raises(LongtailError, match=r"1 of 4 images of instances_train.json are missing on disk, the first is"):
        load_boxes(f"coco:{coco}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("coco", "coco needs a path"),
        ("lvis:/no/such/folder", "is no folder"),
        ("boxes:DIR", "with boxes: coco:DIR, lvis:DIR, yolo:DIR_OR_YAML, voc:DIR, labelme:DIR, shapes-lt"),
        ("shapes-lt:DIR", "takes no path"),
    ],
)
def test_a_wrong_name_is_one_clear_line(spec: str, message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        load_boxes(spec)


def test_what_is_missing_or_cut_off_is_named(coco: Path) -> None:
    text = (coco / "instances_train.json").read_text()
    (coco / "instances_train.json").write_text(text[:-5])
    with pytest.raises(LongtailError, match=r"instances_train.json is no JSON .*cut off"):
        load_boxes(f"coco:{coco}")
    (coco / "instances_train.json").unlink()
    with pytest.raises(LongtailError, match=r"no annotations of the split train: looked for instances_train.json"):
        load_boxes(f"coco:{coco}")
    with pytest.raises(LongtailError, match="broken is 'keep': it must be refuse or skip"):
        load_boxes(f"coco:{coco}", broken="keep")  # type: ignore[arg-type]


def test_reading_changes_nothing(coco: Path) -> None:
    value = content()
    before = copy.deepcopy(value)
    write(coco, "train", value)
    read_annotations(coco / "instances_train.json", masks=True)
    assert value == before


def test_a_polygon_keeps_its_good_pieces(coco: Path) -> None:
    value = content()
    pieces = [[], [1, 1], [8, 8, 9, 8], [1], [[1, 1, 2, 2]]]
    value["annotations"][3]["segmentation"] = [pieces[2], *SQUARE, *pieces[:2], pieces[3]]
    value["annotations"][4]["segmentation"] = SQUARE[0]  # not in a list of its own
    write(coco, "train", value)
    notes: list[str] = []
    part = read_annotations(coco / "instances_train.json", masks=True, broken="refuse", notes=notes)
    whole = part.target(0)["masks"][0]
    assert torch.equal(part.target(1)["masks"][0], whole) and torch.equal(part.target(3)["masks"][0], whole)
    assert notes == ["4 pieces of polygons of instances_train.json have less than three points: no part of a mask"]


@pytest.mark.parametrize("edge", [0, 1e-7, 1e-4, 0.5, 5.999999, 11.9999, 11.99999])
@pytest.mark.parametrize("size", [1e-7, 1e-6, 2e-5, 1e-3, 1.0])
def test_a_box_that_is_kept_has_a_width_wherever_it_is_flipped_and_resized(
    coco: Path, edge: float, size: float
) -> None:
    """What torchvision would refuse in the middle of an epoch."""
    value = content()
    value["annotations"][3]["bbox"] = [edge, edge * 10 / 12, size, size]
    write(coco, "train", value)
    for box in read_annotations(coco / "instances_train.json").target(1)["boxes"]:
        for x1, x2 in ((box[0], box[2]), (12 - box[2], 12 - box[0]), (10 - box[3], 10 - box[1])):
            assert all(bool(x1 * torch.tensor(r) < x2 * torch.tensor(r)) for r in (1.0, 66.6667, 0.01, 0.333))


@pytest.mark.parametrize("key", ["images", "categories"])
@pytest.mark.parametrize("wrong", [[1], {"a": 1}, None, True, 1.5, float("nan")])
def test_an_id_of_an_odd_type_is_named(coco: Path, key: str, wrong: Any) -> None:
    value = content()
    value[key][0]["id"] = wrong
    write(coco, "train", value)
    with pytest.raises(LongtailError, match=f"{key} have the id .* it must be a whole number"):
        read_annotations(coco / "instances_train.json")


def test_ids_are_compared_as_numbers_however_they_are_written(coco: Path) -> None:
    value = content()
    value["images"][0]["id"], value["annotations"][0]["image_id"] = 1.0, 1
    value["annotations"][1]["category_id"], value["annotations"][2]["image_id"] = 3.0, 1.0
    for annotation_ in value["annotations"]:
        annotation_.pop("id")
    write(coco, "train", value)
    part = read_annotations(coco / "instances_train.json", broken="refuse")
    assert part.instance_counts() == [3, 0, 2] and json.dumps(part.truth())
    value["images"][0]["id"] = "1"
    write(coco, "train", value)
    with pytest.raises(LongtailError, match="the ids of the images are numbers and texts"):
        read_annotations(coco / "instances_train.json")


def test_categories_of_one_name_are_told_apart(coco: Path) -> None:
    for split, first in (("train", 1), ("val", 101)):
        value = content(first)
        value["categories"] = [{"id": 9, "name": "cat"}, {"id": 3, "name": "cat"}, {"id": 5}]
        write(coco, split, value)
    data = load_boxes(f"coco:{coco}", val_fraction=0.25)
    assert data.class_names == ["cat (category 3)", "5", "cat (category 9)"]
    value = content(101)
    value["categories"] = [{"id": 9, "name": "cat"}, {"id": 5}]  # one of the two, in a file of its own
    value["annotations"] = value["annotations"][3:4]
    write(coco, "val", value)
    assert load_boxes(f"coco:{coco}", val_fraction=0.25).test.labels_per_image()[1] == [2]


def test_a_look_tells_of_masks_and_of_what_is_missing(coco: Path) -> None:
    value = content()
    value["annotations"][0]["segmentation"] = [[1, 1, 2, 2]]
    value["annotations"][4]["segmentation"] = []
    write(coco, "train", value)
    data = load_boxes(f"coco:{coco}", look=True, broken="refuse", val_fraction=0.25)
    assert not data.missing
    assert sum("segmentation" in entry for part in (data.train, data.val) for own in part.objects for entry in own) == 4
    assert any("1 masks of instances_train.json are broken for --task segment: annotation 1" in n for n in data.notes)
    shutil.rmtree(coco / "images" / "train")
    data = load_boxes(f"coco:{coco}", look=True, val_fraction=0.25)
    assert sum(data.train.instance_counts()) + sum(data.val.instance_counts()) == 5
    assert len(data.missing) == 1 and "4 of 4 images of instances_train.json are missing" in data.missing[0]
