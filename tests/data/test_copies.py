"""Byte copies of an image in two splits or under two classes are told when files are verified."""

from __future__ import annotations

import shutil
from pathlib import Path

from data.pictures import fill
from longtail.data import load_data
from longtail.inspection.images import describe_images


def notes(folder: Path) -> list[str]:
    return [line for line in describe_images(load_data(f"folder:{folder}"), verify=True) if "byte copies" in line]


def test_copies_across_splits_and_classes_are_told(tmp_path: Path) -> None:
    counts = {f"{part}/{c}": n for part, n in (("train", 6), ("val", 4), ("test", 3)) for c in ("cat", "dog")}
    fill(tmp_path, counts)
    assert notes(tmp_path) == []
    shutil.copy(tmp_path / "train" / "cat" / "0001.png", tmp_path / "test" / "cat" / "copy.png")
    shutil.copy(tmp_path / "train" / "dog" / "0000.png", tmp_path / "train" / "dog" / "copy.png")  # does no harm
    (told,) = notes(tmp_path)
    assert told.startswith("error LT001: ") and "1 images are in train and as byte copies in test" in told
    assert "test/cat/copy.png" in told
    shutil.copy(tmp_path / "train" / "cat" / "0002.png", tmp_path / "train" / "dog" / "other.png")
    told, mixed = notes(tmp_path)
    assert "1 images are under two classes" in mixed and "dog/other.png" in mixed
