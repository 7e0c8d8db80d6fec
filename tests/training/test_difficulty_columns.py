"""What difficulty.csv and history.csv say was measured, smoothed and acting, held against the formulas."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import longtail.training.run as training
from longtail.training.config import RunConfig
from longtail.training.files import read_csv, read_json

SMALL: dict[str, Any] = {
    "data": "digits", "model": "lenet5-classic", "image_size": 16, "imbalance": 10, "epochs": 4, "batch_size": 128,
    "lr": 0.05, "schedule": "cosine", "warmup_epochs": 0, "device": "cpu", "final": "last",
}  # fmt: skip


def _columns(folder: Path) -> dict[str, np.ndarray]:
    """Every column ``[epochs, classes]``, empty cells as NaN."""
    rows = read_csv(folder / "difficulty.csv")
    names = [name for name in rows[0] if name not in ("epoch", "class")]
    return {name: np.array([float(row[name] or math.nan) for row in rows]).reshape(4, 10) for name in names}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    methods = {
        "late": ("cdb-w", ("defer=0.5", "momentum=0.5", "min_difficulty=0.1", "tau=sigmoid")),
        "sampler": ("cdb-s", ("momentum=0",)),
        "plain": ("ce", ()),
    }
    for name, (method, kwargs) in methods.items():
        training.train(RunConfig(**SMALL, method=method, method_kwargs=kwargs), root / name)
    return {name: root / name for name in methods}


@pytest.mark.parametrize(("name", "momentum", "floor"), [("late", 0.5, 0.1), ("sampler", 0.0, 0.0)])
def test_what_is_smoothed_and_used_follows_from_what_was_measured(folders, name, momentum, floor):
    d = _columns(folders[name])
    smoothed = d["measured"][0].mean()  # a young network: all classes start alike
    for epoch in range(4):
        smoothed = momentum * smoothed + (1 - momentum) * d["measured"][epoch]
        assert d["smoothed"][epoch] == pytest.approx(smoothed, abs=1e-6)
    assert d["used_difficulty"] == pytest.approx(np.maximum(1 - d["smoothed"], floor), abs=1e-6)
    assert np.array_equal(d["performance"], d["smoothed"])


def test_the_measured_performance_of_all_methods_is_the_held_out_accuracy(folders):
    val = read_json(folders["plain"] / "data.json")["class_counts"]["val"]
    for folder in folders.values():
        measured = _columns(folder)["measured"]
        accuracy = [float(row["val_accuracy"]) for row in read_csv(folder / "history.csv")]
        assert measured @ val / sum(val) == pytest.approx(np.array(accuracy), abs=1e-6)


def test_weights_act_one_epoch_after_they_were_computed(folders):
    d = _columns(folders["sampler"])
    assert (d["acting_weight"][0] == 1).all()
    assert np.array_equal(d["acting_weight"][1:], d["weight"][:-1])


def test_weights_do_not_act_before_they_begin(folders):
    d, history = _columns(folders["late"]), read_csv(folders["late"] / "history.csv")
    assert [row["stage"] for row in history] == ["plain", "plain", "weighted", "weighted"]
    assert (d["weight"][0] != 1).any() and (d["acting_weight"][:2] == 1).all()
    assert np.array_equal(d["acting_weight"][2:], d["weight"][1:-1])
    assert [row["acting_tau"] for row in history] == ["", "", history[1]["tau"], history[2]["tau"]]


def test_a_method_without_a_difficulty_says_nothing_of_weights(folders):
    d = _columns(folders["plain"])
    assert np.isfinite(d["measured"]).all()
    assert all(np.isnan(d[name]).all() for name in ("smoothed", "used_difficulty", "acting_weight"))
    assert all(row["acting_tau"] == "" for row in read_csv(folders["plain"] / "history.csv"))


def test_the_answers_of_a_run_are_those_that_its_metrics_count(folders):
    numbers = [load_file(folder / "test_predictions.safetensors") for folder in folders.values()]
    for folder, answers in zip(folders.values(), numbers, strict=True):
        right = answers["predicted"] == answers["target"]
        assert right.mean() == pytest.approx(read_json(folder / "metrics.json")["test"]["top1"])
        assert np.array_equal(answers["sample"], numbers[0]["sample"])
    assert len(set(numbers[0]["sample"].tolist())) == len(numbers[0]["sample"])
