"""Finds run folders and reads their small files; never weights, never code."""

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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longtail import runfolder
from longtail.cells import unquoted
from longtail.errors import LongtailError
from longtail.names import distinct_names
from longtail.report.statistics import Answers
from longtail.textfiles import parse_json

__all__ = ["BrokenRun", "Data", "Difficulty", "Floats", "Ints", "Run", "find_runs"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_SEED_FOLDER = re.compile(r"seed-(\d+)")
_LARGEST_PICTURE = 8 << 20  # bytes: it becomes part of the page
_JOINERS = "\u200c\u200d"  # not "printable", but they shape the letters around them


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
        return _clean(self.config.get("method") or "")

    @property
    def kwargs(self) -> tuple[str, ...]:
        return tuple(_clean(v) for v in _listed(self.config.get("method_kwargs")))

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
        try:
            content = (self.path / runfolder.EXAMPLES).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.problems.append(f"examples.png cannot be read ({type(error).__name__})")
            return None
        if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) > _LARGEST_PICTURE:
            self.problems.append("examples.png is no picture, or too large")
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
        columns = _read_columns(self.path / runfolder.DIFFICULTY, self.problems)
        names = runfolder.FIRST_COLUMNS[runfolder.DIFFICULTY]
        if not columns or not _has(columns, names, runfolder.DIFFICULTY, self.problems):
            return None
        later = tuple(name for name in ("measured", "acting_weight") if name in columns)
        values = {name: _floats(columns[name]) for name in (*names, *later)}
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
        columns = _read_columns(self.path / runfolder.CONFUSION, self.problems)
        names = runfolder.FIRST_COLUMNS[runfolder.CONFUSION]
        if not columns or not _has(columns, names, runfolder.CONFUSION, self.problems):
            return None
        of_split = np.array([s == split for s in columns["split"]])
        t, p, n = (_floats(columns[name])[of_split] for name in names[1:])
        classes = np.arange(self.data.num_classes)
        known = np.isin(t, classes) & np.isin(p, classes) & np.isfinite(n)
        matrix = np.zeros((len(true), len(classes)))
        position = {c: i for i, c in enumerate(true)}
        for a, b, count in zip(t[known].astype(int), p[known].astype(int), n[known], strict=True):
            if (i := position.get(int(a))) is not None:
                matrix[i, b] += count
        return matrix


def find_runs(folder: Path) -> tuple[list[Run], list[BrokenRun]]:
    """All runs in and below ``folder``, in the order of their paths: the finished ones and the others."""
    runs, broken = [], []
    for path in sorted(_run_folders(folder), key=_natural):
        try:
            found = _read_run(path, folder)
        except Exception as error:  # files of others hold anything; one run folder does not stop the report of all
            reason = f"its files do not fit together ({type(error).__name__}: {_clean(error)[:200]})"
            found = BrokenRun(_clean(path.relative_to(folder).as_posix()), reason)
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
        started = runfolder.CONFIG in files and "longtail" in _read_json(path / runfolder.CONFIG, [])
        if started or runfolder.METRICS in files or runfolder.HISTORY in files:
            folders.clear()
            yield path
        else:
            folders[:] = [f for f in folders if not f.startswith(".") and f not in (runfolder.CHECKPOINT, "figures")]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts seed-2 before seed-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _read_run(path: Path, folder: Path) -> Run | BrokenRun:
    relative = _clean(path.relative_to(folder).as_posix())
    problems: list[str] = []
    config_file = _read_json(path / runfolder.CONFIG, problems)
    try:
        runfolder.check_format(config_file, Path(runfolder.CONFIG))
    except LongtailError as error:
        return BrokenRun(relative, str(error))
    config = config_file.get("config")
    config = config if isinstance(config, dict) else {}
    history = _read_history(path, problems)
    metrics_problems: list[str] = []
    metrics = _read_json(path / runfolder.METRICS, metrics_problems)
    if not (path / runfolder.METRICS).is_file():
        done = int(max(history.get("epoch", ()), default=0))
        return BrokenRun(relative, f"not finished: {done} of {config.get('epochs') or 'its'} epochs are done")
    if metrics_problems or not isinstance(metrics.get("test"), dict):
        return BrokenRun(relative, metrics_problems[0] if metrics_problems else "metrics.json has no test numbers")
    if not config:
        problems.append("config.json tells no configuration: method and seed are taken from the folder names")
    if not history:
        problems.append("history.csv is missing or empty")
    clean = {split: _finite(values) for split, values in metrics.items() if isinstance(values, dict)}
    versions, hyperparameters = config_file.get("versions"), config_file.get("hyperparameters")
    return Run(
        path=path,
        relative=relative,
        config=config,
        hyperparameters=hyperparameters if isinstance(hyperparameters, dict) else {},
        versions={str(k): _clean(v) for k, v in versions.items()} if isinstance(versions, dict) else {},
        hardware=_clean(config_file.get("hardware") or ""),
        data=_read_data(path, config, clean["test"], problems),
        metrics=clean,
        history=history,
        problems=problems,
    )


