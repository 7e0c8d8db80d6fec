"""Data sets of Hugging Face: the splits, labels and pixels of a folder that ``save_to_disk`` wrote."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from longtail import LongtailError
from longtail.cli import main
from longtail.data import load_data, make_loader
from longtail.data.record import check_splits, record_splits

datasets = pytest.importorskip("datasets")

NAMES = ["corgi", "pug"]


def pixels(k: int) -> np.ndarray:
    return np.random.RandomState(k).randint(0, 256, (12, 10, 3), dtype=np.uint8)


def part(numbers: range, *, image: str = "image", label: str = "label", **more: Any) -> Any:
    """Every third picture is a corgi."""
    features = {image: datasets.Image(), label: datasets.ClassLabel(names=NAMES)}
    features |= {name: datasets.Value("string") for name in more}
    rows = {image: [Picture.fromarray(pixels(k)) for k in numbers], label: [int(k % 3 > 0) for k in numbers]}
    return datasets.Dataset.from_dict(rows | more, features=datasets.Features(features))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    whole = datasets.DatasetDict(train=part(range(24)), validation=part(range(100, 106)), test=part(range(200, 206)))
    whole.save_to_disk(str(tmp_path / "dogs"))
    return tmp_path / "dogs"


def test_splits_labels_and_pixels_are_those_that_were_saved(saved: Path) -> None:
    data = load_data(f"hf:{saved}")
    assert data.class_names == NAMES and data.val is not None
    for split, first in ((data.train, 0), (data.val, 100), (data.test, 200)):
        for row in range(len(split)):
            assert torch.equal(split.read(row).permute(1, 2, 0), torch.from_numpy(pixels(first + row)))
            assert split.labels[row] == int((first + row) % 3 > 0)


def test_a_part_alone_is_cut(tmp_path: Path) -> None:
    part(range(30), image="img", label="fine").save_to_disk(str(tmp_path / "dogs"))
    data = load_data(f"hf:{tmp_path / 'dogs'}")
    assert data.val is not None and len(data.train) + len(data.val) + len(data.test) == 30
    assert any("image is the column 'img', label the column 'fine'" in note for note in data.notes)
    keys = [set(split.images) for split in (data.train, data.val, data.test)]  # type: ignore[arg-type]
    assert len(set.union(*keys)) == 30


@pytest.mark.parametrize("train", [True, False])
def test_worker_processes_give_what_one_process_gives(saved: Path, train: bool) -> None:
    data = load_data(f"hf:{saved}")
    batches = [torch.arange(8), torch.tensor([23, 0, 9])]
    found = []
    for workers in (0, 2):
        loader = make_loader(data.train, data, image_size=8, train=train, workers=workers, seed=3)
        found.append(list(loader(batches, epoch=1)))
        loader.close()
    for (images, target), (others, same) in zip(*found, strict=True):
        assert torch.equal(images, others) and torch.equal(target, same)


def test_what_is_sent_to_a_worker_does_not_grow_with_the_data(saved: Path) -> None:
    """The tables are mapped from their files and not copied."""
    source = load_data(f"hf:{saved}").train.source
    assert len(pickle.dumps(source)) < 24 * 12 * 10 * 3


def test_a_run_knows_its_rows(saved: Path, tmp_path: Path) -> None:
    data = load_data(f"hf:{saved}")
    record = record_splits(data, "the run")
    again = load_data(f"hf:{saved}", record=record)
    assert again.train.images == data.train.images and check_splits(record, again) == []
    grown = datasets.DatasetDict(train=part(range(30)), validation=part(range(100, 106)), test=part(range(200, 206)))
    grown.save_to_disk(str(tmp_path / "grown"))
    more = load_data(f"hf:{tmp_path / 'grown'}", record=record)
    assert len(more.train) == 24 and check_splits(record, more) == []
    assert any("left out" in note and "train/24" in note for note in more.notes)
    other = datasets.DatasetDict(train=part(range(3, 27)), validation=part(range(100, 106)), test=part(range(200, 206)))
    other.save_to_disk(str(tmp_path / "other"))
    assert any(
        "24 files" in line for line in check_splits(record, load_data(f"hf:{tmp_path / 'other'}", record=record))
    )
    fewer = datasets.DatasetDict(train=part(range(20)), validation=part(range(100, 106)), test=part(range(200, 206)))
    fewer.save_to_disk(str(tmp_path / "fewer"))
    with pytest.raises(LongtailError, match="4 files of the run are missing, first train/20"):
        check_splits(record, load_data(f"hf:{tmp_path / 'fewer'}", record=record))


def test_it_trains_and_is_judged(saved: Path, tmp_path: Path) -> None:
    small = "--epochs 1 --image-size 16 --model lenet5 --device cpu --method cdb-w".split()
    assert main(["train", f"hf:{saved}", *small, "--out", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--split", "val"]) == 0
    assert main(["inspect", f"hf:{saved}", "--verify", "--out", str(tmp_path / "x.png")]) == 0


def test_other_labels_groups_and_answers_that_are_kept_back(tmp_path: Path) -> None:
    groups = [f"g{k // 6}" for k in range(36)]
    words = part(range(36), animal=groups).remove_columns("label")
    words = words.add_column("breed", [f"{k % 3}" for k in range(36)])
    words.save_to_disk(str(tmp_path / "words"))
    data = load_data(f"hf:{tmp_path / 'words'}", columns=("group=animal",))
    assert data.class_names == ["0", "1", "2"] and data.val is not None
    assert not set(data.train.groups or ()) & set(data.test.groups or ())
    hidden = part(range(6)).cast_column("label", datasets.Value("int64")).map(lambda row: row | {"label": -1})
    hidden = hidden.cast_column("label", datasets.ClassLabel(names=NAMES))
    datasets.DatasetDict(train=part(range(30)), test=hidden).save_to_disk(str(tmp_path / "hidden"))
    data = load_data(f"hf:{tmp_path / 'hidden'}")
    assert any("6 of 6 rows of test have no label" in note for note in data.notes) and len(data.test) == 6


def test_mistakes_are_one_clear_line(tmp_path: Path, saved: Path) -> None:
    datasets.Dataset.from_dict({"x": [[0.5, 1.0]], "label": ["a"]}).save_to_disk(str(tmp_path / "vectors"))
    datasets.DatasetDict(test=part(range(6)), extra=part(range(6))).save_to_disk(str(tmp_path / "tested"))
    two = (
        part(range(6)).add_column("copy", part(range(6))["label"]).cast_column("copy", datasets.ClassLabel(names=NAMES))
    )
    two.rename_column("label", "fine").save_to_disk(str(tmp_path / "two"))
    for spec, columns, message in [
        ("vectors", (), r"no column of images \(of x, label\): .*; vectors of features cannot be trained on"),
        ("tested", (), r"has no part called train \(it has test, extra\)"),
        ("two", (), "several columns that may be the label: fine, copy"),
        ("dogs", ("label=breed",), "has no column 'breed' in train"),
        ("dogs", ("image=label",), "the column 'label' holds no images"),
        ("dogs", ("split=label",), "ROLE is file, label, group"),
    ]:
        with pytest.raises(LongtailError, match=message):
            load_data(f"hf:{tmp_path / spec}", columns=columns)
    next((saved / "train").glob("*.arrow")).write_bytes(b"nothing")
    with pytest.raises(LongtailError, match="its folder is damaged"):
        load_data(f"hf:{saved}")


def test_a_name_without_the_network_is_one_clear_line(tmp_path: Path) -> None:
    words = ["-m", "longtail.cli", "inspect", "hf:someone/something"]
    import os

    own = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=own)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: hf:someone/something cannot be loaded") and "check the name and the network" in line


def test_without_a_network_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched before is still found; afterwards the libraries are as they were."""
    from huggingface_hub import constants

    seen: list[tuple[bool, bool]] = []

    def load_dataset(name: str) -> None:
        seen.append((datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE))  # pyright: ignore
        raise FileNotFoundError(name)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    before = (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)  # pyright: ignore
    for answers in (False, True):
        monkeypatch.setattr("longtail.data.huggingface.reachable", lambda url, answers=answers: answers)
        with pytest.raises(LongtailError, match="hf:someone/something cannot be loaded"):
            load_data("hf:someone/something")
    assert seen == [(True, True), before]
    assert before == (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)  # pyright: ignore
