"""Two processes train as one does: same batches, same weights on both, same difficulty."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from longtail import cli
from longtail.cli import main
from longtail.data import load_data
from longtail.errors import LongtailError
from longtail.tasks.image import ImageTask
from longtail.training import run as training
from longtail.training.config import RunConfig
from training.folders import DIGITS, history, snapshot

SMALL: dict[str, Any] = {
    "data": "digits", "model": "lenet5-classic", "image_size": 16, "epochs": 3, "lr": 0.02, "schedule": "cosine",
    "warmup_epochs": 0, "device": "cpu",
}  # fmt: skip


def train_here(rank: int, options: dict[str, Any], folder: str, stop_after: int = 0) -> list[tuple[str, list[float]]]:
    """Train as one of two processes; what this process holds after each epoch: a hash of the model, class weights."""
    held = []

    class Watched(training._Loop):
        def epoch(self, epoch: int, best: dict[str, Any], inside: Any = None) -> dict[str, Any]:
            best = super().epoch(epoch, best, inside)
            content = b"".join(v.numpy().tobytes() for v in self.model.state_dict().values())
            weight = [] if self.difficulty is None else self.difficulty.weight.tolist()
            held.append((hashlib.sha256(content).hexdigest(), weight))
            if epoch + 1 == stop_after:
                raise KeyboardInterrupt
            return best

    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    before = dict(os.environ)
    os.environ.update({k: str(v) for k, v in place.items()}, OMP_NUM_THREADS="1")
    loop, training._Loop = training._Loop, Watched
    try:
        training.train(RunConfig(**options), folder)
    except KeyboardInterrupt:
        if not stop_after:
            raise
    finally:
        training._Loop = loop
        os.environ.clear()
        os.environ.update(before)
    return held


@pytest.mark.parametrize(
    "options",
    [
        {"method": "ce", "batch_size": 33},
        {"method": "cdb-w", "batch_size": 64, "clip_grad_norm": 1.0},
        {"method": "cdb-s", "batch_size": 33, "precision": "bf16"},
        {"method": "class-aware", "batch_size": 1000},
        {"method": "crt", "method_kwargs": ("stage1=seesaw", "balance=cdb-s"), "batch_size": 65},
        {"method": "lws", "method_kwargs": ("balance=cdb-w", "share=.4"), "batch_size": 65},
        {"method": "ncm", "batch_size": 64},
        {"method": "l2rw", "method_kwargs": ("meta_batch=21",), "batch_size": 65},
        {"method": "mw-net", "method_kwargs": ("meta_batch=20",), "batch_size": 65},
        {"method": "difficulty-net", "method_kwargs": ("meta_batch=21",), "batch_size": 64},
        {"method": "oltr", "batch_size": 65},
        {"method": "cdb-w", "method_kwargs": ("base=seesaw", "source=train", "measure=soft"), "batch_size": 65},
        {"method": "cdb-s", "method_kwargs": ("loss=vs", "measure=ap", "shrinkage=2"), "batch_size": 65},
    ],
    ids=lambda o: o["method"],
)
def test_two_processes_take_the_steps_of_one(run_two, tmp_path, options):
    """Odd batches give the processes shares of unequal size; the loss is still that of the whole batch."""
    options = SMALL | options
    first, second = run_two(train_here, options, str(tmp_path / "two"))
    assert first == second
    assert len(first) == 3
    training.train(RunConfig(**options), tmp_path / "one")
    exact = "precision" not in options  # bf16 rounds otherwise in batches of another size
    for two, one in zip(history(tmp_path / "two"), history(tmp_path / "one"), strict=True):
        assert two["lr"] == one["lr"]
        assert float(two["train_loss"]) == pytest.approx(float(one["train_loss"]), rel=1e-4 if exact else 0.05)
        if exact:
            assert float(two["val_accuracy"]) == pytest.approx(float(one["val_accuracy"]), abs=0.011)


def test_batch_norm_has_the_same_statistics_everywhere(run_two, tmp_path):
    options = SMALL | {"model": "resnet20", "method": "cdb-w", "batch_size": 65, "epochs": 2, "image_size": 8}
    first, second = run_two(train_here, options, str(tmp_path / "run"))
    assert first == second
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_two_processes_continue_as_one_does(run_two, tmp_path):
    options = SMALL | {"method": "cdb-w", "batch_size": 64}
    whole, _ = run_two(train_here, options, str(tmp_path / "whole"))
    begun, _ = run_two(train_here, options, str(tmp_path / "run"), 2)
    rest, other = run_two(train_here, options, str(tmp_path / "run"))
    assert begun + rest == whole
    assert rest == other
    for name in ("metrics.json", "model.safetensors", "difficulty.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def evaluate_here(rank: int, world: int, split: str, batch_size: int) -> tuple[list[float], list[list[int]], dict]:
    data = load_data("digits")
    task = ImageTask(data, model="lenet5", image_size=28, device=torch.device("cpu"), rank=rank, world=world)
    torch.manual_seed(7)
    result = task.evaluate(task.build_model(), split, batch_size=batch_size)
    return result.performance.tolist(), result.confusion.tolist(), result.metrics


def evaluate_both(rank: int, split: str, batch_size: int) -> tuple[list[float], list[list[int]], dict]:
    return evaluate_here(rank, 2, split, batch_size)


@pytest.mark.parametrize(("split", "batch_size"), [("val", 256), ("val", 7), ("test", 13)])
def test_the_difficulty_of_two_processes_is_that_of_one(run_two, split, batch_size):
    """Shares of unequal size, and even no share at all for the second process; nothing is counted twice."""
    first, second = run_two(evaluate_both, split, batch_size)
    alone = evaluate_here(0, 1, split, batch_size)
    assert first == second == alone
    assert sum(map(sum, alone[1])) == len(getattr(load_data("digits"), split))


def fail_here(rank: int, options: dict[str, Any], folder: str) -> str:
    try:
        train_here(rank, options, folder)
    except LongtailError as error:
        return str(error)
    return "no error"


def test_a_loss_that_is_not_finite_ends_both(run_two, tmp_path):
    options = SMALL | {"method": "ce", "batch_size": 64, "lr": 1e9}
    first, second = run_two(fail_here, options, str(tmp_path / "run"))
    assert first == second
    assert "not finite" in first


def test_a_batch_too_small_for_two_is_told(run_two, tmp_path):
    options = SMALL | {"method": "ce", "batch_size": 1}
    first, _ = run_two(fail_here, options, str(tmp_path / "run"))
    assert "--batch-size 1 cannot be shared by 2 processes" in first


def torchrun(words: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "longtail"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [*command, *words], env=environment, capture_output=True, text=True, timeout=1200, check=False
    )


def test_torchrun_trains(tmp_path):
    words = [*DIGITS, "--method", "cdb-w", "--epochs", "4", "--device", "auto", "--trackers", "tensorboard"]
    done = torchrun([*words, "--out", str(tmp_path / "two")])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("epoch 4/4") == 1  # one process talks
    assert done.stdout.count("run folder") == 1
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    two, one = (json.loads((tmp_path / n / "metrics.json").read_text())["test"]["top1"] for n in ("two", "one"))
    assert two == pytest.approx(one, abs=0.03)
    for a, b in zip(history(tmp_path / "two"), history(tmp_path / "one"), strict=True):
        assert float(a["train_loss"]) == pytest.approx(float(b["train_loss"]), rel=1e-4)


def test_an_error_ends_all_processes_and_is_told_once(tmp_path):
    done = torchrun([*DIGITS, "--method", "cdb-x", "--out", str(tmp_path / "run")])
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "unknown method 'cdb-x'" in lines[0]
    assert "longtail/training" not in done.stderr  # torchrun adds a traceback of its own, we add none
    assert snapshot(tmp_path) == {}


def test_another_process_tells_what_the_first_does_not(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(cli, "_PATIENCE", 0.1)
    assert main(["methods", "cdb-x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: unknown method 'cdb-x'")
