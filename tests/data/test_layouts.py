"""Folders that are nearly a layout that we know: read as what they mean, or refused in a line that says what to do."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pytest

from data.pictures import by_class, files, fill
from longtail.data import load_data
from longtail.data.layout import split_roles
from longtail.errors import LongtailError

CLASSES = {"cat": 8, "dog": 6}


def splits(train: str = "train", val: str = "", test: str = "", inside: str = "") -> dict[str, int]:
    """Pictures of `CLASSES` below folders of these names; half as many in ``val``, a third in ``test``."""
    parts = {train: 1, val: 2, test: 3}
    return {f"{part}/{inside}{c}": n // k for part, k in parts.items() if part for c, n in CLASSES.items()}


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "", "Test"),
        ("TRAINING", "", "TESTING"),
        ("training", "", "testing"),
        ("train", "Validation", "Testing"),
        ("Training", "valid", "test"),
        ("training_set", "validation_set", "test_set"),
        ("Training Set", "Dev Set", "Test Set"),
        ("trainset", "valset", "testset"),
        ("train_images", "", "test_images"),
        ("seg_train", "", "seg_test"),
        ("train2017", "val2017", "test2017"),
        ("01_train", "02_val", "03_test"),
        ("leaves-train", "leaves-val", "leaves-test"),
    ],
)
def test_splits_are_known_in_any_case_and_by_the_usual_spellings(tmp_path: Path, names: tuple[str, str, str]) -> None:
    data = load_data(f"folder:{fill(tmp_path, splits(*names))}")
    assert list(data.class_names) == ["cat", "dog"]
    assert by_class(data, data.test) == {c: n // 3 for c, n in CLASSES.items()}
    if names[1]:
        assert by_class(data, data.train) == CLASSES
        assert by_class(data, data.val) == {c: n // 2 for c, n in CLASSES.items()}
    assert all(f"/{names[2]}/" in file for file in files(data.test))


@pytest.mark.parametrize(
    "names",
    [["train_station", "bus_station"], ["trainer", "tester"], ["test_tube", "flask"], ["contest", "strain", "valley"]],
)
def test_names_that_hold_such_a_word_are_classes(tmp_path: Path, names: list[str]) -> None:
    assert split_roles(names) == {}
    data = load_data(f"folder:{fill(tmp_path, {f'{name}/deeper': 6 for name in names})}")
    assert list(data.class_names) == sorted(names)


def test_a_folder_beside_the_splits_is_named(tmp_path: Path) -> None:
    data = load_data(f"folder:{fill(tmp_path, splits('train', test='Testing') | {'sketches/x': 3})}")
    assert by_class(data, data.test) == {"cat": 2, "dog": 2} and list(data.class_names) == ["cat", "dog"]
    assert "ignored beside the splits: sketches" in data.notes


def test_a_test_folder_without_classes_is_told_and_not_used(tmp_path: Path) -> None:
    data = load_data(f"folder:{fill(tmp_path, splits() | {'Test': 5})}")
    assert list(data.class_names) == ["cat", "dog"] and all("/train/" in file for file in files(data.test))
    assert any("Test has 5 images and no class folders" in note and "not used" in note for note in data.notes)


def test_images_outside_of_every_class_are_counted(tmp_path: Path) -> None:
    data = load_data(f"folder:{fill(tmp_path, splits(val='val', test='test') | {'train': 4, '.': 1})}")
    assert by_class(data, data.train) == CLASSES
    assert f"4 images lie in {tmp_path}/train itself and so in no class: they are left out" in data.notes
    assert f"1 images lie in {tmp_path} itself and so in no class: they are left out" in data.notes


REFUSED: dict[str, tuple[Mapping[str, int], str]] = {
    "no class folders": ({"train": 6, "test": 6}, r"without class folders.*make a folder for each class inside"),
    "no class folders, other names": ({"Training": 6, "validation": 6}, "without class folders"),
    "one split without class folders": ({"train": 6}, "without class folders"),
    "beside annotations": ({"train": 6, "test": 6, "labels": 0}, "without class folders"),
    "a train part in two": ({"Train/a": 3, "training/a": 3, "test/a": 1}, "both Train and training: keep one"),
    "val and valid": ({"train/a": 3, "Val/a": 1, "valid/a": 1}, "both Val and valid: keep one as the validation"),
    "a wrapper": (splits("photos/train", test="photos/test"), r"one class only, photos: give .*/photos"),
    "a wrapper of classes": ({"photos/a": 3, "photos/b": 3}, r"one class only, photos: give .*/photos"),
    "a wrapper beside labels": ({"images/a": 3, "images/b": 3, "labels": 0}, r"labels; .* or give .*/images"),
    "one level deeper": (splits("train", test="test", inside="x/"), "one folder only, x, and the class folders"),
    "split names twice": (splits("train/train", test="test/test"), "one folder only, train, and the class"),
    "splits inside the classes": (
        {f"{c}/{part}": 4 for c in ("cat", "dog", "fox") for part in ("train", "test")},
        r"splits inside each class \(cat/(train|test)\)",
    ),
    "splits in another language": (
        {f"{part}/{c}": 4 for part in ("Lernen", "Prüfen") for c in "abcd"},
        r"Lernen, Prüfen hold the same folders \(a, b, c, d\), which look like the classes",
    ),
    "train, and a split of an unknown name": (splits("train", "held back"), "beside it held back with images"),
    "a class train with folders inside": ({"train/steam": 4, "train/diesel": 4, "bus": 4}, "beside it bus with images"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_told_is_refused(tmp_path: Path, case: str) -> None:
    counts, message = REFUSED[case]
    fill(tmp_path, counts)
    with pytest.raises(LongtailError, match=message):
        load_data(f"folder:{tmp_path}")


def test_folders_in_classes_stay_allowed(tmp_path: Path) -> None:
    data = load_data(
        f"folder:{fill(tmp_path, {f'{c}/{when}': 4 for c in ('cat', 'dog') for when in ('day', 'night')})}"
    )
    assert list(data.class_names) == ["cat", "dog"]
    assert "all of cat, dog hold the same folders (day, night): the outer ones are the classes" in data.notes


def test_one_class_name_in_two_forms_of_unicode(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "avión") for form in ("NFC", "NFD"))
    assert composed != apart
    fill(tmp_path, {f"train/{composed}": 6, "train/cat": 6, f"test/{apart}": 2, "test/cat": 3, f"val/{apart}": 1})
    data = load_data(f"folder:{tmp_path}")
    assert list(data.class_names) == [composed, "cat"] and by_class(data, data.test) == {composed: 2, "cat": 3}
    assert sum("another form of Unicode" in note and composed in note for note in data.notes) == 2
    fill(tmp_path, {f"train/{apart}": 5})
    data = load_data(f"folder:{tmp_path}")
    assert by_class(data, data.train) == {composed: 11, "cat": 6}
