"""A finished run as the report sees it: never weights, never code; larger files are read when they are asked for."""

from __future__ import annotations

import csv
import dataclasses
import functools
import gzip
import hashlib
import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from longtail import runfolder
from longtail.report.statistics import Answers
from longtail.report.tolerant import Floats, Ints, floats, has_columns, listed, printable, read_columns

__all__ = ["BrokenRun", "Data", "Difficulty", "Run"]

_SEED_FOLDER = re.compile(r"seed-(\d+)")
_LARGEST_PICTURE = 8 << 20  # bytes: it becomes part of the page


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """What a run was trained on.

    Args:
        name: Data set as the user wrote it.
        class_names: Readable names, ``[C]``.
        counts: Samples of each class by split, ``{"train": [C], ...}``; a split that is not known is absent. With boxes
            those are the images that show the class.
        boxes: Whether the samples are images with boxes.
        notes: Remarks of the reader, one line each.
        model: Name of the network; empty: unknown.
        image_size: As the run states it; empty: unknown.
    """

    name: str
    class_names: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()
    model: str = ""
    image_size: str = ""
    boxes: bool = False

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def key(self) -> tuple[Any, ...]:
        """Runs with equal keys can be compared with each other."""
        # The counts tell one imbalance from another: those of all splits together, since a cut that parts no group
        # takes other numbers from each seed's. Images with boxes show several classes, so that their counts differ a
        # little wherever other images are drawn.
        whole = tuple(map(sum, zip(*self.counts.values(), strict=False)))
        return (self.name, self.class_names, None if self.boxes or "train" not in self.counts else whole)

    @functools.cached_property
    def order(self) -> Ints:
        """Class indices, most frequent in training first; ``[C]``."""
        train = self.counts.get("train")
        return np.arange(self.num_classes) if train is None else np.argsort(-np.array(train), kind="stable")

    @functools.cached_property
    def imbalance(self) -> float | None:
        """Largest over smallest training count, of the classes that have images."""
        present = [n for n in self.counts.get("train", ()) if n > 0]
        return max(present) / min(present) if present else None


@dataclasses.dataclass(frozen=True, eq=False)
class Difficulty:
    """``difficulty.csv`` as arrays: ``epochs [E]``, the others ``[E, C]``, NaN where nothing was measured.

    ``measured`` and ``acting_weight`` are None in runs of versions that did not write them.
    """

    epochs: Floats
    performance: Floats
    difficulty: Floats
    weight: Floats
    measured: Floats | None = None
    acting_weight: Floats | None = None

    @property
    def shown(self) -> Floats:
        """The difficulty that can be compared between methods: as it was measured, where the run tells that."""
        return self.difficulty if self.measured is None else 1 - self.measured

    @property
    def weighted(self) -> bool:
        """Whether the weights ever leave 1."""
        return bool(np.nanmax(np.abs(self.weight - 1), initial=0) > 1e-6)


