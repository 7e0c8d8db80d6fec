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

from longtail.errors import Terminated
from longtail.training import run as training
from longtail.training.config import RunConfig
from longtail.training.progress import Progress

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
