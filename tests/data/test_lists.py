"""List files with ``path label`` lines, as ImageNet-LT, Places-LT and iNaturalist publish them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from clear import assert_clear
from longtail.data import ImageData, Split, load_data
from longtail.errors import LongtailError


def draw(folder: Path, lines: list[str]) -> None:
    for line in lines:
        path = folder / line.rpartition(" ")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 8)).save(path)


def write(folder: Path, lines: dict[str, list[str]], images: Path | None = None) -> Path:
    for name, own in lines.items():
        draw(images or folder, own)
        (folder / f"{name}.txt").write_text("\n".join(own) + "\n")
    return folder


def rows(split: Split | None) -> list[tuple[str, int]]:
    assert split is not None
    return [(Path(str(path)).name, label) for path, label in zip(split.images, split.labels.tolist(), strict=True)]


THREE = {
    "train": ["x/a.jpg 0", "x/b b.jpg 0", "y/c.jpg 1"],
    "val": ["x/d.jpg 0", "y/e.jpg 1"],
    "test": ["y/f.jpg 1", "x/g.jpg 0"],
}


def check_three(data: ImageData) -> None:
    assert rows(data.train) == [("a.jpg", 0), ("b b.jpg", 0), ("c.jpg", 1)]
    assert rows(data.val) == [("d.jpg", 0), ("e.jpg", 1)] and rows(data.test) == [("f.jpg", 1), ("g.jpg", 0)]
    assert list(data.class_names) == ["x", "y"]


def test_paths_are_relative_to_the_folder_or_to_its_images_or_to_a_root(tmp_path: Path) -> None:
    for name, images in (("beside", ""), ("below", "images"), ("elsewhere", "../root")):
        folder = tmp_path / name
        folder.mkdir()
        write(folder, THREE, images=folder / images)
        check_three(load_data(f"lists:{folder}", root=folder / images if name == "elsewhere" else None))


def test_absolute_paths_tabs_blank_lines_and_byte_order_marks(tmp_path: Path) -> None:
    draw(tmp_path / "far", [line for lines in THREE.values() for line in lines])
    for name, lines in THREE.items():
        text = "\r\n\r\n".join(f"{tmp_path}/far/{line}".replace(".jpg ", ".jpg\t") for line in lines)
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8-sig", newline="")
    check_three(load_data(f"lists:{tmp_path}"))


def test_class_names_from_a_file_from_folders_or_from_numbers(tmp_path: Path) -> None:
    folder = write(tmp_path, {"train": ["p/a.jpg 0", "q/b.jpg 0", "p/c.jpg 1"] + [f"p/{i}.jpg 0" for i in range(9)]})
    assert list(load_data(f"lists:{folder}").class_names) == ["class 0", "class 1"]
    (folder / "classes.txt").write_text("a finch\nan owl\n")
    assert list(load_data(f"lists:{folder}").class_names) == ["a finch", "an owl"]
    (folder / "classes.txt").write_text("a finch\n")
    with pytest.raises(LongtailError, match=r"classes\.txt names 1 classes, but the lists have labels up to 1"):
        load_data(f"lists:{folder}")
    (folder / "classes.txt").write_text("a finch\nan owl\na wren\n")
    with pytest.raises(LongtailError, match="labels without an image in the train list: 2"):
        load_data(f"lists:{folder}")


def test_lists_without_val_and_test_are_cut(tmp_path: Path) -> None:
    write(tmp_path, {"train": [f"{i}.png {i % 3 // 2}" for i in range(60)]})
    data = load_data(f"lists:{tmp_path}")
    assert data.train.class_counts(2) == [26, 13] and data.test.class_counts(2) == [8, 4]
    assert data.val is not None and data.val.class_counts(2) == [6, 3]
    everything = sorted(name for part in (data.train, data.val, data.test) for name, _ in rows(part))
    assert everything == sorted(f"{i}.png" for i in range(60))


def test_lists_that_repeat_or_share_images_are_told(tmp_path: Path) -> None:
    lines = {"train": ["a.png 0", "b.png 1", "a.png 0"], "val": ["c.png 0"], "test": ["c.png 0", "d.png 1"]}
    notes = load_data(f"lists:{write(tmp_path, lines)}").notes
    assert "train.txt lists 1 images more than once: each is used once" in notes
    (told,) = [note for note in notes if note.startswith("LT001: ")]
    assert "1 images are in the val and in the test list: the test result is not independent" in told


WRONG: dict[str, tuple[dict[str, list[str]], str]] = {
    "no label": (
        {"train": ["a.png 0", "b.png"]},
        r"train\.txt line 2 is 'b\.png': it must be a path, a space and a label",
    ),
    "a label in words": ({"train": ["a.png cat"]}, "line 1 is 'a.png cat'"),
    "a broken label": ({"train": ["a.png 1.0"]}, "line 1"),
    "a negative label": ({"train": ["a.png -1"]}, "line 1"),
    "a gap": ({"train": ["a.png 0", "b.png 2", "c.png 2"]}, "labels without an image in the train list: 1"),
    "one class": ({"train": ["a.png 0", "b.png 0", "c.png 0"]}, "has one class only"),
    "a label only tested": ({"train": ["a.png 0", "e.png 0"], "test": ["b.png 1"]}, "train list: 1"),
    "a huge label": ({"train": ["a.png 0", "b.png 99999999999"]}, "labels up to 99999999999"),
    "two labels": ({"train": ["a.png 0", "b.png 1", "a.png 1"]}, r"gives .*a\.png two different labels, 0 and 1"),
    "a leak": (
        {"train": ["a.png 0", "b.png 0"], "test": ["b.png 0"]},
        "1 images are in the train and in the test list",
    ),
    "no lines": ({"train": []}, "has no lines"),
    "no train list": ({"test": ["a.png 0"]}, r"has no train\.txt \(it has test\.txt\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_clear_line(tmp_path: Path, case: str) -> None:
    lines, message = WRONG[case]
    for name, own in lines.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(own))
        draw(tmp_path, [f"{line.split()[0]} 0" for line in own])
    with pytest.raises(LongtailError, match=message) as caught:
        load_data(f"lists:{tmp_path}")
    assert_clear(caught.value)


def test_missing_images_are_counted_and_named(tmp_path: Path) -> None:
    write(tmp_path, THREE)
    (tmp_path / "x" / "a.jpg").unlink()
    (tmp_path / "y" / "c.jpg").unlink()
    (tmp_path / "images").mkdir()
    with pytest.raises(LongtailError, match=r"2 of the 3 images in .*train\.txt are missing, first .*x/a\.jpg"):
        load_data(f"lists:{tmp_path}")


def test_a_list_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(LongtailError, match=r"train\.txt cannot be read as text"):
        load_data(f"lists:{tmp_path}")


def test_imagenet_lt_from_the_public_lists(test_data: Path, tmp_path: Path) -> None:
    """The published lists and class counts, one picture for all images, and a training list to fit."""
    source = test_data / "imagenet_lt"
    counts = json.loads((source / "ImageNet_LT_train_class_counts.json").read_text())
    keep = 60
    wanted: dict[str, list[str]] = {"train": []}
    for split in ("val", "test"):
        lines = (source / f"ImageNet_LT_{split}.txt").read_text().split("\n")
        wanted[split] = [line for line in lines if line and int(line.split()[1]) < keep]
    for line in wanted["val"]:
        folder, label = line.rpartition("/")[0], int(line.split()[1])
        if not any(own.endswith(f" {label}") for own in wanted["train"]):
            wanted["train"] += [f"{folder}/t{i}.JPEG {label}" for i in range(max(1, counts[label] // 20))]
    for split, lines in wanted.items():
        (tmp_path / f"ImageNet_LT_{split}.txt").write_text("\n".join(lines))
    draw(tmp_path, [lines[0] for lines in wanted.values()])
    picture = (tmp_path / wanted["val"][0].split()[0]).read_bytes()
    for line in (line for lines in wanted.values() for line in lines):
        path = tmp_path / line.split()[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    data = load_data(f"imagenet-lt:{tmp_path}")
    assert data.num_classes == keep and re.fullmatch(r"n\d{8}", data.class_names[0])
    assert data.train.class_counts(keep) == [max(1, n // 20) for n in counts[:keep]]
    assert data.val is not None and data.val.class_counts(keep) == [20] * keep
    assert data.test.class_counts(keep) == [50] * keep
    assert data.crop_scale == (0.08, 1.0) and data.color_jitter == 0.4


def test_inat18_tests_on_its_val_list(tmp_path: Path) -> None:
    lists = tmp_path / "iNaturalist18"
    lists.mkdir()
    for split, n in (("train", 20), ("val", 3)):
        lines = [f"train_val2018/Aves/{c}/{split}{i}.jpg {c}" for c in range(3) for i in range(n)]
        draw(tmp_path, lines)
        (lists / f"iNaturalist18_{split}.txt").write_text("\n".join(lines))
    data = load_data(f"inat18:{tmp_path}")
    assert data.test.class_counts(3) == [3] * 3 and data.val is not None and data.val.class_counts(3) == [3] * 3
    assert torch.tensor(data.train.class_counts(3)).equal(torch.tensor([17] * 3))


def test_public_lists_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(LongtailError, match=r"has no Places_LT_train\.txt"):
        load_data(f"places-lt:{tmp_path}")
    with pytest.raises(LongtailError, match=r"inat18 was not found in .*gone"):
        load_data(f"inat18:{tmp_path / 'gone'}", download=True)
