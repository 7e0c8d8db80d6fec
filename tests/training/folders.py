"""Compare run folders, and look at what a command left behind."""

from __future__ import annotations

import csv
from pathlib import Path

__all__ = ["DIGITS", "FIRST_CHECKPOINT", "assert_same_run", "snapshot"]

FIRST_CHECKPOINT = -5
"""``die_at`` just after the first checkpoint: config, splits, data, best weights, checkpoint."""

# A run of a fraction of a second an epoch.
DIGITS = (
    "train digits --model lenet5-classic --image-size 16 --batch-size 64 --lr 0.02 --schedule cosine "
    "--warmup-epochs 0 --weight-decay 5e-4 --device cpu"
).split()

EQUAL = (
    "metrics.json", "model.safetensors", "model_best.safetensors", "difficulty.csv", "per_class.csv", "confusion.csv",
    "data.json", "config.json", "splits.csv.gz",
)  # fmt: skip


def snapshot(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder; empty if there is none."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def history(folder: Path) -> list[dict[str, str]]:
    """Rows of ``history.csv`` without the columns of measured time."""
    with open(folder / "history.csv", newline="", encoding="utf-8") as f:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(f)]


def assert_same_run(folder: Path, other: Path) -> None:
    """All that two finished run folders hold is equal, byte for byte, but for the time it took."""
    for name in EQUAL:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    assert history(folder) == history(other)
    assert not list(folder.rglob("*.tmp"))
    assert len(list((folder / "checkpoint").glob("*.pt"))) == 1
