"""Every command on clips: training, killed and continued, two processes, judging, labelling, exporting."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from commands import run
from longtail.cli import main
from longtail.data import ImageData, make_loader
from longtail.data.clips import read_clips
from longtail.models import create_model
from longtail.training import run as training
from longtail.training.config import RunConfig
from training.folders import FIRST_CHECKPOINT, assert_same_run, history
from training.test_processes import train_here

OPTIONS = (
    "--model small3d --image-size 12 --batch-size 8 --lr 0.02 --schedule cosine --warmup-epochs 0 --device cpu "
    "--workers 0 --frames 4"
).split()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of frames: a bar that runs to the right, to the left, or stands."""
    folder = tmp_path_factory.mktemp("clips")
    for label, (speed, count) in {"right": (2, 12), "left": (-2, 9), "still": (0, 6)}.items():
        for k in range(count):
            clip = folder / label / f"{k}"
            clip.mkdir(parents=True)
            for t in range(6):
                picture = Image.new("L", (16, 12))
                picture.paste(255, ((k + speed * t) % 14, 0, (k + speed * t) % 14 + 2, 12))
                picture.save(clip / f"{t}.png")
    return folder


def words(clips: Path, *more: object) -> list[str]:
    return ["train", f"clips:{clips}", *OPTIONS, *map(str, more)]


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three epochs."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(words(clips, "--method", "cdb-w", "--epochs", 3, "--out", out)) == 0
    return out


