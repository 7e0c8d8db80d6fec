"""``longtail embed``: the file holds what a run would see, and a run on it has the same splits, classes and groups."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data.pictures import fill
from longtail.cli import main
from longtail.data import load_data
from longtail.data.vectors import read_vectors


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    fill(root, {"cat": 12, "dog": 9})
    return root


@pytest.mark.parametrize(("ending", "features", "width"), [("npz", "levels", 5200), ("safetensors", "last", 1280)])
def test_features_are_written_with_splits_and_classes_and_trained_on(
    photos: Path, tmp_path: Path, ending: str, features: str, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cache = tmp_path / f"rows.{ending}", str(tmp_path / "cache")
    words = ["embed", f"folder:{photos}", "--image-size", "32", "--device", "cpu", "--feature-cache", cache]
    assert main([*words, "--features", features, "--group-by", "none", "--out", str(out)]) == 0
    assert f"rows of {width} numbers ({features} of timm/tf_efficientnet_lite0), 2 classes" in capsys.readouterr().out
    images, rows = load_data(f"folder:{photos}", group_by="none"), read_vectors(out)
    assert rows.x.shape == (21, width) and rows.class_names == ["cat", "dog"] and rows.name is not None
    for name in ("train", "val", "test"):
        part = getattr(images, name)
        own = [k for k, split in enumerate(rows.split or ()) if split == name]
        assert [rows.name[k] for k in own] == list(map(str, part.images))
        assert [rows.y[k] for k in own] == [images.class_names[c] for c in part.labels.tolist()]  # type: ignore[index]
    words = ["train", f"features:{out}", "--method", "ce", "--epochs", "2", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0


def test_the_same_picture_has_the_same_row(photos: Path, tmp_path: Path) -> None:
    found = []
    for name in ("one", "other"):
        words = ["embed", f"folder:{photos}", "--image-size", "32", "--device", "cpu"]
        out = tmp_path / f"{name}.npz"
        assert main([*words, "--feature-cache", str(tmp_path / name), "--out", str(out)]) == 0
        found.append(read_vectors(out))
    assert torch.equal(found[0].x, found[1].x) and found[0].name == found[1].name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "rows.txt"], "features are written as .npz"),
        ([], "--out is missing"),
        (["--out", "none/rows.npz"], "none"),
        (["--out", "rows.npz", "--weights", "gone.pth"], "gone.pth"),
    ],
)
def test_what_cannot_be_written_is_one_line_before_anything_is_computed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["embed", f"folder:{photos}", "--device", "cpu", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs" / "features").exists()


def test_boxes_are_not_embedded(tmp_path: Path, capsys) -> None:
    assert main(["embed", "shapes-lt", "--out", str(tmp_path / "rows.npz")]) == 2
    assert "holds no labelled images or clips to embed" in capsys.readouterr().err
