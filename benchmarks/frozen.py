"""Every last-layer method on frozen features of CIFAR100-LT, imbalance 100: held out, and cross-fitted on everything.

Each draw takes new images and a new order of the classes from the training part of CIFAR-100:

- ``held-out``: 50 images per class are set apart, the most frequent class keeps 450, the rarest 4. What a method
  measures or chooses, it takes from the 50.
- ``cross-fit``: nothing is set apart, the most frequent class keeps 500, the rarest 5. What a method measures or
  chooses comes from out-of-fold predictions, or from a share that is trained on at the end.
- ``last``: the same with what the network's own classifier reads, and nothing of the stages before.

All are judged on all 10,000 test images.

    python benchmarks/frozen.py --features FILE.npz [--draws 5] [--protocols held-out cross-fit] [--work DIR]

FILE.npz holds ``x [N, D]``, ``y [N]`` and ``split [N]`` (train, test) of all images of CIFAR-100, as ``longtail embed``
writes them. Runs are kept in ``--work``, those that are there are not trained again. Rows go to ``results/frozen.csv``.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from longtail.data import long_tail_counts

RESULTS = Path(__file__).resolve().parent.parent / "results" / "frozen.csv"
KEY = ("protocol", "draw", "method")
COLUMNS: tuple[str, ...] = (*KEY, "mean", "worst_tenth", "geometric_mean", "lowest_class", "images", "hardware")
HELD_OUT = 50
BOTH = (
    "ce",
    "focal",
    "class-aware",
    "cfs",
    "rfs",
    "cb",
    "eql",
    "seesaw",
    "balanced-softmax",
    "logit-adjust:post_hoc=True",
    "balanced-softmax:tau=cv",
    "balanced-softmax:tau=cv,aim=floor",
    "cdt",
    "vs",
    "ldam-drw",
    "progressive",
    "crt",
    "lws",
    "ncm",
    "oltr",
    "tau-norm",
    "cdb-w:preset=cross-fit",
    "cdb-s:preset=cross-fit",
    "cdb-w:preset=cross-fit,base=balanced-softmax",
    "cdb-margin:source=cross-fit",
)
METHODS = {
    "held-out": (*BOTH, "cdb-w", "cdb-s", "cdb-w-fl", "cdb-margin", "l2rw", "mw-net", "difficulty-net"),
    "cross-fit": BOTH,
    "last": ("ce", "balanced-softmax"),
}
LAST = 1280
"""Of the features, those that stand first."""


def written(features: dict[str, np.ndarray], protocol: str, draw: int, file: Path) -> None:
    """One draw as a file of features."""
    generator = np.random.default_rng([draw, 100])
    train, test = (np.flatnonzero(features["split"] == name) for name in ("train", "test"))
    classes = int(features["y"].max()) + 1
    most = 450 if protocol == "held-out" else 500
    counts = long_tail_counts(most, classes, imbalance=100)
    rows, split = [test], ["test"] * len(test)
    for rank, label in enumerate(generator.permutation(classes)):
        own = generator.permutation(train[features["y"][train] == label])
        rows.append(own[: counts[rank]])
        split += ["train"] * counts[rank]
        if protocol == "held-out":
            rows.append(own[-HELD_OUT:])
            split += ["val"] * HELD_OUT
    index = np.concatenate(rows)
    x = features["x"][:, :LAST] if protocol == "last" else features["x"]
    np.savez(file, x=x[index], y=features["y"][index], split=np.array(split))


def collected(work: Path) -> list[dict[str, object]]:
    """A row per finished run."""
    rows = []
    for file in work.glob("*/*/*/metrics.json"):
        metrics = json.loads(file.read_text())
        test, parts = metrics["test"], ["train", "val"] if metrics.get("refit") else ["train"]
        protocol, _, draw = file.parents[2].name.rpartition("-")
        mean = sum(test["per_class"]) / len(test["per_class"])
        values = {"mean": mean} | {name: test[name] for name in ("worst_tenth", "geometric_mean", "lowest_class")}
        own: dict[str, object] = {"protocol": protocol, "draw": draw, "method": file.parents[1].name}
        own |= {name: round(100 * value, 2) for name, value in values.items()}
        data, config = (json.loads((file.parent / name).read_text()) for name in ("data.json", "config.json"))
        rows.append(
            own | {"images": sum(sum(data["class_counts"][part]) for part in parts), "hardware": config["hardware"]}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--protocols", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--work", type=Path, default=Path("frozen"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    with np.load(options.features) as archive:
        features = dict(archive)
    for draw in range(options.draws):
        for protocol in options.protocols:
            file = options.work / f"{protocol}-{draw}.npz"
            written(features, protocol, draw, file)
            words = [
                "compare",
                f"features:{file}",
                "--methods",
                *METHODS[protocol],
                "--seeds",
                "1",
                "--seed",
                str(draw),
            ]
            subprocess.run(
                [sys.executable, "-m", "longtail.cli", *words, "--out", str(file.with_suffix(""))], check=True
            )
            file.unlink()
    rows = collected(options.work)
    with open(RESULTS, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: tuple(str(row[key]) for key in KEY)))


if __name__ == "__main__":
    main()
