"""The first command on a folder of photographs against scikit-learn's logistic regression on the same features.

The folder stands in for somebody's own photographs: the classes of CIFAR-100 with 13 to 150 training images each and
10 test images, as JPEG files of 72 pixels. ``longtail compare folder:photographs`` runs as it comes: twelve methods,
five seeds. The regression gets the same rows, standardised; its C and its class weights are chosen by class-mean
accuracy on a quarter of the training images that keeps near copies together; then it is fitted on all of them.

    python benchmarks/photographs.py CIFAR100_DIR [--work DIR]

Rows go to ``results/photographs.csv``.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from longtail.data import load_data
from longtail.evenness import evenness

RESULTS = Path(__file__).resolve().parent.parent / "results" / "photographs.csv"
COLUMNS = ("method", "seed", "mean", "worst_tenth", "geometric_mean", "lowest_class", "hardware")
FEWEST, MOST, TESTS, SIDE = 13, 150, 10, 72
STRENGTHS = (10.0, 30.0, 100.0, 300.0)


def write(folder: Path, cifar: str) -> None:
    """``FOLDER/train/CLASS/FILE.jpg`` and ``FOLDER/test/CLASS/FILE.jpg``."""
    data = load_data(f"cifar100:{cifar}", protocol="cao", imbalance=1)
    draw = np.random.default_rng(0)
    counts = np.round(FEWEST + (MOST - FEWEST) * draw.random(data.num_classes) ** 1.5).astype(int)
    for c, count in enumerate(counts):
        for name, split, n in (("train", data.train, count), ("test", data.test, TESTS)):
            place = folder / name / f"class{c:03}"
            place.mkdir(parents=True, exist_ok=True)
            for i in draw.permutation(np.flatnonzero(split.labels.numpy() == c))[:n]:
                pixels = np.asarray(split.images[int(i)]).transpose(1, 2, 0)
                picture = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                picture.save(place / f"{i}.jpg", quality=92)


def class_mean(layer: LogisticRegression, x: np.ndarray, y: np.ndarray) -> list[float]:
    """Accuracy of each class."""
    right = layer.predict(x) == y
    return [float(right[y == c].mean()) for c in np.unique(y)]


def regression(file: Path) -> list[float]:
    """Accuracy per class on the test rows of a file of features."""
    with np.load(file) as archive:
        rows = dict(archive)
    own = rows["split"] != "test"
    scale = StandardScaler().fit(rows["x"][own].astype(np.float32))
    x = (scale.transform(rows["x"].astype(np.float32)) / np.sqrt(rows["x"].shape[1])).astype(np.float32)
    y, single = rows["y"], np.arange(len(own)).astype(str)
    groups = np.where(rows["group"] == "", single, rows["group"]) if "group" in rows else single
    cut = StratifiedGroupKFold(4, shuffle=True, random_state=0).split(x[own], y[own], groups[own])
    fitted, held = next(iter(cut))
    found = {}
    for weights in (None, "balanced"):
        for strength in STRENGTHS:
            layer = LogisticRegression(C=strength, class_weight=weights, max_iter=300)
            score = np.mean(class_mean(layer.fit(x[own][fitted], y[own][fitted]), x[own][held], y[own][held]))
            print(
                f"logistic regression, C {strength:g}, class weights {weights}: {100 * score:.2f} % held out",
                flush=True,
            )
            found[weights, strength] = score
    weights, strength = max(found, key=lambda key: found[key])
    return class_mean(
        LogisticRegression(C=strength, class_weight=weights, max_iter=1000).fit(x[own], y[own]), x[~own], y[~own]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cifar", help="folder of CIFAR-100")
    parser.add_argument("--work", type=Path, default=Path("photographs-benchmark"))
    options = parser.parse_args()
    folder = options.work / "photographs"
    if not folder.is_dir():
        write(folder, str(Path(options.cifar).resolve()))
    longtail = [sys.executable, "-m", "longtail.cli"]
    cache = ["--feature-cache", "features"]
    subprocess.run([*longtail, "compare", "folder:photographs", *cache, "--out", "runs"], cwd=options.work, check=True)
    rows, hardware = [], ""
    for file in sorted((options.work / "runs").glob("*/*/metrics.json")):
        per_class = json.loads(file.read_text())["test"]["per_class"]
        hardware = json.loads((file.parent / "config.json").read_text())["hardware"]
        rows.append((file.parents[1].name, file.parent.name.removeprefix("seed-"), per_class))
    subprocess.run(
        [*longtail, "embed", "folder:photographs", *cache, "--out", "photographs.npz"], cwd=options.work, check=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that reach their last step
        rows.append(("LogisticRegression", "0", regression(options.work / "photographs.npz")))
    with open(RESULTS, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for method, seed, per_class in rows:
            even = evenness(per_class)
            values = [sum(per_class) / len(per_class), *(even[key] for key in COLUMNS[3:6])]
            writer.writerow([method, seed, *(round(100 * (value or 0), 2) for value in values), hardware])


if __name__ == "__main__":
    main()
