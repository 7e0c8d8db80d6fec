"""Boxes as label tools write them: the same photographs give the same boxes, and what is wrong is named."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image

from data.label_tools import LAYOUTS, NAMES, photos, write_coco_one, write_labelme, write_voc, write_yolo
from longtail import LongtailError
from longtail.cli import main
from longtail.data import BoxData, inspect_boxes, load_boxes
from longtail.data.record import read_record, record_splits, record_text
from longtail.data.splits import cut_many_labels

UNSPLIT = ("one JSON", "labelme")


def boxes(data: BoxData) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    """The boxes of each photograph, over all splits."""
    found = {}
    for part in (data.train, data.val, data.test):
        for row, image in enumerate(part.images):
            target = part.target(row)
            own = [
                (data.class_names[label - 1], tuple(round(v, 3) for v in box))
                for box, label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True)
            ]
            found[Path(image["path"]).stem] = sorted(own)
    return found


def expected() -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    return {name: sorted((NAMES[c], tuple(map(float, box))) for c, box in own) for _, name, _, own in photos()}


# -- the five layouts --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_boxes_to_the_pixel(layout: str, tmp_path: Path) -> None:
    data = load_boxes(LAYOUTS[layout](tmp_path, photos()))
    assert boxes(data) == expected()
    assert data.class_names == list(NAMES)
    given = {Path(image["path"]).stem for image in data.test.images}
    if layout not in UNSPLIT:
        assert given == {"val0", "val1", "val2"}
    for part in (data.train, data.val, data.test):
        for row in range(len(part)):
            part[row]  # the pixels are there, and of the size that the boxes are for
    empty = {name for name, own in expected().items() if not own}
    assert empty <= set(boxes(data))  # background stays


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "voc"])
def test_masks_are_those_that_were_drawn(layout: str, tmp_path: Path) -> None:
    data = load_boxes(LAYOUTS[layout](tmp_path, photos()), masks=True, broken="refuse")
    for part in (data.train, data.val, data.test):
        for row in range(len(part)):
            target = part.target(row)
            for mask, (left, top, right, bottom) in zip(target["masks"], target["boxes"].int().tolist(), strict=True):
                assert mask[top:bottom, left:right].all()
                assert mask.sum() == (right - left) * (bottom - top)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_inspects_through_the_command_line(layout: str, tmp_path: Path, capsys) -> None:
    spec = LAYOUTS[layout](tmp_path / "data", photos())
    assert main(["inspect", spec, "--out", str(tmp_path / "picture.png")]) == 0
    assert f"{spec}: 3 categories" in capsys.readouterr().out


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_splits_of_a_run_are_found_again_where_the_data_have_moved(layout: str, tmp_path: Path) -> None:
    spec = LAYOUTS[layout](tmp_path / "here", photos())
    if layout == "yolo":
        spec += "/data.yaml"
    data = load_boxes(spec, data_seed=3)
    (tmp_path / "splits.csv.gz").write_bytes(record_text(record_splits(data, "run")))
    (tmp_path / "here").rename(tmp_path / "there")
    spec = spec.replace("/here", "/there")
    again = load_boxes(spec, data_seed=4, record=read_record(tmp_path / "splits.csv.gz", data.class_names))
    for one, other in ((data.train, again.train), (data.val, again.val), (data.test, again.test)):
        names = [[Path(image["path"]).name for image in part.images] for part in (one, other)]
        assert names[0] == names[1]
        assert one.labels_per_image() == other.labels_per_image()


@pytest.mark.parametrize(
    ("name", "layout"), [("yolo", "yolo"), ("voc", "voc"), ("labelme", "labelme"), ("coco", "one JSON")]
)
@pytest.mark.parametrize("asked", ["yolo", "voc", "labelme", "coco"])
def test_another_name_says_whose_the_folder_looks_like(name: str, layout: str, asked: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path, photos())
    if asked != name:
        with pytest.raises(LongtailError, match=f"this looks like what {name}:{tmp_path} reads"):
            load_boxes(f"{asked}:{tmp_path}")


# -- cutting -----------------------------------------------------------------------------------------------------------
def test_each_class_is_cut_in_its_share_whatever_images_show() -> None:
    labels = [[k % 2, 2 if k % 10 == 0 else k % 2] for k in range(200)] + [[] for _ in range(40)]
    rows, whole = cut_many_labels(labels, 3, {"test": 0.2, "val": 0.15}, 0)
    assert whole == []
    assert sorted(row for own in rows.values() for row in own) == list(range(240))
    for split, share in (("test", 0.2), ("val", 0.15)):
        for c, size in ((0, 100), (1, 100), (2, 20)):
            assert abs(sum(c in labels[row] for row in rows[split]) - share * size) <= 2
        assert abs(sum(not labels[row] for row in rows[split]) - share * 40) <= 1
    assert rows == cut_many_labels(labels, 3, {"test": 0.2, "val": 0.15}, 0)[0]
    assert rows != cut_many_labels(labels, 3, {"test": 0.2, "val": 0.15}, 1)[0]


def test_groups_stay_together_where_boxes_are_cut(tmp_path: Path) -> None:
    own = [("train", f"rec{k // 3}_{k}", (40, 40), [(k // 3 % 3, (2, 2, 20, 20))]) for k in range(60)]
    data = load_boxes(write_coco_one(tmp_path, own), group_by=r"rec\d+")
    recordings = [
        {Path(i["path"]).name.partition("_")[0] for i in part.images} for part in (data.train, data.val, data.test)
    ]
    assert all(recordings)
    assert sum(map(len, recordings)) == len(set().union(*recordings)) == 20


def test_judging_alone_takes_all_of_what_is_not_split(tmp_path: Path) -> None:
    data = load_boxes(write_coco_one(tmp_path, photos()), whole=True)
    assert len(data.test) == len(photos())


def test_a_category_that_names_a_group_and_has_no_object_is_no_class(tmp_path: Path) -> None:
    spec = LAYOUTS["a JSON in each split"](tmp_path, photos())
    assert any("left out: things" in note for note in load_boxes(spec).notes)
    file = tmp_path / "train" / "_annotations.coco.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["category_id"] = 0
    file.write_text(json.dumps(content))
    assert load_boxes(spec).class_names == ["things", *NAMES]  # something is of it


def test_several_files_for_one_thing_are_named(tmp_path: Path) -> None:
    write_coco_one(tmp_path, photos())
    file = tmp_path / "annotations" / "instances_default.json"
    assert boxes(load_boxes(f"coco:{file}")).keys() == expected().keys()
    shutil.copy(file, file.with_name("more.json"))
    with pytest.raises(
        LongtailError, match=r"several COCO files, instances_default.json, more.json: give one as coco:FILE"
    ):
        load_boxes(f"coco:{tmp_path}")


@pytest.mark.parametrize(
    ("train", "val"), [("train.json", "val.json"), ("Train_annotations.json", "Valid_annotations.json")]
)
@pytest.mark.parametrize("below", ["", "annotations"])
def test_jsons_called_as_splits(train: str, val: str, below: str, tmp_path: Path) -> None:
    LAYOUTS["a JSON in each split"](tmp_path, photos())
    (tmp_path / below).mkdir(exist_ok=True)
    (tmp_path / "valid").rename(tmp_path / "val")
    (tmp_path / "train" / "_annotations.coco.json").rename(tmp_path / below / train)
    (tmp_path / "val" / "_annotations.coco.json").rename(tmp_path / below / val)
    data = load_boxes(f"coco:{tmp_path}")
    assert boxes(data) == expected()
    assert len(data.test) == 3


# -- yolo --------------------------------------------------------------------------------------------------------------
def yaml(root: Path, text: str) -> None:
    (root / "data.yaml").write_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "train: images/train\nval: images/val\nnames: [bird, car, dog]\n",
        "path: ../data\ntrain: images/train\nval: images/val\nnames:\n  0: bird\n  1: car\n  2: dog\n",
        "path: /of/another/machine\ntrain: images/train\nval: images/val\nnc: 3\nnames: ['bird', 'car', 'dog']\n",
        "path: .\ntrain: ../images/train\nval: ../images/val\ntest:\nnames: {2: dog, 0: bird, 1: car}\n",
        "train: train.txt\nval: [val_a.txt, val_b.txt]\nnames:\n- bird\n- car\n- dog\n",
        "train: [images/train]\nval: ['images\\val']\nnames: [bird, car, dog]\n",
    ],
)
def test_the_forms_of_a_yaml(text: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_yolo(root, photos())
    yaml(root, text)
    (root / "train.txt").write_text("".join(f"./images/train/train{k}.png\n" for k in range(6)))
    (root / "val_a.txt").write_text("images/val/val0.png\n")
    (root / "val_b.txt").write_text(f"{root / 'images/val/val1.png'}\nimages/val/val2.png\n")
    for spec in (f"yolo:{root}", f"yolo:{root / 'data.yaml'}"):
        data = load_boxes(spec)
        assert boxes(data) == expected()
        assert len(data.test) == 3


def test_a_test_split_that_is_named_and_not_there_is_a_note(tmp_path: Path) -> None:
    write_yolo(tmp_path, photos())
    with (tmp_path / "data.yaml").open("a") as file:
        file.write("test: ../test/images\n")
    data = load_boxes(f"yolo:{tmp_path}")
    assert boxes(data) == expected()
    assert "data.yaml names a test split, ../test/images, which is not there" in data.notes


def test_a_photograph_that_its_exif_turns_is_noted(tmp_path: Path) -> None:
    write_yolo(tmp_path, photos())
    file = tmp_path / "images" / "train" / "train0.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 40)).save(file, exif=exif)  # upright it is 40 x 32
    data = load_boxes(f"yolo:{tmp_path}")
    assert boxes(data) == expected()
    assert any("1 photographs of data.yaml are turned or mirrored" in note for note in data.notes)


def test_a_class_called_no_is_no_boolean(tmp_path: Path) -> None:
    write_yolo(tmp_path, photos())
    yaml(tmp_path, "train: images/train\nval: images/val\nnames: [no, yes, 007]\n")
    assert load_boxes(f"yolo:{tmp_path}").class_names == ["no", "yes", "007"]


def test_boxes_and_polygons_of_yolo_are_the_same(tmp_path: Path) -> None:
    data = load_boxes(write_yolo(tmp_path, photos(), polygons=False))
    assert boxes(data) == expected()
    with pytest.raises(LongtailError, match="has boxes and no masks: use --task detect"):
        load_boxes(f"yolo:{tmp_path}", masks=True)


@pytest.mark.parametrize("below", ["", "labels"])
def test_a_list_of_class_names_stands_for_the_yaml(below: str, tmp_path: Path) -> None:
    write_yolo(tmp_path, photos())
    (tmp_path / "data.yaml").unlink()
    (tmp_path / below / "classes.txt").write_text("bird\ncar\ndog\n")
    assert boxes(load_boxes(f"yolo:{tmp_path}")) == expected()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7 .5 .5 .2 .2", r"labels/train/train0.txt line 2: class 7 is beyond the 3 names"),
        ("-1 .5 .5 .2 .2", r"train0.txt line 2: the class '-1' is no whole number"),
        ("cat .5 .5 .2 .2", r"train0.txt line 2: 'cat' is no number"),
        ("0 150 50 20 20", r"train0.txt line 2: 150 is no share of the image"),
        ("0 .5 .5 .2", r"line 2: 4 numbers are neither a class and a box nor"),
        ("0 .5 .5 .2 .2 .9", r"line 2: 6 numbers are neither a class and a box nor"),
        ("0 .5 .5 nan .2", r"line 2: 'nan' is no number"),
        ("0 .5 .5 0 .2", r"annotation labels/train/train0.txt line 2 of image images/train/train0.png.*has no area"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(line: str, message: str, tmp_path: Path) -> None:
    write_yolo(tmp_path, photos())
    with (tmp_path / "labels" / "train" / "train0.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(LongtailError, match=message):
        load_boxes(f"yolo:{tmp_path}", broken="refuse")
    data = load_boxes(f"yolo:{tmp_path}", broken="skip")
    assert boxes(data) == expected()
    assert any("1 broken annotations" in note for note in data.notes)


def test_twice_the_same_line_is_one_object_and_a_little_too_far_is_clipped(tmp_path: Path) -> None:
    write_yolo(tmp_path, photos())
    file = tmp_path / "labels" / "train" / "train0.txt"
    file.write_text("0 0 0 1.004 0 1.004 1 0 1\n0 0 0 1.004 0 1.004 1 0 1\n")
    data = load_boxes(f"yolo:{tmp_path}")
    width, height = photos()[0][2]
    assert boxes(data)["train0"] == [("bird", (0.0, 0.0, float(width), float(height)))]
    assert any("1 lines of the labels of train stand twice" in note for note in data.notes)
    assert any("1 objects of train reach a little out" in note for note in data.notes)


def test_labels_that_are_nowhere_are_not_taken_for_background(tmp_path: Path) -> None:
    write_yolo(tmp_path, photos())
    (tmp_path / "labels").rename(tmp_path / "annotated")
    with pytest.raises(LongtailError, match="none of the 6 photographs of train has a label file: looked in"):
        load_boxes(f"yolo:{tmp_path}")


def test_accents_of_either_form_find_their_labels(tmp_path: Path) -> None:
    write_yolo(tmp_path, photos())
    accents: tuple[tuple[str, str, Literal["NFD", "NFC"]], ...] = (("images", "png", "NFD"), ("labels", "txt", "NFC"))
    for folder, end, form in accents:
        file = tmp_path / folder / "train" / f"train0.{end}"
        file.rename(file.with_name(unicodedata.normalize(form, f"é.{end}")))
    own = boxes(load_boxes(f"yolo:{tmp_path}"))
    assert own[unicodedata.normalize("NFD", "é")] == expected()["train0"]


def test_two_photographs_of_one_label_file_are_named(tmp_path: Path) -> None:
    write_yolo(tmp_path, photos())
    Image.new("RGB", photos()[0][2]).save(tmp_path / "images" / "train" / "train0.jpg")
    with pytest.raises(LongtailError, match=r"train0.txt is of .*train0.jpg and of .*train0.png"):
        load_boxes(f"yolo:{tmp_path}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a]\n", "names no train"),
        ("train: images/train\n", "has no names of the classes"),
        ("train: images/train\nnames: [a, b]\nnc: 3\n", "has nc '3' and 2 names"),
        ("train: images/nowhere\nnames: [a]\n", "train is images/nowhere, and there is no"),
        (
            "train: images/train\nval: images/train\nnames: [bird, car, dog]\n",
            "photographs are in the train and in the",
        ),
        ("names: [a\n", "is no YAML"),
        ("- a\n", "holds no keys"),
        ("names: [[a]]\ntrain: images/train\n", "each of the names must be a text"),
    ],
)
def test_a_yaml_that_cannot_be_used_is_named(text: str, message: str, tmp_path: Path) -> None:
    write_yolo(tmp_path, photos())
    yaml(tmp_path, text)
    with pytest.raises(LongtailError, match=message):
        load_boxes(f"yolo:{tmp_path}")


# -- voc ---------------------------------------------------------------------------------------------------------------
def change(file: Path, *pairs: str) -> None:
    text = file.read_text()
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


@pytest.mark.parametrize("images", ["", "images"])
def test_xmls_in_folders_of_splits(images: str, tmp_path: Path) -> None:
    write_voc(tmp_path / "old", photos())
    for split, name, _, _ in photos():
        folder = tmp_path / "new" / ("valid" if split == "val" else split)
        for old, below in (("Annotations", "annotations" if images else ""), ("JPEGImages", images)):
            (folder / below).mkdir(parents=True, exist_ok=True)
            for file in (tmp_path / "old" / old).glob(f"{name}.*"):
                shutil.copy(file, folder / below)
    data = load_boxes(f"voc:{tmp_path / 'new'}")
    assert boxes(data) == expected()
    assert len(data.test) == 3


def test_the_lists_of_a_download_count_from_the_folder_above_it_too(tmp_path: Path) -> None:
    write_voc(tmp_path / "VOCdevkit" / "VOC2012", photos())
    data = load_boxes(f"voc:{tmp_path}")
    assert boxes(data) == expected()
    assert len(data.test) == 3
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", photos())
    with pytest.raises(LongtailError, match="has VOCdevkit/VOC2007, VOCdevkit/VOC2012: give one as voc:"):
        load_boxes(f"voc:{tmp_path}")


def test_coordinates_from_0_are_told_from_pixels_from_1(tmp_path: Path) -> None:
    write_voc(tmp_path, photos())
    file = tmp_path / "Annotations" / "train0.xml"
    change(file, "<xmin>3</xmin>", "<xmin>0</xmin>")
    data = load_boxes(f"voc:{tmp_path}")
    assert boxes(data)["train0"] == [("bird", (0.0, 4.0, 12.0, 20.0))]
    assert any("read as coordinates" in note for note in data.notes)


def test_difficult_objects_are_ignored_as_crowds_are(tmp_path: Path) -> None:
    write_voc(tmp_path, photos())
    change(tmp_path / "Annotations" / "train1.xml", "<difficult>0<", "<difficult>1<")
    data = load_boxes(f"voc:{tmp_path}")
    assert boxes(data)["train1"] == []
    assert any("2 objects of train are difficult" in note for note in data.notes)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            ("<annotation>", '<!DOCTYPE a [<!ENTITY x "y">]><annotation>'),
            "train0.xml cannot be read: it declares a document type",
        ),
        (("</annotation>", ""), "train0.xml is no XML"),
        (("<xmax>12</xmax>", ""), r"train0.xml object 1: 'no xmax' is no number"),
        (("<xmax>12</xmax>", "<xmax>2</xmax>"), r"annotation Annotations/train0.xml object 1 .*has no area"),
        (("<name>bird</name>", ""), "train0.xml object 1: it has no name"),
        (("<width>40</width>", "<width>41</width>"), "is 40 x 32 pixels"),
    ],
)
def test_an_xml_that_cannot_be_used_is_named(pairs: tuple[str, str], message: str, tmp_path: Path) -> None:
    write_voc(tmp_path, photos())
    change(tmp_path / "Annotations" / "train0.xml", *pairs)
    with pytest.raises(LongtailError, match=message):
        load_boxes(f"voc:{tmp_path}", broken="refuse")


def test_a_photograph_of_another_split_is_never_taken(tmp_path: Path) -> None:
    for folder in ("train", "val"):
        write_voc(tmp_path / "old", photos())
        (tmp_path / folder).mkdir()
        for split, name, _, _ in photos():
            if split == folder:
                number = name.removeprefix(split)
                for old, end in (("Annotations", "xml"), ("JPEGImages", "png")):
                    shutil.copy(tmp_path / "old" / old / f"{name}.{end}", tmp_path / folder / f"{number}.{end}")
        shutil.rmtree(tmp_path / "old")
    (tmp_path / "train" / "0.png").unlink()
    with pytest.raises(LongtailError, match=r"1 of 6 images of .* are missing on disk"):
        load_boxes(f"voc:{tmp_path}")


def test_a_name_in_a_list_without_its_xml_is_named(tmp_path: Path) -> None:
    write_voc(tmp_path, photos())
    (tmp_path / "Annotations" / "train2.xml").unlink()
    with pytest.raises(LongtailError, match=r"train.txt: 1 of its names have no XML, the first is train2"):
        load_boxes(f"voc:{tmp_path}")


# -- labelme -----------------------------------------------------------------------------------------------------------
def edit(file: Path, **shape: object) -> None:
    content = json.loads(file.read_text())
    content["shapes"][0] |= shape
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            {"shape_type": "circle"},
            "train0.json shape 1: the shape is a circle, and only rectangle and polygon are read",
        ),
        ({"points": [[1, 1], [2, 2]]}, "train0.json shape 1: a polygon of 2 points"),
        ({"points": [[1, 1], [2, 2], [None, 3]]}, "train0.json shape 1: 'None' is no number"),
        ({"label": None}, "train0.json shape 1: it has no label"),
    ],
)
def test_a_shape_that_cannot_be_used_is_named(shape: dict, message: str, tmp_path: Path) -> None:
    spec = write_labelme(tmp_path, photos())
    edit(tmp_path / "train0.json", **shape)
    with pytest.raises(LongtailError, match=message):
        load_boxes(spec, broken="refuse")
    assert boxes(load_boxes(spec))["train0"] == []


def test_shapes_of_one_group_are_one_object(tmp_path: Path) -> None:
    spec = write_labelme(tmp_path, photos())
    file = tmp_path / "train0.json"
    content = json.loads(file.read_text())
    content["shapes"] = [
        {"label": "bird", "shape_type": "polygon", "group_id": 1, "points": [[x, 2], [x + 4, 2], [x + 4, 8], [x, 8]]}
        for x in (2, 20)
    ]
    file.write_text(json.dumps(content))
    data = load_boxes(spec, masks=True)
    assert boxes(data)["train0"] == [("bird", (2.0, 2.0, 24.0, 8.0))]
    [entry] = [o for part in (data.train, data.val, data.test) for i, own in zip(part.images, part.objects, strict=True)
               if i["path"].endswith("train0.png") for o in own]  # fmt: skip
    assert entry["category_id"] == 1


def test_a_path_of_windows_and_splits_as_folders(tmp_path: Path) -> None:
    write_labelme(tmp_path / "old", photos())
    for split, name, _, _ in photos():
        for folder in ("labels", "pictures"):
            (tmp_path / split / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "old" / f"{name}.png", tmp_path / split / "pictures")
        content = json.loads((tmp_path / "old" / f"{name}.json").read_text())
        content["imagePath"] = f"..\\pictures\\{name}.png"
        (tmp_path / split / "labels" / f"{name}.json").write_text(json.dumps(content))
    shutil.rmtree(tmp_path / "old")
    data = load_boxes(f"labelme:{tmp_path}")
    assert boxes(data) == expected()
    assert len(data.test) == 3


def test_photographs_without_labels_are_told(tmp_path: Path) -> None:
    spec = write_labelme(tmp_path, photos())
    (tmp_path / "train0.json").unlink()
    data = load_boxes(spec)
    assert "train0" not in boxes(data)
    assert "1 photographs have no JSON of labelme and are left out: train0.png" in data.notes


# -- what lies about ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", LAYOUTS)
def test_thumbnails_of_disks_and_hidden_files_are_passed_over(layout: str, tmp_path: Path) -> None:
    spec = LAYOUTS[layout](tmp_path, photos())
    folders = [path for path in [tmp_path, *tmp_path.rglob("*")] if path.is_dir()]
    for folder in folders:
        for file in [path for path in folder.iterdir() if path.is_file()]:
            (folder / "@eaDir").mkdir(exist_ok=True)
            (folder / "@eaDir" / file.name).write_bytes(b"x")
            (folder / f"._{file.name}").write_bytes(b"x")
    assert boxes(load_boxes(spec)) == expected()


def test_what_is_not_there_is_one_line_for_every_reader(tmp_path: Path) -> None:
    for name in ("coco", "yolo", "voc", "labelme"):
        for place in (tmp_path / "nowhere", tmp_path):
            with pytest.raises(LongtailError) as error:
                load_boxes(f"{name}:{place}")
            assert str(tmp_path) in str(error.value)
            assert "\n" not in str(error.value)
    json.dumps(inspect_boxes(load_boxes(write_voc(tmp_path / "voc", photos()))))
