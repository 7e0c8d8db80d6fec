"""Simulated runs in the exact run-folder format: plausible curves, consistent numbers, no training."""

from __future__ import annotations

import csv
import json
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from longtail import runfolder

__all__ = ["comparison_folder", "rewrite_column", "write_csv", "write_run"]

# How much of the rarity penalty a method takes away, and what it costs the frequent classes.
SKILL = {"ce": (0.0, 0.0), "focal": (0.05, 0.01), "cb": (0.3, 0.03), "cdb-w": (0.6, 0.02), "cdb-s": (0.75, 0.05)}


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="replace") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([["" if v is None else v for v in row] for row in rows])


def write_run(
    path: Path,
    *,
    method: str = "ce",
    kwargs: Sequence[str] = (),
    seed: int = 0,
    classes: int = 10,
    names: Sequence[str] | None = None,
    max_count: int = 500,
    imbalance: float = 100.0,
    val_per_class: int | Sequence[int] = 20,
    test_per_class: int | Sequence[int] = 50,
    epochs: int = 20,
    accuracy: Sequence[float] | None = None,
    data: str = "digits",
    notes: Sequence[str] = (),
    **config: Any,
) -> None:
    """One finished run; a class is hard by its frequency and by its own nature, which is the same in all runs.

    ``accuracy`` sets the expected accuracies of the classes instead; ``config`` overrides fields of ``config.json``.
    """
    path.mkdir(parents=True)
    names = list(names or (f"class-{i:03d}" for i in range(classes)))
    classes = len(names)
    rng = np.random.default_rng(zlib.crc32(f"{method}{kwargs}{seed}".encode()))
    nature = np.random.default_rng(7).normal(0, 0.12, classes)
    train = [max(1, int(max_count * imbalance ** (-i / max(classes - 1, 1)))) for i in range(classes)]
    test_counts = [test_per_class] * classes if isinstance(test_per_class, int) else list(test_per_class)
    val_counts = [val_per_class] * classes if isinstance(val_per_class, int) else list(val_per_class)
    relief, cost = SKILL.get(method, (0.4, 0.02))
    rarity = np.log(max_count / np.array(train)) / math.log(max(imbalance, 2))
    final = 0.93 - cost + nature * 0.6 - 0.75 * rarity * (1 - relief) + rng.normal(0, 0.02, classes)
    final = np.clip(final if accuracy is None else np.array(accuracy), 0.0, 1.0)

    confusion_rows, per_class_rows, metrics = [], [], {}
    for split, counts in (("test", test_counts), ("val", val_counts)):
        matrix = np.zeros((classes, classes), dtype=int)
        for c, n in enumerate(counts):
            away = 1.0 / (1 + np.abs(np.arange(classes) - c)) * (1 + np.array(train) / max_count)
            away[c] = 0
            right = rng.binomial(n, final[c]) if classes > 1 else n
            matrix[c, c] = right
            if classes > 1:
                matrix[c] += rng.multinomial(n - right, away / away.sum())
        correct, total, answers = np.diag(matrix), matrix.sum(1), matrix.sum(0)
        recall = [None if t == 0 else float(r / t) for r, t in zip(correct, total, strict=True)]
        precision = [float(r / a) if a else 0.0 for r, a in zip(correct, answers, strict=True)]
        f1 = [
            2 * p * (r or 0) / (p + (r or 0)) if p + (r or 0) else 0.0 for p, r in zip(precision, recall, strict=True)
        ]
        present = [i for i, r in enumerate(recall) if r is not None]

        def group(inside: Callable[[int], bool], recall: Any = recall, present: list[int] = present) -> float | None:
            values = [recall[i] for i in present if inside(train[i])]
            return sum(values) / len(values) if values else None

        metrics[split] = {
            "top1": float(correct.sum() / total.sum()),
            "top5": float(min(1.0, correct.sum() / total.sum() + 0.1)) if classes > 5 else None,
            "precision": float(np.mean([precision[i] for i in present])),
            "recall": float(np.mean([r for r in recall if r is not None])),
            "f1": float(np.mean([f1[i] for i in present])),
            "many": group(lambda n: n > 100),
            "medium": group(lambda n: 20 <= n <= 100),
            "few": group(lambda n: n < 20),
            "per_class": recall,
        }
        confusion_rows += [(split, t, p, int(matrix[t, p])) for t, p in zip(*np.nonzero(matrix), strict=True)]
        per_class_rows += [
            (split, c, names[c], train[c], counts[c], recall[c], precision[c], f1[c]) for c in range(classes)
        ]

    weighted = method.startswith("cdb")
    history, difficulty, weight, acting = [], [], np.ones(classes), (np.ones(classes), None)
    best = (-1.0, 0)
    for e in range(1, epochs + 1):
        grown = 1 - math.exp(-4 * e / epochs)
        performance = np.clip(final * grown + rng.normal(0, 0.02, classes), 0, 1)
        bias = float(performance.max() / (performance.min() + 0.01) - 1)
        tau = 5.0 * (2 / (1 + math.exp(-bias)) - 1)
        hard = 1 - performance
        if weighted:
            weight = hard**tau
            weight = weight * classes / weight.sum() if weight.sum() else np.ones(classes)
        lr = 0.1 if e <= epochs * 0.8 else 0.01
        loss = 2.5 * math.exp(-3 * e / epochs) + abs(rng.normal(0, 0.03)) + 0.05
        own = (bias, tau) if weighted else (None, None)
        seconds, accurate = 3.0 + rng.random(), float(performance.mean())
        best = max(best, (accurate, e), key=lambda pair: pair[0])
        since = e - best[1]
        history.append(("train", e, lr, loss, accurate, *own, seconds, accurate, seconds / 10, acting[1], since))
        smoothed, used, acted = (performance, hard, acting[0]) if weighted else ([None] * classes,) * 3
        columns = ([e] * classes, range(classes), performance, hard, weight, performance, smoothed, used, acted)
        difficulty += zip(*columns, strict=True)
        acting = (weight, own[1])

    settings = {
        "data": data, "method": method, "method_kwargs": list(kwargs), "task": "classify", "imbalance": imbalance,
        "imbalance_kind": "exp", "data_seed": 0, "model": "resnet32", "epochs": epochs, "batch_size": 128, "lr": 0.1,
        "momentum": 0.9, "weight_decay": 1e-4, "schedule": "multistep", "milestones": [16], "seed": seed,
    } | config  # fmt: skip
    about = {"longtail": "0.1.0", "format": runfolder.FORMAT, "versions": {"torch": "2.15.0"}, "hardware": "a CPU"}
    _json(path / runfolder.CONFIG, about | {"config": settings})
    _json(
        path / runfolder.DATA,
        {
            "name": data, "class_names": names,
            "class_counts": {"train": train, "val": val_counts, "test": test_counts},
            "notes": list(notes), "mean": [0.5], "std": [0.25], "image_size": 32, "channels": 3, "model": "resnet32",
        },
    )  # fmt: skip
    per_class_rows = [(*row[:6], row[6], row[5], row[7]) for row in per_class_rows]
    tables = {
        runfolder.HISTORY: history,
        runfolder.DIFFICULTY: difficulty,
        runfolder.PER_CLASS: per_class_rows,
        runfolder.CONFUSION: confusion_rows,
    }
    for name, rows in tables.items():
        write_csv(path / name, runfolder.COLUMNS[name], rows)
    _json(path / runfolder.METRICS, metrics)
    (path / runfolder.LAST_WEIGHTS).write_bytes(b"weights are never read")


def comparison_folder(
    folder: Path, *, methods: Sequence[str] = ("ce", "cdb-w", "cdb-s"), seeds: int = 3, **options: Any
) -> Path:
    """``folder/<method>/seed-<k>`` for all methods and seeds."""
    for method in methods:
        for seed in range(seeds):
            write_run(folder / method / f"seed-{seed}", method=method, seed=seed, **options)
    return folder


def rewrite_column(path: Path, column: str, values: Callable[[int], Any]) -> None:
    """Replace a column of a CSV file by ``values(row index)``."""
    with path.open(newline="", encoding="utf-8") as f:
        header, *rows = csv.reader(f)
    for i, row in enumerate(rows):
        row[header.index(column)] = values(i)
    write_csv(path, header, rows)


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
