"""Counts from the lists of a published data set whose images or clips are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from longtail.cli import main


def test_egtea_without_a_clip_tells_its_counts_and_what_is_missing(
    test_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", f"egtea:{test_data / 'egtea'}", "--out", str(tmp_path / "x.png")]) == 2
    out, err = capsys.readouterr()
    assert "19 classes, 10321 clips, by its lists" in out
    for split, clips in (("train", 6372), ("val", 1927), ("test", 2022)):
        assert f"{split:<7}{clips:>8} clips" in out
    assert err.startswith("error: 10321 of the 10321 clips of EGTEA's lists are missing") and err.count("\n") == 1


def test_lists_of_images_tell_their_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, each in (("train", (120, 30, 3)), ("val", (5, 5, 5)), ("test", (9, 9, 0))):
        lines = [f"{split}/{c}_{k}.jpg {c}" for c, n in enumerate(each) for k in range(n)]
        (tmp_path / f"ImageNet_LT_{split}.txt").write_text("\n".join(lines))
    assert main(["inspect", f"imagenet-lt:{tmp_path}"]) == 2
    out, err = capsys.readouterr()
    assert "3 classes, 186 images, by its lists" in out and "imbalance 40.0" in out
    assert "many: 1 classes (120 images), medium: 1 classes (30 images), few: 1 classes (3 images)" in out
    assert f"{'test':<7}{18:>8} images, 0 to 9 a class; none of 1 classes" in out
    assert "153 of the 153 images in" in err and "are missing" in err


def test_a_data_set_without_lists_tells_the_error_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", f"places-lt:{tmp_path}"]) == 2
    out, err = capsys.readouterr()
    assert "by its lists" not in out and "has no Places_LT_train.txt" in err
