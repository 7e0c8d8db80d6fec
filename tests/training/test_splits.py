"""A run is continued, judged and repeated on the splits that it began with, whatever happens to its data since."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from commands import run
from detection.pictures import write_pictures
from longtail.cli import main
from longtail.data import record
from longtail.data.digests import digest_in_memory
from longtail.errors import LongtailError
from longtail.training.apply import evaluate
from longtail.training.config import RunConfig
from longtail.training.run import train
from training.folders import DIGITS, FIRST_CHECKPOINT

SMALL = (
    "--method ce --model lenet5 --image-size 16 --epochs 2 --batch-size 8 --lr 0.05 --device cpu --workers 0".split()
)
COLOURS = {"cat": (220, 30, 30), "dog": (30, 220, 30), "elk": (30, 30, 220)}


def photo(path: Path, colour: tuple[int, int, int], shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), tuple((c + 5 * shade) % 256 for c in colour)).save(path)  # pyright: ignore


def as_folder(home: Path) -> str:
    for name, colour in COLOURS.items():
        for i in range(10):
            photo(home / name / f"{i:02d}.png", colour, i)
    return f"folder:{home}"


def as_lists(home: Path) -> str:
    as_folder(home / "images")
    files = sorted((home / "images").rglob("*.png"))
    lines = [f"{f.relative_to(home)} {list(COLOURS).index(f.parent.name)}" for f in files]
    (home / "train.txt").write_text("\n".join(lines))
    return f"lists:{home}"


def as_clips(home: Path) -> str:
    for name, colour in COLOURS.items():
        for i in range(8):
            for frame in range(3):
                photo(home / name / f"clip{i}" / f"{frame}.png", colour, i + frame)
    return f"clips:{home}"


def add_to_folder(home: Path) -> None:
    for name, colour in COLOURS.items():
        photo(home / name / "a_new.png", colour, 40)  # sorts first, so that other photographs would be drawn


def add_to_lists(home: Path) -> None:
    add_to_folder(home / "images")
    lines = [f"images/{name}/a_new.png {c}" for c, name in enumerate(COLOURS)]
    (home / "train.txt").write_text("\n".join([*lines, (home / "train.txt").read_text()]))


def add_to_clips(home: Path) -> None:
    for name, colour in COLOURS.items():
        photo(home / name / "a_new" / "0.png", colour, 40)


KINDS: dict[str, Any] = {
    "folder": (as_folder, add_to_folder, ""),
    "lists": (as_lists, add_to_lists, "images/"),
    "clips": (as_clips, add_to_clips, ""),
}


def words(kind: str, spec: str) -> list[str]:
    video = "--task video --model small3d --frames 2".split() if kind == "clips" else []
    return ["train", spec, *SMALL, *video]


def splits_of(folder: Path) -> list[tuple[str, str]]:
    with gzip.open(folder / "splits.csv.gz", "rt", newline="") as lines:
        return [(row["split"], row["file"]) for row in csv.DictReader(lines)]


@dataclasses.dataclass
class Finished:
    kind: str
    home: Path
    folder: Path
    words: list[str]

    @property
    def metrics(self) -> dict[str, Any]:
        return json.loads((self.folder / "metrics.json").read_text())

    def file(self, split: str, place: int = 0) -> Path:
        own = [file for name, file in splits_of(self.folder) if name == split]
        return self.home / own[place]


@pytest.fixture(scope="module", params=list(KINDS))
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    home = tmp_path_factory.mktemp(request.param)
    command = words(request.param, KINDS[request.param][0](home / "data"))
    assert main([*command, "--out", str(home / "run")]) == 0
    return Finished(request.param, home / "data", home / "run", command)


@pytest.fixture
def finished(original: Finished, tmp_path: Path) -> Finished:
    """Data and run in a place of their own, so that they can be harmed."""
    shutil.copytree(original.home.parent, tmp_path / "copy")
    home, folder = tmp_path / "copy" / "data", tmp_path / "copy" / "run"
    text = (folder / "config.json").read_text().replace(str(original.home), str(home))
    (folder / "config.json").write_text(text)
    return Finished(original.kind, home, folder, words(original.kind, f"{original.kind}:{home}"))


def killed(finished: Finished) -> list[str]:
    """The same run, dead after its first checkpoint; the command that continues it."""
    shutil.rmtree(finished.folder)
    command = [*finished.words, "--out", str(finished.folder)]
    assert run(command, die_at=FIRST_CHECKPOINT).wait() == -9
    return command


def test_files_that_are_added_do_not_change_what_is_judged(finished: Finished) -> None:
    before = {split: evaluate(finished.folder, split=split, device="cpu") for split in ("test", "val", "train")}
    assert before["test"] == finished.metrics["test"]
    KINDS[finished.kind][1](finished.home)
    photo(finished.home / ("images/bee" if finished.kind == "lists" else "a-bee") / "x" / "0.png", (0, 0, 0))  # a class
    for split, metrics in before.items():
        notes: list[str] = []
        assert evaluate(finished.folder, split=split, device="cpu", note=notes.append) == metrics
        (note,) = notes
        assert "left out" in note and "a_new" in note


def test_what_the_long_tail_left_out_is_not_new(tmp_path: Path) -> None:
    spec, notes = as_folder(tmp_path / "data"), list[str]()
    config = RunConfig(
        data=spec, model="lenet5", image_size=16, epochs=1, batch_size=8, lr=0.05, imbalance=3, workers=0, device="cpu"
    )
    metrics = train(config, tmp_path / "run")
    assert sum(split == "unused" for split, _ in splits_of(tmp_path / "run")) > 0
    assert len(set(splits_of(tmp_path / "run"))) == 30
    assert evaluate(tmp_path / "run", device="cpu", note=notes.append) == metrics["test"] and not notes
    add_to_folder(tmp_path / "data")
    assert evaluate(tmp_path / "run", device="cpu", note=notes.append) == metrics["test"]
    (note,) = notes
    assert "(3 in all)" in note and note.count("a_new.png") == 3


def test_what_is_missing_is_named_and_what_is_changed_is_told(finished: Finished, capsys) -> None:
    trained_on, judged = finished.file("train"), finished.file("test")
    command = ["evaluate", str(finished.folder), "--device", "cpu"]
    if finished.kind != "lists":  # whose reader asks for every file
        os.rename(trained_on, trained_on.with_name("renamed" + trained_on.suffix))
        assert evaluate(finished.folder, device="cpu", note=lambda _: None) == finished.metrics["test"]
    picture = judged / "1.png" if finished.kind == "clips" else judged
    photo(picture, (1, 2, 3))
    capsys.readouterr()
    assert main(command) == 0
    assert "1 files have another content" in capsys.readouterr().err
    os.rename(judged, judged.with_name("gone" + judged.suffix))
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and str(judged) in line and "missing" in line


def test_a_run_goes_on_with_its_own_splits(finished: Finished, original: Finished, capsys) -> None:
    command = killed(finished)
    KINDS[finished.kind][1](finished.home)
    assert main(command) == 0
    assert "left out" in capsys.readouterr().out
    assert finished.metrics == original.metrics
    assert splits_of(finished.folder) == splits_of(original.folder)


@pytest.mark.parametrize("harm", ["rename", "change"])
def test_a_run_whose_data_are_not_what_they_were_is_refused(finished: Finished, harm: str, capsys) -> None:
    command = killed(finished)
    file = finished.file("train", 3)
    if harm == "rename":
        os.rename(file, file.with_name("other" + file.suffix))
    else:
        photo(file / "0.png" if finished.kind == "clips" else file, (9, 9, 9))
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and file.name in line
    assert not (finished.folder / "metrics.json").exists()


def test_files_that_are_only_touched_are_the_same(finished: Finished, original: Finished) -> None:
    command = killed(finished)
    for file in finished.home.rglob("*.png"):
        os.utime(file)
    assert main(command) == 0
    assert finished.metrics == original.metrics


def test_the_configuration_file_repeats_the_run(finished: Finished, original: Finished, tmp_path: Path) -> None:
    KINDS[finished.kind][1](finished.home)
    config = str(finished.folder / "config.json")
    assert main(["train", "--config", config, "--out", str(tmp_path / "again")]) == 0
    assert splits_of(tmp_path / "again") == splits_of(original.folder)
    assert json.loads((tmp_path / "again" / "metrics.json").read_text()) == original.metrics
    assert main(["train", "--config", config, "--data-seed", "7", "--out", str(tmp_path / "other")]) == 0
    assert {file for _, file in splits_of(tmp_path / "other")} > {file for _, file in splits_of(original.folder)}


def test_another_label_in_a_list_is_refused(tmp_path: Path, capsys) -> None:
    command = [*words("lists", as_lists(tmp_path / "data")), "--out", str(tmp_path / "run")]
    assert main(command) == 0
    table = tmp_path / "data" / "train.txt"
    table.write_text(table.read_text().replace("images/cat/03.png 0", "images/cat/03.png 1"))
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), "--device", "cpu"]) == 2
    assert "images/cat/03.png (cat there, " in capsys.readouterr().err


def test_renamed_classes_of_lists_are_the_same_classes(tmp_path: Path) -> None:
    command = [*words("lists", as_lists(tmp_path / "data")), "--out", str(tmp_path / "run")]
    assert main(command) == 0
    (tmp_path / "data" / "classes.txt").write_text("Katze\nHund\nElch\n")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert evaluate(tmp_path / "run", device="cpu") == metrics["test"]


def test_an_older_folder_is_read_with_a_note(finished: Finished, original: Finished, capsys) -> None:
    (finished.folder / "splits.csv.gz").unlink()
    with pytest.warns(UserWarning, match="does not tell its splits"):
        assert evaluate(finished.folder, device="cpu") == finished.metrics["test"]
    command = killed(finished)
    (finished.folder / "splits.csv.gz").unlink()
    assert main(command) == 0
    assert "does not tell its splits" in capsys.readouterr().out
    assert finished.metrics == original.metrics


def test_boxes_are_judged_and_trained_on_the_recorded_images(tmp_path: Path) -> None:
    home = write_pictures(tmp_path / "coco")
    options: dict[str, Any] = {"task": "detect", "method": "ce", "model": "fasterrcnn_resnet10_fpn", "image_size": 32}
    options |= {"epochs": 1, "batch_size": 4, "val_fraction": 0.25, "device": "cpu", "lr": 0.01}
    config = RunConfig(data=f"coco:{home}", **options)
    metrics = train(config, tmp_path / "run")
    assert evaluate(tmp_path / "run", device="cpu") == metrics["test"]
    for split in ("train", "val"):
        file = home / f"instances_{split}.json"
        content = json.loads(file.read_text())
        content["images"].insert(0, content["images"][0] | {"id": 99, "file_name": "a_new.png"})
        content["annotations"].append(content["annotations"][0] | {"id": 999, "image_id": 99})
        file.write_text(json.dumps(content))
        shutil.copy(home / "images" / split / "1.png", home / "images" / split / "a_new.png")
    notes: list[str] = []
    for split in ("test", "val"):
        judged = evaluate(tmp_path / "run", split=split, device="cpu", note=notes.append)
        assert judged == metrics[split]
    assert len(notes) == 2 and all("a_new.png" in note for note in notes)
    assert train(config, tmp_path / "again", splits_of=tmp_path / "run") == metrics
    content["annotations"][0]["bbox"][2] += 1
    file.write_text(json.dumps(content))
    notes.clear()
    evaluate(tmp_path / "run", device="cpu", note=notes.append)
    assert any("other annotations" in note for note in notes)
    with pytest.raises(LongtailError, match="other annotations"):
        train(config, tmp_path / "third", splits_of=tmp_path / "run")
    content["images"] = [image for image in content["images"] if image["id"] != 5]
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 5]
    file.write_text(json.dumps(content))
    with pytest.raises(LongtailError, match=r"not in the annotations of .* first images/val/5.png"):
        evaluate(tmp_path / "run", device="cpu")


def test_another_version_of_data_in_memory_is_noticed(tmp_path: Path, capsys) -> None:
    """As if the pixels of the training split had been others when the run began."""
    command = [*DIGITS, "--method", "ce", "--epochs", "2", "--out", str(tmp_path / "run")]
    assert run(command, die_at=FIRST_CHECKPOINT).wait() == -9
    whole = record.read_record(tmp_path / "run" / "splits.csv.gz", [])
    assert whole.in_memory and [len(items) for items in whole.items.values()] == [1, 1, 1]
    (item,) = whole.items["train"]
    other = {**whole.items, "train": [dataclasses.replace(item, digest="0" * 32)]}
    text = record.record_text(dataclasses.replace(whole, items=other))
    (tmp_path / "run" / "splits.csv.gz").write_bytes(text)
    assert main(command) == 2
    assert "the train split of digits holds other samples or labels" in capsys.readouterr().err


def test_a_digest_tells_pixels_and_labels_apart() -> None:
    from longtail.data import Split

    images, labels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1, 1])
    digests = {digest_in_memory(Split(images, labels))}
    digests.add(digest_in_memory(Split(images, labels.flip(0))))
    digests.add(digest_in_memory(Split(images.index_fill(3, torch.tensor(2), 1), labels)))
    assert len(digests) == 3


names = st.text(st.characters(exclude_characters="\0/"), min_size=1).map(
    lambda name: os.fsdecode(name.encode("utf-8", "ignore") + b"\xe9") or "x"
)


@given(st.lists(st.tuples(names, st.integers(0, 9), st.integers(0, 2**40))))
def test_any_file_name_survives(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int]]) -> None:
    items = [record._Item(name, str(c), size, size + 1, "ab") for name, c, size in rows]
    path = tmp_path_factory.mktemp("names") / "splits.csv.gz"
    whole = record.SplitRecord({"train": items} if items else {}, ["a"], str(path.parent))
    path.write_bytes(record.record_text(whole))
    assert record.read_record(path, ["a"]) == whole


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"a,b\n", mtime=0), gzip.compress(b"split,file\n", mtime=0)[:-9]]
)
def test_a_damaged_record_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "splits.csv.gz").write_bytes(content)
    with pytest.raises(LongtailError, match=r"splits.csv.gz is damaged \(.+\): restore it"):
        record.read_record(tmp_path / "splits.csv.gz", [])
