"""SIGTERM: the step is finished, what there is is saved, and the same command goes on to the same numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from commands import run
from detection.pictures import write_pictures
from longtail.difficulty import ClassDifficulty
from longtail.errors import Terminated
from longtail.metrics import Classification
from longtail.training import run as training
from longtail.training.config import RunConfig
from longtail.training.progress import Progress
from training.folders import DIGITS, FIRST_CHECKPOINT, assert_same_run
from training.test_processes import train_here

SMALL: dict[str, Any] = {
    "data": "digits", "model": "lenet5-classic", "image_size": 16, "epochs": 2, "lr": 0.02, "schedule": "cosine",
    "batch_size": 64, "warmup_epochs": 0, "device": "cpu",
}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "cdb-w": {"method": "cdb-w"},
    "cdb-s": {"method": "cdb-s", "method_kwargs": ("source=train", "measure=soft", "min_difficulty=0.05")},
    "focal": {"method": "focal"},
    "mw-net": {"method": "mw-net", "method_kwargs": ("meta_batch=20",)},
    "crt": {"method": "crt", "method_kwargs": ("balance=cdb-s",)},
    "dropout": {"method": "ce", "model": "mobilenet_v2", "image_size": 32, "batch_size": 300},
}


class Ends(Progress):
    """Sends SIGTERM to its own process after so many steps in all."""

    def __init__(self, after: int) -> None:
        self.left = after

    def step(self, step: int, steps: int) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("name", METHODS)
def test_a_run_that_is_asked_to_end_goes_on_to_the_same_numbers(tmp_path: Path, name: str) -> None:
    config = RunConfig(**SMALL | METHODS[name])
    training.train(config, tmp_path / "whole")
    steps = -(-len(training_labels(tmp_path / "whole")) // config.batch_size)  # pyright: ignore
    for after in (1, steps, steps + 1):  # in the first epoch, at its end, in the second
        folder, handler = tmp_path / str(after), signal.getsignal(signal.SIGTERM)
        with pytest.raises(Terminated):
            training.train(config, folder, progress=Ends(after))
        assert signal.getsignal(signal.SIGTERM) == handler
        training.train(config, folder)
        for file in ("metrics.json", "model.safetensors", "model_best.safetensors", "difficulty.csv", "per_class.csv"):
            assert (folder / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), (after, file)
        assert hard(folder) == hard(tmp_path / "whole")


def once(owner: type, name: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process send itself SIGTERM after the call of a function that is the ``at``-th from now."""
    called, function = 0, getattr(owner, name)

    def calls(*args: Any, **options: Any) -> Any:
        nonlocal called
        result = function(*args, **options)
        called += 1
        if called == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(owner, name, calls)


@pytest.mark.parametrize(
    ("owner", "name", "at", "told"),
    [
        (ClassDifficulty, "update", 1, "saved after step"),  # within the measuring of the first epoch
        (ClassDifficulty, "update", 2, "saved after step"),
        (Classification, "update", 3, "while judging"),  # of the last weights on val
        (Classification, "update", 4, "while judging"),
    ],
)
def test_sigterm_while_judging_is_heard_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, at: int, told: str
) -> None:
    config = RunConfig(**SMALL | {"method": "cdb-w"})
    training.train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        once(owner, name, at, patch)
        with pytest.raises(Terminated, match=told):
            training.train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()
    training.train(config, tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("moment", [FIRST_CHECKPOINT - 1, FIRST_CHECKPOINT])
def test_the_command_exits_with_143_and_goes_on(tmp_path: Path, moment: int) -> None:
    words = [*DIGITS, "--method", "cdb-w", "--epochs", "2"]
    ended = run([*words, "--out", tmp_path / "run"], die_at=moment, by=signal.SIGTERM)
    assert ended.wait() == 143
    (line,) = ended.errors
    assert line.startswith("error: asked to end (SIGTERM): saved after ") and line.endswith(
        "the same command continues"
    )
    again = run([*words, "--out", tmp_path / "run"])
    assert again.wait() == 0 and "continuing after" in again.output
    assert run([*words, "--out", tmp_path / "whole"]).wait() == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def end_here(rank: int, options: dict[str, Any], folder: str, at: int) -> str:
    """Train as one of two processes; the second is asked to end at its ``at``-th step, and they agree every third."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("longtail.training.loop._AGREE", 3)
        if rank == 1:
            once(training._Loop, "_loss", at, patch)
        try:
            train_here(rank, options, folder)
        except Terminated as stop:
            return str(stop)
    return "went on"


@pytest.mark.parametrize("method", ["focal", "cdb-s"])
def test_two_processes_end_at_one_step_and_go_on(run_two: Any, tmp_path: Path, method: str) -> None:
    options = SMALL | METHODS[method]
    whole, _ = run_two(train_here, options, str(tmp_path / "whole"))
    first, second = run_two(end_here, options, str(tmp_path / "run"), 2)
    assert first == second and "saved after step 3 of epoch 1" in first
    rest, other = run_two(train_here, options, str(tmp_path / "run"))
    assert rest == other == whole
    for name in ("metrics.json", "model.safetensors", "difficulty.csv", "per_class.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert hard(tmp_path / "run") == hard(tmp_path / "whole")


def test_boxes_go_on_to_the_same_numbers(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "coco")
    config = RunConfig(
        data=f"coco:{data}", task="detect", method="cdb-w", model="fasterrcnn_resnet10_fpn", image_size=32, epochs=1,
        batch_size=4, lr=0.01, val_fraction=0.25, device="cpu",
    )  # fmt: skip
    training.train(config, tmp_path / "whole")
    with pytest.raises(Terminated):
        training.train(config, tmp_path / "run", progress=Ends(1))
    training.train(config, tmp_path / "run")
    for name in ("metrics.json", "model.safetensors", "difficulty.csv", "per_class.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def training_labels(folder: Path) -> range:
    import json

    return range(sum(json.loads((folder / "data.json").read_text())["class_counts"]["train"]))


def hard(folder: Path) -> bytes:
    return (folder / "hard.csv").read_bytes() if (folder / "hard.csv").exists() else b""


WORKERS = """
import time, torch
from longtail.data import ImageData, Split, make_loader
split = Split(["a.png", "b.png"], torch.zeros(2, dtype=torch.int64))
data = ImageData(name="x", class_names=["a"], train=split, val=None, test=split)
loader = make_loader(split, data, image_size=8, train=False, workers=2)
list(loader([torch.tensor([0]), torch.tensor([1])]))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is told by Linux")
def test_workers_end_with_their_process(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    script = tmp_path / "script.py"
    script.write_text("if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in WORKERS.splitlines()))
    process = subprocess.Popen([sys.executable, script], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    workers = [p for p in psutil.Process(process.pid).children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    assert len(workers) == 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive


def test_random_states_go_back_and_forth() -> None:
    from longtail.training.ending import random_state, set_random_state

    state = random_state()
    first = torch.rand(3)
    set_random_state(state)
    assert torch.equal(torch.rand(3), first)
