"""What a run starts from: one network for photographs everywhere, and its look in all that is written."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from longtail import runfolder
from longtail.cli import main
from longtail.config import RunConfig
from longtail.data import load_data
from longtail.data.catalogue import CATALOGUE
from longtail.errors import LongtailError
from longtail.tasks.start import DEFAULT_DETECTOR, DEFAULT_MODEL, PHOTOGRAPHS_TUNE
from longtail.training.configfile import read_config
from longtail.training.export import export
from longtail.training.folder import RunFolder
from longtail.training.recipes import resolve

PHOTOGRAPHS = ("folder:photos", "lists:photos", "csv:table.csv", "hf:someone/pets")
OTHERS = ("digits", "cifar100", "imagenet-lt:x", "moving-digits", "egtea:x", "coco:x", "lvis:x", "shapes-lt")
QUICK = "--method ce --epochs 1 --batch-size 8 --lr 0.01 --workers 0 --device cpu".split()


def started(data: str, **options: Any) -> tuple[str | None, str | None, str | None, int | None]:
    found = resolve(RunConfig(data=data, **options))
    return found.model, found.weights, found.tune, found.image_size


@pytest.mark.parametrize("data", PHOTOGRAPHS)
def test_photographs_start_from_the_weights_that_come_with_a_package(data: str) -> None:
    for weights in (None, "auto", "pretrained"):
        assert started(data, weights=weights) == (DEFAULT_MODEL, "pretrained", PHOTOGRAPHS_TUNE, 224)
    assert started(data, image_size=96)[3] == 96
    assert started(data, weights="none") == ("resnet10", None, "all", 64)
    assert started(data, weights="other.pth") == ("resnet10", "other.pth", "all", 64)
    assert started(data, model="resnet32") == ("resnet32", None, "all", 64)  # has no published weights
    assert started(data, model="resnet50") == ("resnet50", "pretrained", PHOTOGRAPHS_TUNE, 224)
    assert started(data, model="resnet50", weights="none") == ("resnet50", None, "all", 64)
    assert started(data, model="timm/inception_v3", weights="pretrained")[3] == 299


@pytest.mark.parametrize("data", OTHERS)
def test_other_data_start_from_random_weights(data: str) -> None:
    """As they always did; the model and the size are those of their entry."""
    entry = CATALOGUE[data.partition(":")[0]]
    for weights in (None, "auto", "none"):
        task = "detect" if entry.boxes else "classify"
        found = started(data, weights=weights, task=task)
        assert found == (entry.training["model"], None, "all", entry.training["image_size"])


@pytest.mark.parametrize("data", ["cifar100", "digits", "moving-digits", "egtea:x", "imagenet-lt:x"])
def test_a_network_that_stays_frozen_is_a_trained_one(data: str) -> None:
    assert started(data, tune="head") == (DEFAULT_MODEL, "pretrained", "head", 224)
    assert started(data, tune="head", model="resnet18", weights="none")[:3] == ("resnet18", None, "head")
    with pytest.raises(LongtailError, match="resnet32 has no published weights"):
        started(data, tune="head", model="resnet32")


@pytest.mark.parametrize("data", ["coco:x", "yolo:x", "shapes-lt"])
def test_boxes_start_from_published_weights_where_it_is_said(data: str) -> None:
    named = started(data, model="fasterrcnn_resnet50_fpn", weights="pretrained", task="detect")
    assert named[:3] == ("fasterrcnn_resnet50_fpn", "pretrained", "all")
    small = started("shapes-lt", weights="pretrained", task="detect")  # whose usual network has none
    assert small == (DEFAULT_DETECTOR, "pretrained", "all", 128)


def test_clips_start_from_published_weights_where_their_network_has_some() -> None:
    assert started("clips:x", model="r3d_18") == ("r3d_18", "pretrained", "all", 112)
    assert started("clips:x", model="r3d_18", weights="none") == ("r3d_18", None, "all", 64)
    assert started("clips:x", model="small3d") == ("small3d", None, "all", 64)
    assert started("clips:x", tune="all") == started("clips:x", weights="none") == ("small3d", None, "all", 64)
    assert started("clips:x", weights="other.pth") == ("small3d", "other.pth", "all", 64)
    assert started("clips:x") == (DEFAULT_MODEL, "pretrained", PHOTOGRAPHS_TUNE, 224)
    assert started("clips:x", model="resnet50") == ("resnet50", "pretrained", PHOTOGRAPHS_TUNE, 224)
    assert started("egtea:x", model="r3d_18") == ("r3d_18", None, "all", 224)  # a set of the paper


def test_what_boxes_cannot_tune_is_refused() -> None:
    with pytest.raises(LongtailError, match="--tune head means nothing to --task detect"):
        started("coco:x", task="detect", tune="head")


def test_pretrained_without_a_model_is_the_default_where_the_usual_one_has_no_weights() -> None:
    assert started("cifar100", weights="pretrained") == (DEFAULT_MODEL, "pretrained", "all", 224)


@pytest.mark.parametrize(
    ("data", "model", "weights"),
    [*itertools.product(("folder:photos", "digits"), (None, "resnet18", "resnet32"), (None, "none", "file.pth"))],
)
def test_the_configuration_of_a_run_repeats_it(tmp_path: Path, data: str, model: Any, weights: Any) -> None:
    """Read back it resolves to itself, also where ``auto`` would choose otherwise."""
    config = resolve(RunConfig(data=data, model=model, weights=weights))
    content = {"format": runfolder.FORMAT, "config": config.to_dict()}
    (tmp_path / runfolder.CONFIG).write_text(json.dumps(content))
    assert resolve(read_config(tmp_path)) == config == RunFolder(tmp_path).config()
    for key in ("tune",):  # what versions before did not write
        del content["config"][key]
    (tmp_path / runfolder.CONFIG).write_text(json.dumps(content))
    assert RunFolder(tmp_path).config() == dataclasses.replace(config, tune="all")


# -- a whole run -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of three kinds, and a small network with weights and a look of its own."""
    place, draw = tmp_path_factory.mktemp("start"), np.random.default_rng(0)
    for c, name in enumerate(("dark", "grey", "light")):
        (place / "photos" / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(draw.normal(60 + 70 * c, 40, (50 + i, 41, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / "photos" / name / f"{i}.png")
    (place / "tiny").mkdir()
    look = {"input_size": [3, 32, 32], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic"}
    look |= {"crop_pct": 0.8, "num_classes": 6, "classifier": "fc", "license": "mit"}
    content = {"architecture": "test_resnet", "num_classes": 6, "pretrained_cfg": look, "model_args": {"stem_width": 8}}
    (place / "tiny" / "config.json").write_text(json.dumps(content))
    torch.manual_seed(4)
    save_file(
        timm.create_model("test_resnet", num_classes=6, stem_width=8).state_dict(), place / "tiny/model.safetensors"
    )
    return place


def test_the_look_of_the_weights_is_in_all_that_a_run_writes(place: Path, tmp_path: Path, capsys) -> None:
    """And a finished run needs neither the folder of the network nor its weights."""
    tiny = tmp_path / "tiny"
    shutil.copytree(place / "tiny", tiny)
    words = ["train", f"folder:{place / 'photos'}", "--model", f"timm/local-dir:{tiny}", "--tune", "all", *QUICK]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert "(mit); its classifier starts from random values" in capsys.readouterr().out
    about = json.loads((tmp_path / "run" / runfolder.DATA).read_text())
    expected = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic", "center_crop": 0.8}
    assert {key: about[key] for key in expected} == expected and about["image_size"] == 32
    assert about["weights"]["licence"] == "mit" and len(about["weights"]["sha256"]) == 64
    shutil.rmtree(tiny)
    assert main(["evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["test"]["per_class"] == json.loads((tmp_path / "run/metrics.json").read_text())["test"]["per_class"]
    (tmp_path / "exported").mkdir()
    export(tmp_path / "run", out=tmp_path / "exported" / "model.onnx")
    told = json.loads((tmp_path / "exported" / "preprocess.json").read_text())
    assert told["interpolation"] == "bicubic" and told["crop"] == 0.8 and told["weights"] == about["weights"]
    files = sorted(str(file) for file in (place / "photos").rglob("*.png"))
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), *files]) == 0
    ours = list(csv.reader(capsys.readouterr().out.splitlines(), delimiter="\t"))
    script = [sys.executable, tmp_path / "exported" / "infer.py", *files]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    theirs = list(csv.reader(done.stdout.splitlines(), delimiter="\t"))
    assert [row[:2] for row in ours] == [row[:2] for row in theirs] and len(ours) == 36
    assert [float(row[2]) for row in ours] == pytest.approx([float(row[2]) for row in theirs], abs=2e-4)


def test_grey_pictures_are_seen_with_the_look_of_the_weights(tmp_path: Path) -> None:
    from longtail.models import preprocess_of
    from longtail.tasks.start import with_look

    data = with_look(load_data("digits"), preprocess_of(DEFAULT_MODEL, "pretrained"))
    assert data.channels == 1 and data.mean == (0.5,) and data.interpolation == "bicubic"
