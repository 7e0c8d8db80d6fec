"""Files of embeddings: three forms that tell the same, and one clear line for whatever is wrong in one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from clear import assert_clear
from longtail.data import load_data
from longtail.data.vectors import ENDINGS, check_ending, read_vectors, write_features
from longtail.errors import LongtailError


def content(n: int = 60) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    return {
        "x": draw.normal(size=(n, 5)).astype(np.float32),
        "y": np.asarray(["ash", "oak", "yew"])[np.arange(n) % 3],
        "split": np.asarray(["train"] * (n - 15) + ["test"] * 15),
        "group": np.asarray([f"tree {k // 2}" for k in range(n)]),
    }


def written(folder: Path, **changed: Any) -> Path:
    own = {k: v for k, v in (content() | changed).items() if v is not None}
    np.savez(folder / "rows.npz", **own)
    return folder / "rows.npz"


def test_rows_labels_splits_and_groups_are_read(tmp_path: Path) -> None:
    own = content()
    data = load_data(f"features:{written(tmp_path)}")
    assert data.class_names == ["ash", "oak", "yew"] and data.item == "row" and data.train.are_vectors
    assert data.val is not None and [len(data.train) + len(data.val), len(data.test)] == [45, 15]
    assert torch.equal(data.test.images, torch.from_numpy(own["x"][45:]))  # type: ignore[arg-type]
    assert data.test.labels.tolist() == [k % 3 for k in range(45, 60)]
    assert set(data.train.groups or ()).isdisjoint(data.val.groups or ())  # a group is on one side
    apart = load_data(f"features:{written(tmp_path)}", group_by="none")
    assert apart.train.groups is None
    alone = load_data(f"features:{written(tmp_path, split=None, group=None)}", data_seed=3)
    assert alone.val is not None and len(alone.train) + len(alone.val) + len(alone.test) == 60


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("grouped", [True, False])
def test_what_is_written_is_read_again(tmp_path: Path, ending: str, grouped: bool) -> None:
    data = load_data(f"features:{written(tmp_path, group=content()['group'] if grouped else None)}")
    rows = {name: getattr(data, name).images for name in ("train", "val", "test")}
    path = tmp_path / f"copy{ending}"
    write_features(path, data, rows)
    again = load_data(f"features:{path}")
    assert again.class_names == data.class_names
    for name in rows:
        one, other = getattr(data, name), getattr(again, name)
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
        assert (one.groups or None) == (other.groups or None)


def test_labels_are_numbers_in_their_order_or_names(tmp_path: Path) -> None:
    numbers = np.asarray([10, 9, 200] * 20)
    assert load_data(f"features:{written(tmp_path, y=numbers, group=None)}").class_names == ["9", "10", "200"]
    index = np.arange(60) % 3
    named = load_data(f"features:{written(tmp_path, y=index, class_names=np.asarray(['c', 'b', 'a']))}")
    assert named.class_names == ["c", "b", "a"] and named.test.labels.tolist() == [k % 3 for k in range(45, 60)]
    for y in (np.asarray(["10", "9", "200"] * 20), np.asarray([b"10", b"9", b"200"] * 20)):
        assert load_data(f"features:{written(tmp_path, y=y)}").class_names == ["9", "10", "200"]


def test_equal_rows_in_two_splits_or_under_two_labels_are_told(tmp_path: Path) -> None:
    x = content()["x"]
    x[59], x[1] = x[0], x[0]  # row 0 is ash, row 1 oak; row 59 is a test row
    notes = load_data(f"features:{written(tmp_path, x=x, split=content()['split'])}").notes
    assert any(note.startswith("LT001") and "1 rows of train are in test" in note for note in notes)
    assert any(note.startswith("LT002") and "row 0 (ash, oak, yew)" in note for note in notes)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"x": None}, "has no x"),
    ({"y": None}, "has no y"),
    ({"x": np.zeros(60)}, r"x must be numbers \[N, D\], not float64 \[60\]"),
    ({"x": np.zeros((60, 0))}, r"not float64 \[60, 0\]"),
    ({"x": np.zeros((60, 3), complex)}, "not complex128"),
    ({"x": np.full((60, 3), np.nan)}, "60 rows of x hold NaN, infinity or numbers beyond float32, first row 0"),
    ({"x": np.full((60, 3), 1e300)}, "beyond float32"),
    ({"y": np.arange(59)}, r"y has shape \[59\], x has 60 rows"),
    ({"y": np.zeros(60)}, "y must be whole numbers or text, not float64"),
    ({"y": np.full(60, -1)}, "y holds -1"),
    ({"y": np.asarray([""] * 60)}, "60 rows have an empty label"),
    ({"y": np.asarray(["a", 3] * 30, dtype=object)}, "y holds Python objects"),
    ({"y": np.arange(60) % 3, "class_names": np.asarray(["a", "b"])}, "y must be whole numbers from 0 to 1"),
    ({"class_names": np.asarray(["ash", "oak"])}, "labels that are not in class_names: yew"),
    ({"class_names": np.asarray(["ash", "oak", "oak"])}, "class_names must be different texts"),
    ({"split": np.asarray(["fold 1"] * 60)}, "split must be train, val, test or select in each row, not fold 1"),
    ({"split": np.asarray(["test"] * 60)}, "no row has the split train"),
    ({"split": np.asarray(["train"] * 30)}, r"split has shape \[30\]"),
    ({"y": np.asarray(["ash"] * 45 + ["yew"] * 15)}, "classes without a training row: yew"),
    ({"y": np.asarray(["ash"] * 60)}, "one class only"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_what_is_wrong_in_a_file_is_one_clear_line(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(LongtailError, match=message) as caught:
        load_data(f"features:{written(tmp_path, **changed)}")
    assert_clear(caught.value)


def test_a_class_of_one_row_trains_as_a_whole_and_is_named(tmp_path: Path) -> None:
    y = np.asarray(["ash", "oak"] * 30)
    y[0] = "elm"
    data = load_data(f"features:{written(tmp_path, y=y, group=None)}")
    assert data.train.class_counts(3)[1] == 1
    assert any("too small to be split" in note and "elm" in note for note in data.notes)


@pytest.mark.parametrize("group_by", ["auto", r"\d+"])
def test_a_pattern_means_nothing_to_rows(tmp_path: Path, group_by: str) -> None:
    with pytest.raises(LongtailError, match="give them in group") as caught:
        load_data(f"features:{written(tmp_path)}", group_by=group_by)
    assert_clear(caught.value)


def test_files_that_are_none_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    save_file(
        {"x": torch.zeros(4, 2), "y": torch.zeros(4, dtype=torch.int64)},
        tmp_path / "names.safetensors",
        {"class_names": "{}"},
    )
    for name, message in (
        ("none.npz", "does not exist"),
        ("rows.txt", "must end in .npz, .safetensors, .parquet"),
        ("folder.npz", "is a folder"),
        ("bad.npz", "cannot be read"),
        ("bad.parquet", "cannot be read"),
        ("names.safetensors", "must be a JSON list"),
    ):
        with pytest.raises(LongtailError, match=message) as caught:
            read_vectors(tmp_path / name)
        assert_clear(caught.value)


def test_without_pyarrow_one_line_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LongtailError, match="pip install pyarrow"):
        read_vectors(tmp_path / "rows.parquet")
    with pytest.raises(LongtailError, match="pip install pyarrow"):
        check_ending(tmp_path / "out.parquet")


def test_half_precision_and_splits_as_numbers_are_read(tmp_path: Path) -> None:
    tensors = {"x": torch.randn(12, 3).bfloat16(), "y": torch.arange(12) % 2, "split": torch.tensor([0] * 8 + [2] * 4)}
    save_file(tensors, tmp_path / "half.safetensors", {"class_names": json.dumps(["no", "yes"])})
    own = read_vectors(tmp_path / "half.safetensors")
    assert torch.equal(own.x, tensors["x"].float()) and own.split == ["train"] * 8 + ["test"] * 4
    assert own.y == ["no", "yes"] * 6