@dataclasses.dataclass(frozen=True)
class BrokenRun:
    """A folder that holds no finished run, and why."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One finished run.

    Args:
        path: The run folder.
        relative: The same below the reported folder, with ``/``.
        config: The ``RunConfig`` fields as plain values.
        hyperparameters: Those of the method with the defaults that held; empty in runs of versions that did not write
            them.
        versions: Library versions by name.
        hardware: One line; empty: unknown.
        data: What was trained on.
        metrics: ``{"test": {...}, "val": {...}}``; numbers are finite or None.
        history: Columns of ``history.csv`` as arrays ``[epochs]``, NaN where empty; ``stage`` holds strings.
        problems: What could not be read, one line each; lazily read files add to it.
    """

    path: Path
    relative: str
    config: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]
    versions: Mapping[str, str]
    hardware: str
    data: Data
    metrics: Mapping[str, Mapping[str, Any]]
    history: Mapping[str, Any]
    problems: list[str]

    @property
    def test(self) -> Mapping[str, Any]:
        return self.metrics.get("test", {})

    @property
    def method(self) -> str:
        """Identifier of the method; empty if ``config.json`` is missing."""
        return printable(self.config.get("method") or "")

    @property
    def kwargs(self) -> tuple[str, ...]:
        return tuple(printable(v) for v in listed(self.config.get("method_kwargs")))

    @property
    def seed(self) -> int | None:
        seed = self.config.get("seed")
        if isinstance(seed, int):
            return seed
        match = _SEED_FOLDER.fullmatch(self.path.name)
        return int(match[1]) if match else None

    @property
    def pair_key(self) -> tuple[Any, ...]:
        """Runs of two methods with the same key form a pair."""
        return (str(self.config.get("data_seed")), self.relative if self.seed is None else self.seed)

    @property
    def label_folder(self) -> str | None:
        """Relative path of ``LABEL`` in ``.../LABEL/seed-<k>``; None for a run that lies elsewhere."""
        return os.path.dirname(self.relative) if _SEED_FOLDER.fullmatch(os.path.basename(self.relative)) else None

    @functools.cached_property
    def examples(self) -> bytes | None:
        """The picture of what was found in some images, if the run has one."""
        return self._picture(runfolder.EXAMPLES)

    @functools.cached_property
    def near_copies(self) -> bytes | None:
        """The picture of the largest groups of near copies, if the run has one."""
        return self._picture(runfolder.NEAR_COPIES)

    def _picture(self, name: str) -> bytes | None:
        try:
            content = (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.problems.append(f"{name} cannot be read ({type(error).__name__})")
            return None
        if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) > _LARGEST_PICTURE:
            self.problems.append(f"{name} is no picture, or too large")
            return None
        return content

    @functools.cached_property
    def per_class(self) -> Floats:
        """Test performance of each class, ``[C]``, NaN for a class that the test split lacks."""
        values = self.test.get("per_class")
        out = np.full(self.data.num_classes, np.nan)
        if isinstance(values, Sequence) and len(values) == len(out):
            out[:] = [math.nan if v is None else v for v in values]
        elif values is not None:
            self.problems.append(f"metrics.json has per-class values that do not fit its {len(out)} classes")
        return out

    @functools.cached_property
    def difficulty(self) -> Difficulty | None:
        columns = read_columns(self.path / runfolder.DIFFICULTY, self.problems)
        names = runfolder.FIRST_COLUMNS[runfolder.DIFFICULTY]
        if not columns or not has_columns(columns, names, runfolder.DIFFICULTY, self.problems):
            return None
        later = tuple(name for name in ("measured", "acting_weight") if name in columns)
        values = {name: floats(columns[name]) for name in (*names, *later)}
        known = np.isin(values["class"], np.arange(self.data.num_classes)) & np.isfinite(values["epoch"])
        if not known.all():
            self.problems.append(f"difficulty.csv: {int((~known).sum())} rows name no known class or epoch")
        if not known.any():
            return None
        epochs, row = np.unique(values["epoch"][known], return_inverse=True)
        column = values["class"][known].astype(int)
        grids = {}
        for name in (*names[2:], *later):
            grid = np.full((len(epochs), self.data.num_classes), np.nan)
            grid[row, column] = values[name][known]  # a row written twice: the later one holds
            grids[name] = grid
        return Difficulty(epochs, **grids)

    @functools.cached_property
    def answers(self) -> Answers | None:
        """What the run said of each test sample; None: it does not tell."""
        path = self.path / runfolder.PREDICTIONS
        if not path.is_file():
            return None
        from safetensors.numpy import load_file

        try:
            found = load_file(path)
            names = runfolder.COLUMNS[runfolder.PREDICTIONS]
            sample, target, predicted = (found[name].astype(np.int64) for name in names)
            if sample.ndim != 1 or not sample.shape == target.shape == predicted.shape or not len(sample):
                raise ValueError("its arrays do not fit each other")
        except Exception as error:  # damaged in one of many ways
            self.problems.append(f"test_predictions.safetensors cannot be read ({error})")
            return None
        order = np.argsort(sample, kind="stable")
        return Answers(sample[order], target[order], predicted[order])

    @functools.cached_property
    def split_digests(self) -> Mapping[str, str]:
        """A digest of what each split holds, by its name; empty: the run does not tell."""
        path = self.path / runfolder.SPLITS
        if not path.is_file():
            return {}
        digests: dict[str, Any] = {}
        try:
            with gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape", newline="") as lines:
                for row in csv.DictReader(lines):
                    if row["split"] == runfolder.UNUSED:
                        continue
                    digest = digests.setdefault(row["split"], hashlib.blake2b(digest_size=16))
                    digest.update(repr([row[name] for name in ("file", "label", "digest")]).encode(errors="replace"))
        except (OSError, EOFError, KeyError, ValueError, zlib.error, csv.Error) as error:
            self.problems.append(f"splits.csv.gz cannot be read ({type(error).__name__})")
            return {}
        return {split: digest.hexdigest() for split, digest in digests.items()}

    def confusion(self, true: Sequence[int], *, split: str = "test") -> Floats | None:
        """How often each class was predicted for the classes ``true``: ``[len(true), C]`` counts, or None."""
        columns = read_columns(self.path / runfolder.CONFUSION, self.problems)
        names = runfolder.FIRST_COLUMNS[runfolder.CONFUSION]
        if not columns or not has_columns(columns, names, runfolder.CONFUSION, self.problems):
            return None
        of_split = np.array([s == split for s in columns["split"]])
        t, p, n = (floats(columns[name])[of_split] for name in names[1:])
        classes = np.arange(self.data.num_classes)
        known = np.isin(t, classes) & np.isin(p, classes) & np.isfinite(n)
        matrix = np.zeros((len(true), len(classes)))
        position = {c: i for i, c in enumerate(true)}
        for a, b, count in zip(t[known].astype(int), p[known].astype(int), n[known], strict=True):
            if (i := position.get(int(a))) is not None:
                matrix[i, b] += count
        return matrix
