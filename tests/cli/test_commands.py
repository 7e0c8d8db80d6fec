"""Every command does what its help says."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.cli import main
from longtail.commands import COMMANDS
from longtail.data import load_data
from longtail.methods import list_methods
from longtail.training.apply import load_run
from training.folders import DIGITS, assert_same_run, history, snapshot


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the digits."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert (
        main([*DIGITS, "--method", "ce", "--epochs", "12", "--imbalance", "2", "--lr", "0.05", "--out", str(folder)])
        == 0
    )
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as a folder of PNG files, with the test split of the run above."""
    folder = tmp_path_factory.mktemp("pictures")
    data = load_data("digits", imbalance=2)
    for name, split in {"train": data.val, "test": data.test}.items():
        for i, (pixels, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
            path = folder / name / str(label) / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[0].numpy()).save(path)
    return folder


def judged(folder: Path, split: str = "test") -> dict:
    return json.loads((folder / "metrics.json").read_text())[split]


def rows(file: Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


# -- help --------------------------------------------------------------------------------------------------------------
def test_version(capsys):
    import longtail

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"longtail {longtail.__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]], ids=str)
def test_help_names_every_command(words, capsys):
    assert main(words) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", out), command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: longtail {command}")
    assert len(out.splitlines()) > 5


# -- train -------------------------------------------------------------------------------------------------------------
def test_train_fills_the_run_folder(run):
    config = json.loads((run / "config.json").read_text())
    assert config["config"]["imbalance"] == 2
    assert {"python", "torch", "longtail"} <= set(config["versions"])
    data = json.loads((run / "data.json").read_text())
    assert data["class_names"] == [str(d) for d in range(10)]
    assert data["class_counts"]["test"] == [40] * 10 and data["class_counts"]["val"] == [20] * 10
    assert max(data["class_counts"]["train"]) == 2 * min(data["class_counts"]["train"])
    assert [row["epoch"] for row in history(run)] == [str(e) for e in range(1, 13)]
    assert len(rows(run / "difficulty.csv")) == 120
    metrics = judged(run)
    assert list(metrics)[:5] == ["top1", "top5", "precision", "recall", "f1"]
    assert all(0 <= metrics[name] <= 1 for name in ("top1", "top5", "precision", "recall", "f1"))
    assert metrics["top1"] > 0.6
    table = rows(run / "per_class.csv")
    assert len(table) == 20
    of_test = [float(row["accuracy"]) for row in table if row["split"] == "test"]
    assert of_test == pytest.approx(metrics["per_class"]) and np.mean(of_test) == pytest.approx(metrics["recall"])
    confusion = [row for row in rows(run / "confusion.csv") if row["split"] == "test"]
    right = sum(int(row["count"]) for row in confusion if row["true"] == row["predicted"])
    assert sum(int(row["count"]) for row in confusion) == 400 and right / 400 == metrics["top1"]


def test_train_without_out_and_options_makes_a_folder_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--method", "cdb-s", "--epochs", "1", "--seed", "4"]) == 0
    assert (tmp_path / "runs" / "digits-cdb-s-4" / "metrics.json").is_file()
    out = capsys.readouterr().out
    assert "epoch 1/1, loss " in out and "run folder: runs/digits-cdb-s-4" in out
    assert "\x1b" not in out and "\r" not in out