def test_a_run_of_clips_fills_its_folder(whole: Path) -> None:
    content = json.loads((whole / "config.json").read_text())["config"]
    assert content["task"] == "video" and content["frames"] == 4
    assert json.loads((whole / "data.json").read_text())["frames"] == 4
    test = json.loads((whole / "metrics.json").read_text())["test"]
    assert {"top1", "top5", "precision", "recall", "head_precision", "head_recall", "tail_precision"} <= test.keys()
    with open(whole / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and all(0 <= float(row["data_seconds"]) <= float(row["seconds"]) for row in rows)


def test_killed_and_continued_it_is_the_same(clips: Path, whole: Path, tmp_path: Path) -> None:
    command = words(clips, "--method", "cdb-w", "--epochs", 3, "--out", tmp_path / "run")
    assert run(command, die_at=FIRST_CHECKPOINT).wait() == -9
    assert len(history(tmp_path / "run")) == 1
    again = run(command)
    assert again.wait() == 0, again.errors
    assert_same_run(tmp_path / "run", whole)


def test_two_processes_take_the_steps_of_one(clips: Path, run_two, tmp_path: Path) -> None:
    options = {
        "data": f"clips:{clips}", "model": "small3d", "image_size": 12, "epochs": 2, "lr": 0.02, "batch_size": 7,
        "schedule": "cosine", "warmup_epochs": 0, "device": "cpu", "workers": 0, "frames": 4, "method": "cdb-s",
    }  # fmt: skip
    first, second = run_two(train_here, options, str(tmp_path / "two"))
    assert first == second and len(first) == 2
    training.train(RunConfig(**options), tmp_path / "one")
    for two, one in zip(history(tmp_path / "two"), history(tmp_path / "one"), strict=True):  # BatchNorm sees halves
        assert float(two["train_loss"]) == pytest.approx(float(one["train_loss"]), rel=0.5)


@pytest.mark.parametrize("method", ["cb", "ldam-drw", "crt", "tau-norm", "class-aware"])
def test_methods_for_images_work_unchanged(clips: Path, tmp_path: Path, method: str) -> None:
    assert main(words(clips, "--method", method, "--epochs", 2, "--out", tmp_path / "run")) == 0


def test_a_run_is_judged_and_labels_new_clips(clips: Path, whole: Path, tmp_path: Path, capsys) -> None:
    test = json.loads((whole / "metrics.json").read_text())["test"]
    assert main(["evaluate", str(whole), "--out", str(tmp_path / "m.json")]) == 0
    assert json.loads((tmp_path / "m.json").read_text())["test"] == test
    assert main(["evaluate", str(whole), "--data", f"clips:{clips}"]) == 0
    capsys.readouterr()
    assert main(["predict", str(whole), str(clips / "left" / "3"), str(clips / "right")]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [Path(line[0]).name for line in lines] == ["3", *sorted(map(str, range(12)))]
    assert all(line[1] in ("right", "left", "still") and 0 < float(line[2]) <= 1 for line in lines)


def test_export_takes_clips(whole: Path, tmp_path: Path) -> None:
    assert main(["export", str(whole), "--format", "pt2", "--out", str(tmp_path / "m.pt2")]) == 0
    logits = torch.export.load(tmp_path / "m.pt2").module()(torch.zeros(2, 3, 4, 12, 12, dtype=torch.uint8))
    assert logits.shape == (2, 3)


def test_inspect_speaks_of_clips(clips: Path, tmp_path: Path, capsys) -> None:
    assert main(["inspect", f"clips:{clips}", "--verify", "--out", str(tmp_path / "i.png")]) == 0
    shown = capsys.readouterr().out
    assert "all 27 clips decode" in shown and "clips, " in shown
    assert "image" not in shown.replace("mirror image", "")


def refused(command: list[str], capsys) -> str:
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_mistakes_are_one_clear_line(clips: Path, whole: Path, tmp_path: Path, capsys) -> None:
    new = ["--out", str(tmp_path / "new")]
    assert "no network for clips" in refused(words(clips, "--model", "resnet32", *new), capsys)
    assert "digits has no clips for --task video" in refused(["train", "digits", "--task", "video", *new], capsys)
    assert "use --task video" in refused(["train", f"clips:{clips}", "--task", "detect", *new], capsys)
    assert "--frames is for moving-digits, clips, egtea, not" in refused(
        ["train", "digits", "--frames", "4", *new], capsys
    )
    assert "has clips of 10 frames, not 4" in refused(["train", "moving-digits", "--frames", "4", *new], capsys)
    assert "no network for images" in refused(["train", "digits", "--model", "r3d_18", *new], capsys)
    assert "the run was trained on clips" in refused(
        ["evaluate", str(whole), "--data", f"folder:{photos(tmp_path)}"], capsys
    )
    (tmp_path / "text.mp4").write_text("no video")
    assert "text.mp4 cannot be read as a video" in refused(["predict", str(whole), str(tmp_path / "text.mp4")], capsys)
    (tmp_path / "nothing").mkdir()
    assert "nothing holds no clip" in refused(["predict", str(whole), str(tmp_path / "nothing")], capsys)
    assert not (tmp_path / "new").exists()


def photos(folder: Path) -> Path:
    for label in ("right", "left", "still"):
        (folder / "photos" / label).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(folder / "photos" / label / "a.png")
    return folder / "photos"


@pytest.fixture
def real(test_data: Path) -> Path:
    return test_data / "video"


def test_a_model_fits_the_six_labelled_real_clips(real: Path) -> None:
    splits, names, _ = read_clips(real)
    six = splits["train"]
    data = ImageData(name="six", class_names=names, train=six, val=None, test=six)
    clips, target = next(iter(make_loader(six, data, image_size=32, train=False)([torch.arange(6)])))
    model = create_model("small3d", num_classes=3, frames=10, image_size=32)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(clips), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert len(target) == 6 and float(loss.detach()) < 0.1
    assert model(clips).argmax(1).equal(target)


def test_a_run_on_real_clips_labels_a_new_one(real: Path, tmp_path: Path, capsys) -> None:
    cache = tmp_path / "cache"
    command = ["train", f"clips:{real}", *OPTIONS, "--epochs", "2", "--frame-cache", str(cache)]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    assert len(list(cache.iterdir())) == 6
    assert "only train (no test or val clip): cartwheel, soccer_juggling" in capsys.readouterr().out
    assert main(["predict", str(tmp_path / "run"), str(real / "demo_demo.mp4"), "--top", "3"]) == 0
    line = capsys.readouterr().out.split("\t")
    assert line[0].endswith("demo_demo.mp4") and {line[1], line[3], line[5]} == {"wave", "cartwheel", "soccer_juggling"}
