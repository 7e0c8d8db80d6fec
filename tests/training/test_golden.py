"""Loss and accuracy of short runs, as they were: a change of the code that must not change numbers keeps them.

They hold on every processor, because the runs are made in double precision, initial
weights included. The vector unit decides in which order a sum is made and how ``exp`` is rounded. In single precision
that is an error of 1e-7, which three epochs (ReLUs, batch statistics and clipping one after the other) grow to 1e-3: as
large as the changes that are looked for. In double precision it is 1e-16 and stays below 1e-14, as seen with the SSE2,
AVX2 and AVX-512 kernels of PyTorch and of MKL. The images are made in single precision by operations that are rounded
exactly, one at a time: they are the same everywhere.

A change that means to change numbers writes them anew::

    LONGTAIL_GOLDEN=write python -m pytest tests/training/test_golden.py

Look at the difference of ``golden.json`` before committing it, and say in the commit why the numbers changed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from longtail.tasks.image import ImageTask
from longtail.training.config import RunConfig
from longtail.training.files import read_csv, read_json
from longtail.training.run import train

FILE = Path(__file__).with_name("golden.json")
# Everything is named here, so that other defaults change nothing.
COMMON = {
    "data": "digits", "imbalance": 20.0, "model": "lenet5-classic", "image_size": 16, "epochs": 3, "batch_size": 64,
    "lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "cosine", "warmup_epochs": 1, "seed": 0,
    "device": "cpu", "final": "last",
}  # fmt: skip
DIFFICULTY = ("max_tau=5.0", "eps=0.01", "min_difficulty=0.0", "normalize=True", "absent=keep")
RUNS: dict[str, dict[str, object]] = {
    "ce": {"method": "ce"},
    "focal": {"method": "focal", "method_kwargs": ("gamma=1.0",)},
    "cb": {"method": "cb", "method_kwargs": ("beta=0.99",)},
    "cfs": {"method": "cfs", "method_kwargs": ("exponent=0.5",)},
    "class-aware": {"method": "class-aware", "method_kwargs": ("samples_per_class=4",)},
    "progressive": {"method": "progressive"},
    "cdb-w": {"method": "cdb-w", "method_kwargs": (*DIFFICULTY, "tau=1.0", "momentum=0.0")},
    "cdb-w sigmoid": {"method": "cdb-w", "method_kwargs": (*DIFFICULTY, "tau=sigmoid", "momentum=0.5")},
    "cdb-w-fl": {"method": "cdb-w-fl", "method_kwargs": (*DIFFICULTY, "tau=1.0", "momentum=0.0", "gamma=1.0")},
    "cdb-s": {"method": "cdb-s", "method_kwargs": (*DIFFICULTY, "tau=1.0", "momentum=0.0")},
    "cdb-s accv": {"method": "cdb-s", "method_kwargs": (*DIFFICULTY, "tau=accv", "momentum=0.5")},
    "l2rw": {"method": "l2rw", "method_kwargs": ("meta_batch=20",)},
    "mw-net": {"method": "mw-net", "method_kwargs": ("meta_batch=20", "hidden=100", "net_lr=0.001")},
    "difficulty-net": {"method": "difficulty-net", "method_kwargs": ("meta_batch=20", "net_lr=0.001")},
    "ce, BatchNorm and clipping": {"method": "ce", "model": "resnet20", "image_size": 8, "clip_grad_norm": 1.0},
}


@pytest.fixture
def double(monkeypatch):
    """Whatever is computed from weights is computed in double precision."""
    build = ImageTask.build_model

    def build_double(self, **options):
        model = build(self, **options).double()
        model.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
        return model

    monkeypatch.setattr(ImageTask, "build_model", build_double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def measure(name: str, folder: Path) -> dict[str, list[float] | float]:
    train(RunConfig(**COMMON | RUNS[name]), folder)  # type: ignore[arg-type]
    rows = read_csv(folder / "history.csv")
    found: dict[str, list[float] | float] = {"train_loss": [float(row["train_loss"]) for row in rows]}
    found["val_accuracy"] = [float(row["val_accuracy"]) for row in rows]
    found["test_top1"] = read_json(folder / "metrics.json")["test"]["top1"]
    return found


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.usefixtures("double")
def test_numbers_are_what_they_were(name, tmp_path):
    found = measure(name, tmp_path / "run")
    if os.environ.get("LONGTAIL_GOLDEN") == "write":
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        kept = {n: found if n == name else known[n] for n in RUNS if n == name or n in known}
        FILE.write_text(json.dumps(kept, indent=1) + "\n")
    golden = json.loads(FILE.read_text())[name]
    assert found["train_loss"] == pytest.approx(golden["train_loss"], rel=1e-9)
    assert found["val_accuracy"] == golden["val_accuracy"]
    assert found["test_top1"] == golden["test_top1"]


def test_every_golden_run_is_known():
    assert list(json.loads(FILE.read_text())) == list(RUNS)