def _read_data(path: Path, config: Mapping[str, Any], test: Mapping[str, Any], problems: list[str]) -> Data:
    data = _read_json(path / runfolder.DATA, problems)
    names, counts = data.get("class_names"), data.get("image_counts", data.get("class_counts"))
    if not isinstance(names, list) or not names:
        problems.append("data.json tells no class names: they are taken from the other files")
        names, counts = _classes_from_table(path, test)
    known = {}
    for split, values in (counts if isinstance(counts, dict) else {}).items():
        if isinstance(values, list) and len(values) == len(names) and all(isinstance(n, int) for n in values):
            known[str(split)] = tuple(values)
    return Data(
        name=_clean(data.get("name") or config.get("data") or "unknown data"),
        class_names=tuple(distinct_names([_clean(name) for name in names])),
        counts=known,
        notes=tuple(_clean(note) for note in _listed(data.get("notes"))),
        model=_clean(data.get("model") or config.get("model") or ""),
        image_size=_clean(data.get("image_size") or config.get("image_size") or ""),
        boxes="image_counts" in data,
    )


def _classes_from_table(path: Path, test: Mapping[str, Any]) -> tuple[list[str], dict[str, list[int]]]:
    columns = _read_columns(path / runfolder.PER_CLASS, [])
    if columns and {"split", "class", "name", "train_count", "count"} <= columns.keys():
        rows = [i for i, split in enumerate(columns["split"]) if split == "test"]
        train, count = _floats(columns["train_count"]), _floats(columns["count"])
        if rows and np.isfinite(train[rows]).all() and np.isfinite(count[rows]).all():
            counts = {"train": [int(train[i]) for i in rows], "test": [int(count[i]) for i in rows]}
            return [columns["name"][i] for i in rows], counts
    per_class = test.get("per_class")
    size = len(per_class) if isinstance(per_class, list) else 0
    return [f"class {c}" for c in range(size)], {}


def _read_history(path: Path, problems: list[str]) -> dict[str, Any]:
    columns = _read_columns(path / runfolder.HISTORY, problems)
    if not columns or not _has(columns, ("epoch",), runfolder.HISTORY, problems):
        return {}
    epochs = _floats(columns["epoch"])
    last = {epoch: i for i, epoch in enumerate(epochs.tolist()) if math.isfinite(epoch)}  # written twice: the later one
    rows = [last[epoch] for epoch in sorted(last)]
    out: dict[str, Any] = {name: _floats(values)[rows] for name, values in columns.items() if name != "stage"}
    out["stage"] = [columns["stage"][i] for i in rows] if "stage" in columns else [""] * len(rows)
    return out if rows else {}


def _read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} cannot be read ({type(error).__name__})")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name} holds no JSON object")
        return {}
    return value


def _read_columns(path: Path, problems: list[str]) -> dict[str, list[str]]:
    """The whole rows of a CSV file by column; a last line without its end was torn by a kill and is left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        problems.append(f"{path.name} cannot be read ({type(error).__name__})")
        return {}
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        problems.append(f"{path.name} ends in the middle of a line, which is left out")
    try:
        header, *rows = csv.reader(whole.replace("\0", "").splitlines(keepends=True))
    except ValueError:  # no line at all
        return {}
    except csv.Error as error:
        problems.append(f"{path.name} cannot be read ({error})")
        return {}
    fitting = [row for row in rows if len(row) == len(header)]
    if len(fitting) != len(rows):
        problems.append(f"{path.name}: {len(rows) - len(fitting)} rows of a wrong length are left out")
    return {name: [unquoted(row[i]) for row in fitting] for i, name in enumerate(header)} if fitting else {}


def _has(columns: Mapping[str, Any], names: Sequence[str], file: str, problems: list[str]) -> bool:
    missing = [name for name in names if name not in columns]
    if missing:
        problems.append(f"{file} lacks the column {missing[0]}")
    return not missing


def _floats(values: Sequence[str]) -> Floats:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            return math.nan
        return value if math.isfinite(value) else math.nan

    return np.array([number(v) for v in values], dtype=np.float64)


def _finite(value: Any) -> Any:
    """The same with None in the place of what is no number that can be drawn: NaN, infinity, or anything else."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [None if isinstance(v, list | dict) else _finite(v) for v in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and abs(value) < 1e300 else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _clean(value: Any) -> str:
    """One printable line that can be encoded."""
    text = str(value).encode("utf-8", errors="replace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in text).split())
