"""``--tune head`` of clips: the mean of their frames' features, computed once, and all that a run can do with them."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from commands import Command
from longtail.cli import main
from longtail.config import RunConfig
from longtail.data.vectors import read_vectors
from longtail.errors import LongtailError
from longtail.features.frozen import frozen_network
from longtail.training.apply import evaluate, load_run
from longtail.training.recipes import resolve
from longtail.training.rows import ON_FEATURES, chosen_methods
from longtail.training.run import train
from tasks.test_head import computed

QUICK = {"model": "resnet18", "weights": "none", "tune": "head", "image_size": 32, "frames": 3, "epochs": 2}
QUICK |= {"device": "cpu"}
WORDS = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]
COUNTS = (8, 6, 5)


def films(folder: Path) -> Path:
    """Folders of frames: classes differ by their colour, clips by their texture, frames by a step."""
    draw = np.random.default_rng(0)
    for label, count in enumerate(COUNTS):
        for k in range(count):
            (folder / f"class{label}" / f"clip{k}").mkdir(parents=True)
            scene = draw.integers(0, 120, (24, 40, 3), dtype=np.uint8)
            scene[..., label] += 100
            for t in range(5):
                Image.fromarray(scene[:, 4 * t : 4 * t + 20]).save(folder / f"class{label}/clip{k}/{t}.png")
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return films(tmp_path_factory.mktemp("films") / "clips")


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(config(clips, "crt"), folder)
    return folder


def config(clips: Path, method: str = "ce", **options: object) -> RunConfig:
    return RunConfig(data=f"clips:{clips}", method=method, **(QUICK | options))  # type: ignore[arg-type]


def test_the_features_of_a_clip_are_the_mean_of_its_frames() -> None:
    extract = frozen_network("resnet18", None, 32, "cpu").extract
    before = {name: value.clone() for name, value in extract.state_dict().items()}
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        found = extract.train()(clips)
        frames = [extract(clips[:, :, t]) for t in range(4)]
    torch.testing.assert_close(found, torch.stack(frames).mean(0), atol=2e-3, rtol=2e-3)  # frames are rounded, too
    assert torch.equal(found, found.half().float())
    assert all(torch.equal(before[name], value) for name, value in extract.state_dict().items())


def test_the_network_stays_and_the_whole_model_judges_clips_as_the_run_judged_features(whole: Path) -> None:
    metrics = json.loads((whole / "metrics.json").read_text())
    again = evaluate(whole, device="cpu")
    assert again["per_class"] == metrics["test"]["per_class"] and "tail_precision" in again
    state = load_file(whole / "frozen.safetensors")
    network = frozen_network("resnet18", None, 32, "cpu").extract.state_dict()
    assert all(torch.equal(state[f"extract.{name}"], value) for name, value in network.items())
    assert set(load_file(whole / "model.safetensors")) == {"head.weight", "head.bias"}
    info = json.loads((whole / "data.json").read_text())
    assert info["frames"] == 3 and info["features"] in ("last", "levels")
    assert json.loads((whole / "config.json").read_text())["config"]["task"] == "video"


def test_a_second_comparison_computes_nothing_and_other_frames_everything(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = computed(monkeypatch)
    words = ["compare", f"clips:{clips}", *WORDS, "--methods", "ce", "cb", "--seeds", "2"]
    assert main([*words, "--out", str(tmp_path / "first")]) == 0
    assert sum(numbers) == sum(COUNTS)
    numbers.clear()
    assert main([*words, "--out", str(tmp_path / "second")]) == 0
    assert sum(numbers) == 0
    train(config(clips, frames=2), tmp_path / "fewer")
    assert sum(numbers) == sum(COUNTS)


@pytest.mark.parametrize("frame", [0, 2])  # evaluation looks at 2 and not at 0, and views may look at any
def test_a_changed_clip_is_computed_alone(tmp_path: Path, frame: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = films(tmp_path / "clips")
    train(config(clips), tmp_path / "run")
    Image.new("RGB", (20, 24), (250, 10, 10)).save(clips / "class0" / "clip3" / f"{frame}.png")
    shutil.move(clips / "class1" / "clip2", clips / "class1" / "moved")
    numbers = computed(monkeypatch)
    train(config(clips), tmp_path / "other")
    assert sum(numbers) == 1


@pytest.mark.parametrize("moment", [4, 11])
def test_a_run_that_was_killed_ends_as_one_that_was_not(clips: Path, tmp_path: Path, moment: int) -> None:
    words = ["train", f"clips:{clips}", "--method", "ce", "--views", "1", *WORDS, "--out"]
    whole, broken = tmp_path / "a" / "run", tmp_path / "b" / "run"
    Command([*words, whole]).wait()
    Command([*words, broken], die_at=moment).wait()
    assert not (broken / "metrics.json").is_file()
    Command([*words, broken]).wait()
    for name in ("model.safetensors", "frozen.safetensors", "per_class.csv"):
        one, other = (hashlib.sha256((folder / name).read_bytes()).hexdigest() for folder in (whole, broken))
        assert one == other, name


def test_a_run_labels_new_clips_and_is_exported(clips: Path, whole: Path, tmp_path: Path, capsys) -> None:
    assert main(["predict", str(whole), str(clips / "class2"), str(clips / "class0" / "clip1"), "--device", "cpu"]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines(), delimiter="\t"))
    assert len(rows) == 6 and {row[1] for row in rows} <= {"class0", "class1", "class2"}
    assert main(["export", str(whole), "--format", "onnx", "--out", str(tmp_path / "m.onnx")]) == 0  # checked there
    settings = json.loads((tmp_path / "preprocess.json").read_text())
    assert settings["frames"] == 3 and settings["image_size"] == 32
    with torch.inference_mode():
        assert load_run(whole).model(torch.zeros(2, 3, 3, 32, 32)).shape == (2, 3)


def test_the_rows_of_clips_are_written_and_their_near_copies_found(
    clips: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    twice = tmp_path / "twice"
    shutil.copytree(clips, twice)
    for label in range(3):
        shutil.copytree(clips / f"class{label}" / "clip0", twice / f"class{label}" / "again")
    quick = ["--image-size", "32", "--frames", "3", "--device", "cpu"]
    assert main(["embed", f"clips:{twice}", *quick, "--out", "rows.npz"]) == 0
    rows, out = read_vectors(tmp_path / "rows.npz"), capsys.readouterr().out
    assert len(rows.x) == sum(COUNTS) + 3 and "clips have near copies" in out, out
    assert rows.group is not None and rows.name is not None
    group = dict(zip(rows.name, rows.group, strict=True))
    for label in range(3):
        one, other = (group[str(twice / f"class{label}" / name)] for name in ("clip0", "again"))
        assert one and one == other
    assert main(["inspect", f"clips:{clips}", "--group-by", "auto", "--frames", "2", "--out", "look.png"]) == 0


def test_clips_are_looked_at_by_a_trained_network_for_images() -> None:
    settled = resolve(RunConfig(data="clips:x", tune="head"))
    assert (settled.model, settled.weights, settled.image_size) == ("timm/tf_efficientnet_lite0", "pretrained", 224)
    assert (settled.frames, settled.features, settled.final, settled.refit) == (10, "auto", "last", True)
    assert chosen_methods(RunConfig(data="clips:x", tune="head"), ("auto",), None) == (ON_FEATURES, 5)
    for model, message in (("r3d_18", "r3d_18 takes whole clips"), ("resnet32", "resnet32 has no published weights")):
        with pytest.raises(LongtailError, match=message):
            resolve(RunConfig(data="clips:x", tune="head", model=model))
