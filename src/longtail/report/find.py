"""Finds run folders, and reads what the report needs at once of each."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from longtail import runfolder
from longtail.errors import LongtailError
from longtail.names import distinct_names
from longtail.report.runs import BrokenRun, Data, Run
from longtail.report.tolerant import finite, floats, has_columns, listed, printable, read_columns, read_json

__all__ = ["find_runs"]


def find_runs(folder: Path) -> tuple[list[Run], list[BrokenRun]]:
    """All runs in and below ``folder``, in the order of their paths: the finished ones and the others."""
    runs, broken = [], []
    for path in sorted(_run_folders(folder), key=_natural):
        try:
            found = _read_run(path, folder)
        except Exception as error:  # files of others hold anything; one run folder does not stop the report of all
            reason = f"its files do not fit together ({type(error).__name__}: {printable(error)[:200]})"
            found = BrokenRun(printable(path.relative_to(folder).as_posix()), reason)
        (runs if isinstance(found, Run) else broken).append(found)
    return runs, broken


def _run_folders(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        path = Path(root)
        started = runfolder.CONFIG in files and "longtail" in read_json(path / runfolder.CONFIG, [])
        if started or runfolder.METRICS in files or runfolder.HISTORY in files:
            folders.clear()
            yield path
        else:
            folders[:] = [f for f in folders if not f.startswith(".") and f not in (runfolder.CHECKPOINT, "figures")]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts seed-2 before seed-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _read_run(path: Path, folder: Path) -> Run | BrokenRun:
    relative = printable(path.relative_to(folder).as_posix())
    problems: list[str] = []
    config_file = read_json(path / runfolder.CONFIG, problems)
    try:
        runfolder.check_format(config_file, Path(runfolder.CONFIG))
    except LongtailError as error:
        return BrokenRun(relative, str(error))
    config = config_file.get("config")
    config = config if isinstance(config, dict) else {}
    history = _read_history(path, problems)
    metrics_problems: list[str] = []
    metrics = read_json(path / runfolder.METRICS, metrics_problems)
    if not (path / runfolder.METRICS).is_file():
        done = int(max(history.get("epoch", ()), default=0))
        return BrokenRun(relative, f"not finished: {done} of {config.get('epochs') or 'its'} epochs are done")
    if metrics_problems or not isinstance(metrics.get("test"), dict):
        return BrokenRun(relative, metrics_problems[0] if metrics_problems else "metrics.json has no test numbers")
    if not config:
        problems.append("config.json tells no configuration: method and seed are taken from the folder names")
    if not history:
        problems.append("history.csv is missing or empty")
    clean = {split: finite(values) for split, values in metrics.items() if isinstance(values, dict)}
    versions, hyperparameters = config_file.get("versions"), config_file.get("hyperparameters")
    return Run(
        path=path,
        relative=relative,
        config=config,
        hyperparameters=hyperparameters if isinstance(hyperparameters, dict) else {},
        versions={str(k): printable(v) for k, v in versions.items()} if isinstance(versions, dict) else {},
        hardware=printable(config_file.get("hardware") or ""),
        data=_read_data(path, config, clean["test"], problems),
        metrics=clean,
        history=history,
        problems=problems,
    )


def _read_data(path: Path, config: Mapping[str, Any], test: Mapping[str, Any], problems: list[str]) -> Data:
    data = read_json(path / runfolder.DATA, problems)
    names, counts = data.get("class_names"), data.get("image_counts", data.get("class_counts"))
    if not isinstance(names, list) or not names:
        problems.append("data.json tells no class names: they are taken from the other files")
        names, counts = _classes_from_table(path, test)
    known = {}
    for split, values in (counts if isinstance(counts, dict) else {}).items():
        if isinstance(values, list) and len(values) == len(names) and all(isinstance(n, int) for n in values):
            known[str(split)] = tuple(values)
    return Data(
        name=printable(data.get("name") or config.get("data") or "unknown data"),
        class_names=tuple(distinct_names([printable(name) for name in names])),
        counts=known,
        notes=tuple(printable(note) for note in listed(data.get("notes"))),
        model=printable(data.get("model") or config.get("model") or ""),
        image_size=printable(data.get("image_size") or config.get("image_size") or ""),
        boxes="image_counts" in data,
    )


def _classes_from_table(path: Path, test: Mapping[str, Any]) -> tuple[list[str], dict[str, list[int]]]:
    columns = read_columns(path / runfolder.PER_CLASS, [])
    if columns and {"split", "class", "name", "train_count", "count"} <= columns.keys():
        rows = [i for i, split in enumerate(columns["split"]) if split == "test"]
        train, count = floats(columns["train_count"]), floats(columns["count"])
        if rows and np.isfinite(train[rows]).all() and np.isfinite(count[rows]).all():
            counts = {"train": [int(train[i]) for i in rows], "test": [int(count[i]) for i in rows]}
            return [columns["name"][i] for i in rows], counts
    per_class = test.get("per_class")
    size = len(per_class) if isinstance(per_class, list) else 0
    return [f"class {c}" for c in range(size)], {}


def _read_history(path: Path, problems: list[str]) -> dict[str, Any]:
    columns = read_columns(path / runfolder.HISTORY, problems)
    if not columns or not has_columns(columns, ("epoch",), runfolder.HISTORY, problems):
        return {}
    epochs = floats(columns["epoch"])
    last = {epoch: i for i, epoch in enumerate(epochs.tolist()) if math.isfinite(epoch)}  # written twice: the later one
    rows = [last[epoch] for epoch in sorted(last)]
    out: dict[str, Any] = {name: floats(values)[rows] for name, values in columns.items() if name != "stage"}
    out["stage"] = [columns["stage"][i] for i in rows] if "stage" in columns else [""] * len(rows)
    return out if rows else {}
