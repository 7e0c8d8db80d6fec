"""What a pretrained backbone is worth to the small detector: EfficientNet-Lite0 against the same from random weights.

The same schedule, images and seeds for both; the published weights keep their statistics and their first stages, random
ones are normalised by groups.

    python benchmarks/detector_start.py shapes-lt
    python benchmarks/detector_start.py coco:DIR

A row per run is added to ``results/detector-start.csv``; those that are there are not computed again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from longtail.config import RunConfig
from longtail.data.catalogue import parse_spec
from longtail.tasks.start import DEFAULT_DETECTOR
from longtail.training.run import train
from rows import add_row, read_rows

RESULTS = Path(__file__).resolve().parent.parent / "results" / "detector-start.csv"
MEASURES = ("AP", "AP50", "APr", "APc", "APf", "box_accuracy", "box_recall")
COLUMNS: tuple[str, ...] = ("data", "weights", "seed", *MEASURES, "epochs", "image_size", "seconds", "command")
SCHEDULES: dict[str, dict[str, Any]] = {
    "shapes-lt": {"epochs": 3},  # of 126 steps
    "coco": {"epochs": 6, "batch_size": 4, "lr": 0.02, "schedule": "cosine", "image_size": 160},
}


def done() -> set[tuple[str, str, str]]:
    """The runs that are there."""
    return {(row["data"], row["weights"], row["seed"]) for row in read_rows(RESULTS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", help="shapes-lt or coco:DIR")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    name = parse_spec(options.data)[0]
    for seed in range(options.seeds):
        for weights in ("none", "pretrained"):
            if (name, weights, str(seed)) in done():
                continue
            settings = {"task": "detect", "model": DEFAULT_DETECTOR, **SCHEDULES[name]}
            config = RunConfig(data=options.data, method="ce", weights=weights, seed=seed, device="cpu", **settings)
            begun = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                found = train(config, Path(folder) / "run")["test"]
            row: dict[str, Any] = {key: "" if found[key] is None else round(100 * found[key], 3) for key in MEASURES}
            row |= {"data": name, "weights": weights, "seed": seed, "seconds": round(time.perf_counter() - begun)}
            row |= {"epochs": config.epochs, "image_size": config.image_size or 128}
            words = [f"--{key.replace('_', '-')} {value}" for key, value in settings.items()]
            place = "" if name == "shapes-lt" else ":DIR"
            row["command"] = f"longtail train {name}{place} --method ce --weights {weights} {' '.join(words)}"
            add_row(RESULTS, COLUMNS, row)
            print({key: row[key] for key in ("data", "weights", "seed", "AP", "box_accuracy", "seconds")}, flush=True)


if __name__ == "__main__":
    main()
