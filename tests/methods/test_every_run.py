"""Every classification method in real runs with its defaults: stopped and continued, in two processes, on CIFAR-100."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from longtail.methods import get_method, list_methods
from longtail.training.config import RunConfig
from longtail.training.progress import Progress
from longtail.training.run import train
from training.folders import assert_same_run, history
from training.test_processes import train_here

SMALL: dict[str, Any] = {
    "data": "digits", "model": "lenet5-classic", "image_size": 16, "imbalance": 20, "epochs": 2, "batch_size": 65,
    "lr": 0.02, "schedule": "cosine", "warmup_epochs": 0, "device": "cpu", "final": "last",
}  # fmt: skip
METHODS = [name for name in list_methods() if "classify" in get_method(name).tasks]


class Stopped(Progress):
    def epoch(self, row: dict[str, Any]) -> None:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights for the methods that start from a trained model."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(RunConfig(**SMALL), folder)
    return str(folder / "model.safetensors")


def options(name: str, trained: str) -> dict[str, Any]:
    return SMALL | {"method": name, "weights": trained if get_method(name).needs_weights else None}


@pytest.mark.parametrize("name", METHODS)
def test_a_stop_changes_nothing_and_two_processes_do_what_one_does(
    name: str, trained: str, run_two: Any, tmp_path: Path
) -> None:
    config = options(name, trained)
    train(RunConfig(**config), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(RunConfig(**config), tmp_path / "stopped", progress=Stopped())
    train(RunConfig(**config), tmp_path / "stopped")
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")

    first, second = run_two(train_here, config, str(tmp_path / "two"))
    assert first == second and len(first) == 2
    for two, one in zip(history(tmp_path / "two"), history(tmp_path / "whole"), strict=True):
        # Some losses draw at random, and a scale of 30 magnifies the last digits.
        assert float(two["train_loss"]) == pytest.approx(float(one["train_loss"]), rel=0.02)
        assert float(two["val_accuracy"]) == pytest.approx(float(one["val_accuracy"]), abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_colour_images_of_a_hundred_classes(name: str, cifar100: Path, tmp_path: Path) -> None:
    config = {
        "data": f"cifar100:{cifar100}",
        "imbalance": 100,
        "model": "resnet20",
        "image_size": 8,
        "epochs": 1,
        "batch_size": 512,
    }
    weights = None
    if get_method(name).needs_weights:
        train(RunConfig(**config, device="cpu"), tmp_path / "trained")
        weights = str(tmp_path / "trained" / "model.safetensors")
    metrics = train(RunConfig(**config, device="cpu", method=name, weights=weights), tmp_path / "run")
    # After one epoch some are still at chance: that the loss is a number and every class is judged has to do.
    assert all(math.isfinite(float(row["train_loss"])) for row in history(tmp_path / "run"))
    assert len(metrics["test"]["per_class"]) == 100 and None not in metrics["test"]["per_class"]
