"""What goes wrong in the middle of a run: it ends with one line, keeps its last checkpoint and can be continued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from commands import Command, run
from longtail.cli import main
from training.folders import DIGITS, FIRST_CHECKPOINT, assert_same_run, history, snapshot

TWO = [*DIGITS, "--method", "cdb-w", "--epochs", "2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*TWO, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def half(tmp_path) -> Path:
    """The same run, killed after the checkpoint of its first epoch."""
    assert run([*TWO, "--out", tmp_path / "run"], die_at=FIRST_CHECKPOINT).wait() == -9
    return tmp_path / "run"


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, capsys):
    """The learning rate explodes after the first epoch, whose checkpoint stays."""
    words = [*DIGITS, *"--epochs 3 --method ce --schedule multistep --milestones 1 --gamma 1e12".split()]
    words += ["--out", str(tmp_path / "run")]
    for _ in range(2):  # the second time from the checkpoint
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: the loss is not finite in epoch 2") and "lower --lr" in line
        assert len(history(tmp_path / "run")) == 1
        state = torch.load(tmp_path / "run" / "checkpoint" / "last.pt", weights_only=True)
        assert state["epoch"] == 1
        assert all(bool(v.isfinite().all()) for v in state["model"].values())
        assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--lr 1e10 --weight-decay 1e30", "the weights are not finite after epoch 1"),
        ("--lr 1e30", "predictions have NaN logits: the model has diverged"),
    ],
)
def test_what_is_not_finite_is_never_saved(tmp_path, capsys, options, reason):
    """One step an epoch: every loss is finite, but what comes of it is not."""
    words = [*DIGITS, "--epochs", "1", "--method", "ce", "--batch-size", "9999", *options.split()]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("limit", [1_000, 20_000, 70_000])
def test_a_full_disk_keeps_the_last_checkpoint(half, whole, limit):
    """Writing fails at the table of difficulties, at the best weights or at the checkpoint itself, which is named."""
    checkpoint = (half / "checkpoint" / "last.pt").read_bytes()
    assert len(checkpoint) > 70_000
    failed = run([*TWO, "--out", half], largest_file=limit)
    assert failed.wait() == 2
    (line,) = failed.errors
    name = {1_000: "difficulty.csv", 20_000: "checkpoint/best-2.safetensors", 70_000: "checkpoint/last.pt"}[limit]
    assert line.startswith(f"error: {half / name}: File too large")
    assert (half / "checkpoint" / "last.pt").read_bytes() == checkpoint
    assert not list(half.rglob("*.tmp"))
    again = run([*TWO, "--out", half])
    assert again.wait() == 0, again.errors
    assert "continuing after epoch 1" in again.output
    assert_same_run(half, whole)


def test_a_full_disk_from_the_start(whole, tmp_path):
    failed = run([*TWO, "--out", tmp_path / "run"], largest_file=400)
    assert failed.wait() == 2
    assert len(failed.errors) == 1
    assert run([*TWO, "--out", tmp_path / "run"]).wait() == 0
    assert_same_run(tmp_path / "run", whole)


def test_a_place_that_cannot_be_written_is_told(capsys):
    assert main([*TWO, "--out", "/proc/nowhere/run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: /proc/nowhere")


@pytest.mark.parametrize("moment", [-1, 3, -4, 8])
def test_an_interrupted_run_is_continued(tmp_path, whole, moment):
    """Ctrl-C after config.json was written, within a checkpoint, after the first one, near the end."""
    running = run([*TWO, "--out", tmp_path / "run"], die_at=moment, by=signal.SIGINT)
    assert running.wait() == 130
    assert running.errors == ["error: interrupted; the same command continues"]
    assert run([*TWO, "--out", tmp_path / "run"]).wait() == 0
    assert_same_run(tmp_path / "run", whole)


def test_an_interrupted_comparison_ends_its_processes(tmp_path):
    words = ["compare", *DIGITS[1:], *"--methods ce cb --seeds 1 --jobs 2 --epochs 1000000 --out".split(), tmp_path]
    running = Command(words)  # neither run ends by itself: the loop below ends when both train, or when it has failed
    begun = [tmp_path / name / "seed-0" / "history.csv" for name in ("ce", "cb")]
    while running.running and not all(file.exists() for file in begun):
        time.sleep(0.01)
    children = psutil.Process(running.process.pid).children(recursive=True)
    assert len(children) == 2
    running.interrupt()
    assert running.wait() == 130
    assert running.errors == ["error: interrupted; the same command continues"]
    assert not any(child.is_running() for child in children)


def test_a_failed_run_ends_a_parallel_comparison(tmp_path):
    """The other runs stop, what they have is kept, and the line says which run failed and why."""
    (tmp_path / "cb" / "seed-0").mkdir(parents=True)
    (tmp_path / "cb" / "seed-0" / "config.json").mkdir()  # so that this run cannot begin
    words = ["compare", *DIGITS[1:], *"--methods ce cb --seeds 1 --jobs 2 --epochs 999 --out".split(), tmp_path]
    failed = run(words)
    assert failed.wait() == 2
    (line,) = failed.errors
    assert line.startswith("error: ") and "cb" in line


def test_a_reader_that_leaves_is_told_nothing():
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "longtail", "methods"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_debug_shows_where_an_error_came_from(tmp_path):
    with pytest.raises(ValueError, match="unknown method"):
        main([*TWO, "--method", "none", "--debug", "--out", str(tmp_path / "run")])
    assert snapshot(tmp_path) == {}