def test_a_bar_on_a_terminal(tmp_path):
    """A pseudo-terminal gets a bar that is drawn over and over; the numbers come after it."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "longtail", *DIGITS, "--epochs", "3", "--out", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, env=environment, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    text = b""
    while True:
        select.select([ours], [], [], 60)
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        text += part
    os.close(ours)
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0
    shown = text.decode()
    assert "\x1b[" in shown and "━" in shown and "epoch 3/3" in shown
    assert "test split" in shown.rpartition("━")[2]


@pytest.mark.parametrize(
    "options",
    [
        "--precision bf16",
        "--clip-grad-norm 0.5",
        "--schedule multistep --milestones 1 --gamma 0.1",
        "--schedule constant --warmup-epochs 1",
        "--schedule cosine --warmup-epochs 1 --momentum 0",
        "--final last",
        "--imbalance-kind step --imbalance 10",
        "--model resnet20 --image-size 8",
        "--model resnet10 --image-size 32",
        "--method cdb-w --method-kwargs preset=paper",
        "--method cdb-s --method-kwargs tau=accv momentum=0.5",
    ],
)
def test_options_of_train(options, tmp_path):
    assert main([*DIGITS, "--epochs", "2", "--out", str(tmp_path / "run"), *options.split()]) == 0
    assert 0 <= judged(tmp_path / "run")["top1"] <= 1
    assert main(["evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "again.json")]) == 0
    assert json.loads((tmp_path / "again.json").read_text())["test"] == judged(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_trains_as_the_plain_one(tmp_path):
    words = [*DIGITS, "--method", "cdb-w", "--epochs", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "longtail", *words, "--compile", "--out", str(tmp_path / "compiled")]
    subprocess.run(command, env=environment, check=True)
    assert main([*words, "--out", str(tmp_path / "plain")]) == 0
    for a, b in zip(history(tmp_path / "compiled"), history(tmp_path / "plain"), strict=True):
        assert float(a["train_loss"]) == pytest.approx(float(b["train_loss"]), rel=1e-3)
    assert main(["evaluate", str(tmp_path / "compiled")]) == 0


def test_a_separate_selection_split_chooses_the_best_epoch(tmp_path, capsys):
    words = [*DIGITS, "--epochs", "3", "--select-fraction", "0.2", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    counts = json.loads((tmp_path / "run" / "data.json").read_text())["class_counts"]
    assert min(counts["select"]) >= 1
    assert main(["evaluate", str(tmp_path / "run"), "--split", "select"]) == 0
    assert "select split" in capsys.readouterr().out


def test_training_starts_from_weights(run, tmp_path, capsys):
    """With a learning rate of nothing the new run is as good as the weights that it was given."""
    words = [*DIGITS, "--method", "ce", "--imbalance", "2", "--epochs", "1", "--lr", "1e-12", "--out"]
    weights = str(run / "model_best.safetensors")
    assert main([*words, str(tmp_path / "from"), "--weights", weights]) == 0
    assert judged(tmp_path / "from") == judged(run)
    assert main([*words, str(tmp_path / "new")]) == 0
    assert judged(tmp_path / "new")["top1"] < judged(run)["top1"]


def test_a_tensorboard_log_on_request(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = [*DIGITS, "--method", "cdb-w", "--epochs", "2", "--trackers", "tensorboard"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    (file,) = (tmp_path / "run" / "longtail").glob("events.out.tfevents*")
    events = EventAccumulator(str(file))
    events.Reload()
    losses = [event.value for event in events.Scalars("train_loss")]
    assert losses == pytest.approx([float(row["train_loss"]) for row in history(tmp_path / "run")])
    assert {"val_accuracy", "tau", "lr"} <= set(events.Tags()["scalars"])


# -- compare and report ------------------------------------------------------------------------------------------------
def test_compare_trains_all_and_reports(tmp_path, capsys):
    words = ["compare", *DIGITS[1:], "--epochs", "1", "--methods", "ce", "cdb-w:tau=1.5", "--seeds"]
    assert main([*words, "2", "--out", str(tmp_path / "one")]) == 0
    out = capsys.readouterr().out
    assert out.rstrip().endswith("report.html") and "ce" in out
    assert main([*words, "1", "--jobs", "2", "--out", str(tmp_path / "two")]) == 0
    for label in ("ce", "cdb-w-tau=1.5"):
        assert (tmp_path / "one" / label / "seed-1" / "metrics.json").is_file()
        assert_same_run(tmp_path / "two" / label / "seed-0", tmp_path / "one" / label / "seed-0")
    for name in ("report.html", "results.csv", "summary.csv", "paired.csv"):
        assert (tmp_path / "one" / name).stat().st_size > 0
    assert main(["report", str(tmp_path / "one"), "--baseline", "cdb-w-tau=1.5"]) == 0
    assert main(["report", str(tmp_path / "one" / "ce" / "seed-0")]) == 0


# -- what is done with a finished run ----------------------------------------------------------------------------------
@pytest.mark.parametrize("split", ["test", "val"])
def test_evaluate_finds_what_training_found(run, split, tmp_path, capsys):
    before = snapshot(run)
    assert main(["evaluate", str(run), "--split", split, "--out", str(tmp_path / "found.json")]) == 0
    assert json.loads((tmp_path / "found.json").read_text()) == {split: judged(run, split)}
    out = capsys.readouterr().out
    assert f"{split} split" in out and f"{100 * judged(run, split)['top1']:.2f} %" in out
    assert snapshot(run) == before


def test_evaluate_on_the_training_split(run, capsys):
    assert main(["evaluate", str(run), "--split", "train"]) == 0
    assert float(re.search(r"top1 +([\d.]+) %", capsys.readouterr().out)[1]) > 60


def test_evaluate_on_other_data_uses_the_runs_own_normalisation(run, pictures, tmp_path):
    """The same images from PNG files, whose reader has other means, give the same result."""
    words = ["evaluate", str(run), "--data", f"folder:{pictures}", "--out", str(tmp_path / "found.json")]
    assert main(words) == 0
    found = json.loads((tmp_path / "found.json").read_text())["test"]
    assert found["top1"] == pytest.approx(judged(run)["top1"], abs=0.0051)
    assert found["many"] == pytest.approx(judged(run)["many"], abs=0.0051)  # the groups are those of the training


def test_evaluate_on_a_folder_without_splits_takes_all_of_it(run, pictures, tmp_path):
    """Every image counts, a class may be missing, and labels go by the names of the classes."""
    new = tmp_path / "new"
    for digit in "9730":
        shutil.copytree(pictures / "test" / digit, new / digit)
    words = ["evaluate", str(run), "--data", f"folder:{new}", "--out", str(tmp_path / "found.json")]
    assert main(words) == 0
    found = json.loads((tmp_path / "found.json").read_text())["test"]["per_class"]
    known = judged(run)["per_class"]
    assert [c for c in range(10) if found[c] is not None] == [0, 3, 7, 9]
    assert [found[c] for c in (0, 3, 7, 9)] == pytest.approx([known[c] for c in (0, 3, 7, 9)], abs=0.051)


def test_predict_labels_files_and_folders(run, pictures, tmp_path, capsys):
    one = pictures / "test" / "3" / sorted(os.listdir(pictures / "test" / "3"))[0]
    capsys.readouterr()
    assert main(["predict", str(run), str(one), "--top", "3"]) == 0
    file, *pairs = capsys.readouterr().out.rstrip("\n").split("\t")
    assert file == str(one)
    assert len(pairs) == 6 and len(set(pairs[::2])) == 3 and set(pairs[::2]) <= set("0123456789")
    chances = [float(p) for p in pairs[1::2]]
    assert chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1.0001

    words = ["predict", str(run), str(pictures / "test"), str(one), "--out", str(tmp_path / "labels.csv")]
    assert main(words) == 0
    table = rows(tmp_path / "labels.csv")
    assert [row["file"] for row in table] == [*sorted(map(str, (pictures / "test").rglob("*.png"))), str(one)]
    assert {row["rank"] for row in table} == {"1"}
    right = sum(Path(row["file"]).parent.name == row["label"] for row in table[:-1])
    assert right / 400 == pytest.approx(judged(run)["top1"], abs=0.0051)


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_the_exported_model_predicts_the_same(run, form, pictures, tmp_path, capsys):
    target = tmp_path / f"model.{form}"
    assert main(["export", str(run), "--format", form, "--out", str(target)]) == 0
    captured = capsys.readouterr()
    assert "outputs checked" in captured.out and captured.err == ""
    info = json.loads((run / "data.json").read_text())
    data = load_data("digits", imbalance=2)
    pixels = torch.nn.functional.interpolate(
        data.test.images.float(), size=(info["image_size"],) * 2, mode="bilinear", antialias=True
    )
    images = pixels.round().byte()
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
        assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == info["class_names"]
        logits = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
    else:
        with torch.inference_mode():
            logits = torch.export.load(target).module()(images)
    accuracy = float((logits.argmax(1) == data.test.labels).double().mean())
    assert accuracy == pytest.approx(judged(run)["top1"], abs=1e-9)


def test_the_default_place_of_an_export_is_the_run_folder(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    assert main(["export", str(copy), "--format", "pt2"]) == 0
    assert (copy / "model.pt2").is_file()


def test_a_run_can_be_loaded_in_python(run):
    trained = load_run(run)
    assert not trained.model.training
    assert trained.class_names[7] == "7"
    last = load_run(run, weights="last")
    assert [p.shape for p in last.model.parameters()] == [p.shape for p in trained.model.parameters()]


# -- the other commands ------------------------------------------------------------------------------------------------
def test_inspect_describes_and_draws(tmp_path, capsys):
    assert main(["inspect", "digits", "--imbalance", "50", "--out", str(tmp_path / "look.png")]) == 0
    out = capsys.readouterr().out
    assert "10 classes" in out and "train" in out
    with Image.open(tmp_path / "look.png") as image:
        assert min(image.size) > 300


def test_methods_lists_all_and_shows_cards(capsys):
    assert main(["methods"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert sorted(listed) == list_methods()
    assert main(["methods", "CDB_W"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("cdb-w\n=====\n") and "Defaults: " in out and "tau=" in out


def test_cite_prints_each_publication_once(capsys):
    assert main(["cite", "cdb-w", "cdb-s", "focal"]) == 0
    entries = re.findall(r"^@\w+\{(\w[^,]*),", capsys.readouterr().out, re.MULTILINE)
    assert len(entries) == len(set(entries)) >= 2


def test_doctor_finds_this_machine_well(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines) and any("torch " in line for line in lines)
    assert list(tmp_path.iterdir()) == []
