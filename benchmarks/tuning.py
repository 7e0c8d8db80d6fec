"""Fine-tuning the whole network against a classifier on its frozen features, on pictures far from photographs.

Each seed draws its own long-tailed folder of pictures: MNIST's digits (1,000 images of the most frequent class, 100 of
the rarest, 2,000 test images), or scikit-learn's (130 and 6, 400 test images). Both ways start from the embedded
EfficientNet-Lite0, with the defaults of ``longtail train`` but for what `WAYS` says.

    python benchmarks/tuning.py digits
    python benchmarks/tuning.py mnist:DIR

A row per run is added to ``results/tuning.csv``; those that are there are not computed again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from longtail.config import RunConfig
from longtail.data import long_tail_counts
from longtail.data.arrays import read_idx_pair
from longtail.data.catalogue import parse_spec
from longtail.evenness import evenness
from longtail.training.run import train
from rows import add_row, read_rows

RESULTS = Path(__file__).resolve().parent.parent / "results" / "tuning.csv"
KEY = ("data", "tune", "method", "seed")
COLUMNS: tuple[str, ...] = (
    *KEY,
    *("mean", "worst_tenth", "geometric_mean", "lowest_class"),
    *("images", "image_size", "epochs", "cpu_seconds", "hardware", "command"),
)
_FAST: dict[str, Any] = {"tune": "all", "image_size": 64, "augment": ("no-flip",)}
WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "digits": {"head": {"tune": "head", "features": "levels"}, "all": _FAST | {"epochs": 20, "batch_size": 16}},
    "mnist": {"head": {"tune": "head", "features": "levels"}, "all": _FAST | {"epochs": 6}},
}
"""Small batches where there are 500 images, which are 8 steps of an epoch otherwise; digits are not mirrored."""
METHODS = ("ce", "balanced-softmax")
SIZES = {"digits": (130, 20.0, 40), "mnist": (1000, 10.0, 200)}
"""Most images of a class, imbalance, test images per class."""


def pictures(name: str, place: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Grey pictures ``[N, H, W]`` and their labels."""
    if name == "digits":
        digits: Any = load_digits()
        return (digits.images * 15.9).astype(np.uint8), digits.target
    folder = Path(place or "")
    own = read_idx_pair(next(folder.glob("train-images*")), next(folder.glob("train-labels*")))
    return np.asarray(own.images)[:, 0], own.labels.numpy()


def write(folder: Path, name: str, images: np.ndarray, labels: np.ndarray, seed: int) -> None:
    """A draw: ``FOLDER/train/CLASS/FILE`` and ``FOLDER/test/CLASS/FILE``, the order of the classes by chance."""
    draw = np.random.default_rng([seed, 7])
    most, imbalance, tests = SIZES[name]
    for label, count in zip(draw.permutation(10), long_tail_counts(most, 10, imbalance=imbalance), strict=True):
        for i, row in enumerate(draw.permutation(np.flatnonzero(labels == label))[: tests + count]):
            place = folder / ("test" if i < tests else "train") / f"digit{label}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row]).save(place / f"{row:05}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", help="digits or mnist:DIR")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    name, place = parse_spec(options.data)
    images, labels = pictures(name, place)
    done = {tuple(row[key] for key in KEY) for row in read_rows(RESULTS)}
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "pictures"
            write(folder, name, images, labels, seed)
            for tune, settings in WAYS[name].items():
                for method in METHODS:
                    if (name, tune, method, str(seed)) in done:
                        continue
                    words = {"method": method, "group_by": "none", **settings}
                    config = RunConfig(data=f"folder:{folder}", seed=seed, device="cpu", **words)
                    begun, out = time.process_time(), Path(scratch) / f"{tune}-{method}"
                    test = train(config, out)["test"]
                    took = time.process_time() - begun
                    even = {key: value for key, value in evenness(test["per_class"]).items() if value is not None}
                    values = {"mean": sum(test["per_class"]) / len(test["per_class"]), **even}
                    row: dict[str, Any] = {"data": name, "tune": tune, "method": method, "seed": seed}
                    row |= {key: round(100 * value, 2) for key, value in values.items()}
                    row |= {"images": sum(1 for _ in (folder / "train").rglob("*.png")), "cpu_seconds": round(took)}
                    row |= {"image_size": settings.get("image_size", 224), "epochs": settings.get("epochs", 20)}
                    row["hardware"] = json.loads((out / "config.json").read_text())["hardware"]
                    shown = {key: " ".join(v) if isinstance(v, tuple) else v for key, v in words.items()}
                    said = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in shown.items())
                    row["command"] = f"longtail train folder:DIR {said} --seed {seed}"
                    add_row(RESULTS, COLUMNS, row)
                    print({key: row[key] for key in (*KEY, "mean", "worst_tenth", "cpu_seconds")}, flush=True)


if __name__ == "__main__":
    main()
