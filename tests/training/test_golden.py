"""Loss and accuracy of short runs, as they were: a change of the code that must not change numbers keeps them.

A change that means to change numbers writes them anew::

    LONGTAIL_GOLDEN=write python -m pytest tests/training/test_golden.py

Look at the difference of ``golden.json`` before committing it, and say in the commit why the numbers changed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

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


def measure(name: str, folder: Path) -> dict[str, list[float] | float]:
    train(RunConfig(**COMMON | RUNS[name]), folder)  # type: ignore[arg-type]
    rows = read_csv(folder / "history.csv")
    found: dict[str, list[float] | float] = {"train_loss": [float(row["train_loss"]) for row in rows]}
    found["val_accuracy"] = [float(row["val_accuracy"]) for row in rows]
    found["test_top1"] = read_json(folder / "metrics.json")["test"]["top1"]
    return found


@pytest.mark.parametrize("name", RUNS)
def test_numbers_are_what_they_were(name, tmp_path):
    found = measure(name, tmp_path / "run")
    if os.environ.get("LONGTAIL_GOLDEN") == "write":
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        kept = {n: found if n == name else known[n] for n in RUNS if n == name or n in known}
        FILE.write_text(json.dumps(kept, indent=1) + "\n")
    golden = json.loads(FILE.read_text())[name]
    # Other processors sum in another order: a loss differs little, an accuracy by a few images at most.
    assert found["train_loss"] == pytest.approx(golden["train_loss"], rel=1e-3)
    assert found["val_accuracy"] == pytest.approx(golden["val_accuracy"], abs=0.021)
    assert found["test_top1"] == pytest.approx(golden["test_top1"], abs=0.021)


def test_every_golden_run_is_known():
    assert list(json.loads(FILE.read_text())) == list(RUNS)
