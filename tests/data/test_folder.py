"""Folders of image files: the forms in which people have them, and what can be wrong with them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from clear import assert_clear
from data.pictures import by_class, files, fill
from longtail.data import inspect_data, load_data
from longtail.errors import LongtailError


def test_photographs_without_splits(photos: Path) -> None:
    data = load_data(f"folder:{photos}")
    there = {c.name: len(list(c.iterdir())) for c in photos.iterdir()}
    assert list(data.class_names) == sorted(there)
    parts = [data.train, data.val, data.test]
    everything = [path for part in parts for path in files(part)]
    assert sorted(everything) == sorted(str(path) for path in photos.glob("*/*"))
    for part in parts:  # the label is the folder
        assert part is not None
        for path, label in zip(files(part), part.labels.tolist(), strict=True):
            assert Path(path).parent.name == data.class_names[label]
    train, val, test = (by_class(data, part) for part in parts)
    for name, n in there.items():
        assert (val.get(name, 0), test.get(name, 0)) == (
            (max(1, int(0.15 * n + 0.5)), max(1, int(0.2 * n + 0.5))) if n > 2 else (0, 0)
        )
        assert train[name] >= 1
    small = sorted(name for name, n in there.items() if n < 3)
    assert any(
        note.startswith(f"{len(small)} classes with fewer than 3 images") and small[0] in note for note in data.notes
    )
    assert inspect_data(data)["splits"]["val"]["absent"] == small


def test_the_data_seed_picks_other_files_and_as_many(photos: Path) -> None:
    one, again, other = (load_data(f"folder:{photos}", data_seed=seed) for seed in (0, 0, 1))
    assert files(one.test) == files(again.test) and files(one.val) == files(again.val)
    assert files(one.test) != files(other.test)
    assert by_class(one, one.test) == by_class(other, other.test)


def test_given_splits_are_kept(tmp_path: Path) -> None:
    fill(tmp_path, {f"{split}/{c}": n for split, n in (("train", 4), ("val", 2), ("test", 3)) for c in "ab"})
    data = load_data(f"folder:{tmp_path}")
    for name, part, n in (("train", data.train, 4), ("val", data.val, 2), ("test", data.test, 3)):
        assert by_class(data, part) == {"a": n, "b": n}
        assert all(f"/{name}/" in path for path in files(part))
    assert not data.notes


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_without_test_the_given_val_is_the_test_split(tmp_path: Path, name: str) -> None:
    fill(tmp_path, {"train/a": 20, "train/b": 1, f"{name}/a": 2, f"{name}/b": 3})
    data = load_data(f"folder:{tmp_path}")
    assert by_class(data, data.test) == {"a": 2, "b": 3} and all(f"/{name}/" in path for path in files(data.test))
    assert by_class(data, data.val) == {"a": 3} and all("/train/" in path for path in files(data.val))
    assert by_class(data, data.train) == {"a": 17, "b": 1}
    assert "the given val split is the test split" in data.notes[0]
    assert data.notes[1].startswith("1 classes with fewer than 2 images") and data.notes[1].endswith(": b")


def test_with_train_and_test_only_val_is_cut(tmp_path: Path) -> None:
    fill(tmp_path, {"train/a": 10, "train/b": 10, "test/a": 2, "test/b": 3})
    data = load_data(f"folder:{tmp_path}", val_fraction=0.4)
    assert by_class(data, data.val) == {"a": 4, "b": 4} and by_class(data, data.test) == {"a": 2, "b": 3}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill(tmp_path, {"train": 5, "truck": 5, "test": 5})
    data = load_data(f"folder:{tmp_path}")
    assert list(data.class_names) == ["test", "train", "truck"]


def test_a_selection_split_is_cut_apart(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 30, "b": 10, "c": 3})
    data = load_data(f"folder:{tmp_path}", select_fraction=0.1)
    assert by_class(data, data.select) == {"a": 3, "b": 1}
    assert by_class(data, data.train)["c"] == 3 and "c" in data.notes[0]
    parts = [set(files(part)) for part in (data.train, data.val, data.test, data.select)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 43


def test_imbalance_thins_the_training_split_in_the_order_of_class_sizes(tmp_path: Path) -> None:
    fill(tmp_path, {"train/a": 10, "train/b": 40, "train/c": 40, "test/a": 2, "val/a": 2})
    data = load_data(f"folder:{tmp_path}", imbalance=4)
    assert by_class(data, data.train) == {"a": 10, "b": 40, "c": 20}
    data = load_data(f"folder:{tmp_path}", imbalance=100)
    assert by_class(data, data.train) == {"a": 1, "b": 40, "c": 4}
    assert "the training imbalance is 40, not the 100 asked for" in " ".join(data.notes)
    data = load_data(f"folder:{tmp_path}", imbalance=1)
    assert by_class(data, data.train) == {"a": 10, "b": 40, "c": 40}
    assert any("classes without a test image: b, c" in note for note in data.notes)


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4, "b/deeper": 2, ".cache": 3})
    (tmp_path / "a" / "._0000.png").write_bytes(b"not a picture")
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "b" / "photo.HEIC").write_bytes(b"x")
    (tmp_path / "readme.md").write_text("x")
    data = load_data(f"folder:{tmp_path}")
    assert list(data.class_names) == ["a", "b"]
    assert len(data.train) + len(data.val or ()) + len(data.test) == 10
    assert Counter(data.notes)["2 files are not images and were ignored (1 .txt, 1 .heic)"] == 1


def test_links_to_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    fill(tmp_path / "real", {"a": 4, "b": 4})
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a").symlink_to(tmp_path / "real" / "a")
    (tmp_path / "linked" / "b").symlink_to(tmp_path / "real" / "b")
    assert len(load_data(f"folder:{tmp_path / 'linked'}").train) == 4
    (tmp_path / "real" / "a" / "loop").symlink_to(tmp_path / "real" / "a")
    data = load_data(f"folder:{tmp_path / 'linked'}")
    assert len(data.train) + len(data.val or ()) + len(data.test) == 8


def test_names_that_are_not_utf8_are_readable(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    os.rename(tmp_path / "a", os.fsencode(tmp_path) + b"/caf\xe9")
    data = load_data(f"folder:{tmp_path}")
    assert list(data.class_names) == ["b", "caf\N{REPLACEMENT CHARACTER}"]


WRONG: dict[str, tuple[dict[str, int], str]] = {
    "no class folders": ({}, "has no class folders"),
    "one class": (
        {"photos/a": 3, "photos/b": 3},
        "has one class only, photos: give the folder above the class folders",
    ),
    "an empty class": ({"a": 3, "b": 0}, "a class with no image in .*: b; add images or remove the folder"),
    "an empty training class": ({"train/a": 3, "train/b": 0, "test/a": 1}, "a class with no image in .*train: b"),
    "an unknown class": ({"train/a": 3, "test/a": 1, "test/z": 1}, "test has classes that .*train lacks: z"),
    "no training part": ({"val/a": 3, "test/a": 3}, "no train folder"),
    "two validation parts": ({"train/a": 3, "val/a": 1, "valid/a": 1}, "both val and valid"),
    "an empty test part": ({"train/a": 3, "test/a": 0}, "test has no images"),
    "too few images": ({"a": 2, "b": 1}, "no class has the 3 images"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_clear_line(tmp_path: Path, case: str) -> None:
    counts, message = WRONG[case]
    fill(tmp_path, counts)
    with pytest.raises(LongtailError, match=message) as caught:
        load_data(f"folder:{tmp_path}")
    assert_clear(caught.value)


def test_a_class_of_unreadable_formats_says_so(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 0})
    (tmp_path / "b" / "IMG_0001.HEIC").write_bytes(b"x")
    with pytest.raises(LongtailError, match=r"no image in .*: b \(not read as images: 1 \.heic\); add images"):
        load_data(f"folder:{tmp_path}")


def test_a_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(LongtailError, match=r"a\.zip is not a folder: unpack it first"):
        load_data(f"folder:{tmp_path / 'a.zip'}")
    with pytest.raises(LongtailError, match="gone is not a folder: check the path"):
        load_data(f"folder:{tmp_path / 'gone'}")
    with pytest.raises(LongtailError, match="folder needs a path"):
        load_data("folder")


def test_a_damaged_file_is_found_before_training(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "b" / "0001.png").write_bytes((tmp_path / "b" / "0002.png").read_bytes()[:50])
    with pytest.raises(LongtailError, match=r"b/0001\.png cannot be read as an image"):
        load_data(f"folder:{tmp_path}")
