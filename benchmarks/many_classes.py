"""What many classes cost a run: to continue it, and to judge it, against the plain way to do both.

Continuing reads ``difficulty.csv`` of 1,000 classes and 500 epochs: ours compares the file with the digest of the
checkpoint and cuts it to its length; the other side makes a list of dicts of its rows with `csv.DictReader`, takes out
the later ones and writes the file again. Judging counts 24,426 predictions of 8,142 classes (the validation images of
iNaturalist 2018) four times, as the end of a run does, and keeps the four results: ours keeps the pairs that occurred,
the other side a matrix of all pairs. Each side in a fresh process, in turns; memory is what its peak grew by.
"""

from __future__ import annotations

import csv
import importlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import Row, fresh_process, peak_mib, seconds

CLASSES, EPOCHS = 1000, 500
SPECIES, IMAGES, RESULTS = 8142, 24_426, 4
TURNS = 3


def benchmark() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        fresh_process(__file__, folder, "make")
        yield from _rows("resume", f"{CLASSES:,} classes, {EPOCHS} epochs", folder)
    yield from _rows("confusion", f"{SPECIES:,} classes, {RESULTS} results", "-")


def _rows(what: str, size: str, folder: str) -> Iterator[Row]:
    found: dict[str, list[dict[str, float]]] = {"ours": [], "other": []}
    for _ in range(TURNS):
        for side, measured in found.items():
            measured.append(fresh_process(__file__, folder, what, side))
    for unit in ("s", "mib"):
        ours, other = (statistics.median(one[unit] for one in found[side]) for side in ("ours", "other"))
        # Where judging is concerned, memory was the matter: its time is for information.
        yield Row.of(f"{what}_{unit}", size, ours, other, target=None if (what, unit) == ("confusion", "s") else 0.1)


def make(folder: Path) -> None:
    """A run folder after its last epoch."""
    import torch

    from longtail.training.folder import RunFolder

    run, state = RunFolder(folder), {"epoch": EPOCHS, "best": {"epoch": 0, "score": -1.0}, "optimizer": {}, "model": {}}
    torch.manual_seed(0)
    names = ("performance", "difficulty", "weight", "measured", "smoothed", "used_difficulty", "acting_weight")
    for epoch in range(EPOCHS):
        run.record({"epoch": epoch + 1, "stage": "train"}, {name: torch.rand(CLASSES) for name in names})
    run.checkpoint(state)
    (folder / "copy.csv").write_bytes((folder / "difficulty.csv").read_bytes())


def resume_ours(folder: Path) -> None:
    from longtail.training.folder import RunFolder

    assert RunFolder(folder).load_checkpoint() is not None


def resume_other(folder: Path) -> None:
    path = folder / "copy.csv"
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    kept = [row for row in rows if int(row["epoch"]) <= EPOCHS]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(kept[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


def confusion(side: str) -> list[Any]:
    import torch

    from longtail.metrics import Classification

    torch.manual_seed(0)
    target, results = torch.randint(SPECIES, (IMAGES,)), []
    for _ in range(RESULTS):
        predicted = torch.where(torch.rand(IMAGES) < 0.6, target, torch.randint(SPECIES, (IMAGES,)))
        if side == "ours":
            metric = Classification([1] * SPECIES)
            for p, y in zip(predicted.split(256), target.split(256), strict=True):
                metric.update(p, y)
            results.append(metric.compute()["confusion"])
        else:
            matrix = torch.zeros(SPECIES, SPECIES, dtype=torch.int64)
            for p, y in zip(predicted.split(256), target.split(256), strict=True):
                matrix.view(-1).index_add_(0, y * SPECIES + p, torch.ones_like(p))
            right, true, guessed = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
            results.append((matrix, right / true, right / guessed.clamp(min=1)))
    return results


def measure(folder: Path, what: str, side: str) -> dict[str, float]:
    import torch

    for module in ("longtail.metrics", "longtail.training.folder"):  # loaded before the memory is looked at
        importlib.import_module(module)
    torch.set_num_threads(1)
    call = {"ours": resume_ours, "other": resume_other}[side]
    before = peak_mib()
    took = seconds((lambda: call(folder)) if what == "resume" else (lambda: confusion(side)))
    return {"s": took, "mib": max(peak_mib() - before, 0.1)}


if __name__ == "__main__":
    place, *words = Path(sys.argv[1]), *sys.argv[2:]
    print(json.dumps(make(place) if words == ["make"] else measure(place, *words)))
