"""The run folder: the only thing that later steps read."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import longtail
from longtail import runfolder
from longtail.config import RunConfig
from longtail.data.record import SplitRecord, read_record, record_text
from longtail.errors import LongtailError
from longtail.functional.counting import confusion_cells
from longtail.kwargs import parse_kwargs
from longtail.methods import Method, get_method
from longtail.methods.base import find_method
from longtail.training.configfile import read_config
from longtail.training.files import (
    atomic,
    digest_of,
    load_state,
    load_tensors,
    locked,
    read_json,
    save_state,
    save_tensors,
    write_csv,
    write_json,
)
from longtail.training.growing import GrowingTables
from longtail.training.hardware import hardware

__all__ = ["Nowhere", "RunFolder", "method_of"]

_FINAL = (
    *runfolder.GROWING,
    runfolder.DATA,
    runfolder.SPLITS,
    runfolder.PER_CLASS,
    runfolder.CONFUSION,
    runfolder.LAST_WEIGHTS,
    runfolder.BEST_WEIGHTS,
    runfolder.FROZEN_WEIGHTS,
)
# Fields that do not change what a run computes: a run may be continued with other values.
_FREE = ("download", "feature_cache", "frame_cache", "trackers", "workers")


def method_of(config: RunConfig) -> Method:
    """The method of a configuration, built.

    Raises:
        LongtailError: unknown method, hyperparameter or value.
    """
    return get_method(config.method, **parse_kwargs(config.method_kwargs))


def _hyperparameters(method: Method) -> dict[str, Any]:
    return {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "longtail": longtail.__version__}
    for name in ("torch", "torchvision", "accelerate", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class RunFolder:
    """One run's folder.

    Args:
        path: The folder; made if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._files: dict[str, str] = {}  # digests of what a checkpoint counts on
        self._tables = GrowingTables(self.path)

    # -- what state the folder is in -----------------------------------------------------------------------------------
    @property
    def finished(self) -> bool:
        """Whether the run is complete: ``metrics.json`` is written last."""
        return (self.path / runfolder.METRICS).is_file()

    @property
    def metrics(self) -> dict[str, Any]:
        return read_json(self.path / runfolder.METRICS)

    def config(self) -> RunConfig:
        """The resolved configuration that the folder was made with."""
        config = read_config(self.path / runfolder.CONFIG)
        weights = None if config.weights == "none" else config.weights
        method = find_method(config.method).name
        return dataclasses.replace(config, data_seed=config.data_seed or 0, method=method, weights=weights)

    def method(self) -> Method:
        """The method with the hyperparameters that the run was begun with, also where a default changed since."""
        config, content = self.config(), read_json(self.path / runfolder.CONFIG)
        recorded = content.get("hyperparameters")
        recorded = parse_kwargs(config.method_kwargs) if recorded is None else recorded
        try:
            return get_method(config.method, **recorded)
        except (LongtailError, TypeError) as error:
            raise LongtailError(f"{self.path}/config.json: {error}") from None

    def check(self, config: RunConfig, method: Method | None = None) -> None:
        """Look whether ``config`` (resolved) may run in this folder; changes nothing.

        Args:
            config: The configuration.
            method: Its method, if it is built already.

        Raises:
            LongtailError: the folder belongs to another configuration, or to something else altogether.
        """
        if self.path.exists() and not self.path.is_dir():
            raise LongtailError(f"{self.path} is a file: choose another --out")
        if (self.path / runfolder.CONFIG).is_file():
            mine, theirs = config.to_dict(), self.config().to_dict()
            if mine["method"] == theirs["method"]:  # by value, not by the words that were given: a default may change
                here = _hyperparameters(method or method_of(config))
                there = _hyperparameters(self.method())
                mine["method_kwargs"] = {k: v for k, v in here.items() if v != there[k]}
                theirs["method_kwargs"] = {k: there[k] for k in mine["method_kwargs"]}
            for key in mine:
                if key not in _FREE and mine[key] != theirs[key]:
                    raise LongtailError(
                        f"{self.path} holds a run with another configuration ({key}: {theirs[key]!r} there, "
                        f"{mine[key]!r} here): choose another --out"
                    )
        elif self.path.is_dir():
            foreign = [p.name for p in self.path.iterdir() if not p.name.startswith(".")]
            if foreign:
                raise LongtailError(f"{self.path} is not empty ({min(foreign)}) and no run: choose another --out")

    @contextlib.contextmanager
    def claimed(self, config: RunConfig, method: Method) -> Iterator[None]:
        """Make the folder this run's if it is nobody's, and hold it for one process.

        Raises:
            LongtailError: as `check`, or another process is training here.
        """
        self.check(config, method)
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            self.check(config, method)
            if not (self.path / runfolder.CONFIG).is_file():
                content = {"longtail": longtail.__version__, "format": runfolder.FORMAT, "versions": _versions()}
                content |= {"hardware": hardware(config.device), "config": config.to_dict()}
                content |= {"hyperparameters": _hyperparameters(method)}
                write_json(self.path / runfolder.CONFIG, content)
            yield

    def splits(self) -> SplitRecord | None:
        """What each split holds; None before it is known, and in folders of versions that did not write it."""
        if not all((self.path / name).is_file() for name in (runfolder.SPLITS, runfolder.DATA)):
            return None
        names = read_json(self.path / runfolder.DATA).get("class_names")
        if not isinstance(names, list):
            raise LongtailError(f"{self.path}/data.json lacks class_names: restore it or start in a new folder")
        return read_record(self.path / runfolder.SPLITS, names)

    def describe(self, content: dict[str, Any], splits: SplitRecord) -> None:
        """Write ``splits.csv.gz`` and ``data.json``; on a resumed run check that the data are still the same."""
        path = self.path / runfolder.DATA
        if not (self.path / runfolder.SPLITS).is_file() or not path.is_file():
            atomic(self.path / runfolder.SPLITS, lambda p: p.write_bytes(record_text(splits)))
        if path.is_file():
            before = read_json(path)
            for key in ("class_names", "class_counts"):
                if before.get(key) != content[key]:
                    raise LongtailError(
                        f"the data changed since {self.path} was begun ({key} differ): choose another --out"
                    )
            return
        write_json(path, content)

    def share_pictures(self, pictures: Mapping[str, Path]) -> None:
        """Put pictures that many runs have in common into the folder, by their names there."""
        for name, file in pictures.items():
            if not (self.path / name).is_file() and file.is_file():
                try:
                    os.link(file, self.path / name)
                except OSError:  # another file system, or one without links
                    content = file.read_bytes()
                    atomic(self.path / name, lambda path, content=content: path.write_bytes(content))

    def share(self, file: Path | None, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put what many runs have in common into the folder: as a link to ``file`` where the system can, else anew."""
        path = self.path / runfolder.FROZEN_WEIGHTS
        if path.is_file() or not tensors:
            return
        if file is not None:
            with contextlib.suppress(OSError):  # another file system, or one without links
                os.link(file, path)
                return
        save_tensors(path, dict(tensors))

    # -- progress ------------------------------------------------------------------------------------------------------
    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return (self.path / runfolder.LAST_CHECKPOINT).is_file()

    def load_checkpoint(self, *, rewrite: bool = True) -> dict[str, Any] | None:
        """The last whole checkpoint, or None.

        Args:
            rewrite: Look whether everything beside it is as it was then, and take the rows of later epochs out of the
                CSV files (one process only).

        Raises:
            LongtailError: the checkpoint, or a file that it counts on, is missing or not what it was.
        """
        path = self.path / runfolder.LAST_CHECKPOINT
        state = load_state(path) if self.begun else None
        if state is not None and not _is_checkpoint(state):
            raise LongtailError(f"{path} is no checkpoint of a run: remove it to start again from epoch 1")
        if rewrite:
            self._check_files(state)
            self._tables.cut(state)
            for folder in (self.path, self.path / runfolder.CHECKPOINT):
                for torn in folder.glob(".*.tmp"):  # of a killed process
                    torn.unlink()
        return state

    def _check_files(self, state: dict[str, Any] | None) -> None:
        """Compare the files that the checkpoint counts on with their digests; an earlier version wrote none."""
        names = [name for name in (runfolder.DATA, runfolder.SPLITS) if (self.path / name).is_file()]
        if state is not None and state["best"]["epoch"]:
            names.append(runfolder.best_checkpoint(state["best"]["epoch"]))
        self._files = {name: digest_of(self.path / name) for name in names}
        for name, digest in {} if state is None else state.get("files", {}).items():
            if self._files.get(name) != digest:
                raise LongtailError(
                    f"{self.path / name} is not what it was (its SHA-256 is another): restore it, or start again in "
                    "another folder"
                )

    def record(
        self,
        history: dict[str, Any],
        classes: Mapping[str, torch.Tensor],
        hard: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Append one epoch's rows; called before `checkpoint`, so that no row is ever missing.

        Args:
            history: The row of ``history.csv``.
            classes: Columns of ``difficulty.csv``, each ``[C]``; NaN becomes an empty cell.
            hard: Rows of ``hard.csv``.
        """
        self._tables.append(runfolder.HISTORY, [history])
        self._tables.append(runfolder.DIFFICULTY, _class_rows(history["epoch"], classes))
        if hard:
            self._tables.append(runfolder.HARD, hard)

    def checkpoint(self, state: dict[str, Any], best: dict[str, torch.Tensor] | None = None) -> None:
        """Put ``state`` in place of the previous checkpoint in one step.

        Args:
            state: Everything to continue; ``state["best"]["epoch"]`` names the best epoch so far.
            best: Weights of that epoch if it is this one; older ones go once the new checkpoint is whole.
        """
        folder = self.path / runfolder.CHECKPOINT
        folder.mkdir(exist_ok=True)
        name = runfolder.best_checkpoint(state["best"]["epoch"])
        if best is not None:
            save_tensors(self.path / name, best)
            self._files[name] = digest_of(self.path / name)
        self._files = {
            f: d for f, d in self._files.items() if f == name or not f.startswith(f"{runfolder.CHECKPOINT}/")
        }
        save_state(
            self.path / runfolder.LAST_CHECKPOINT, state | {"files": self._files, "tables": self._tables.state()}
        )
        for old in folder.glob("best-*.safetensors"):
            if old != self.path / name:
                old.unlink()

    def best_weights(self, epoch: int) -> dict[str, torch.Tensor]:
        return load_tensors(self.path / runfolder.best_checkpoint(epoch))

    def save_picture(self, name: str, pixels: torch.Tensor) -> None:
        """Write uint8 ``[3, H, W]`` as PNG."""
        from torchvision.transforms.functional import to_pil_image

        atomic(self.path / name, lambda p: to_pil_image(pixels).save(p, format="PNG"))

    def verify(self, *names: str) -> None:
        """Compare files of a finished run with ``digests.json``; an earlier version wrote none.

        Raises:
            LongtailError: one is missing or not what it was.
        """
        if not (self.path / runfolder.DIGESTS).is_file():
            return
        digests = read_json(self.path / runfolder.DIGESTS)
        for name in names:
            if not isinstance(digests, dict) or digests.get(name) != digest_of(self.path / name):
                raise LongtailError(
                    f"{self.path / name} is not what it was when the run ended (its SHA-256 is another than in "
                    "digests.json): restore it, or train the run again"
                )

    # -- the end -------------------------------------------------------------------------------------------------------
    def finish(
        self,
        *,
        last: dict[str, torch.Tensor],
        best: dict[str, torch.Tensor],
        tables: dict[str, Any],
        metrics: dict[str, Any],
        predictions: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Write weights and tables, then ``metrics.json``, which marks the run as complete.

        Args:
            last, best: Weights.
            tables: Results by split.
            metrics: Of ``metrics.json``.
            predictions: ``test_predictions.safetensors``: of each test sample, ``[N]``, its ``sample`` (a number that
                is the same in every run), ``target`` and ``predicted`` class.
        """
        save_tensors(self.path / runfolder.LAST_WEIGHTS, last)
        save_tensors(self.path / runfolder.BEST_WEIGHTS, best)
        if predictions is not None:
            save_tensors(self.path / runfolder.PREDICTIONS, predictions)
        per_class = [{"split": s} | row for s, e in tables.items() for row in e.per_class]
        write_csv(self.path / runfolder.PER_CLASS, runfolder.COLUMNS[runfolder.PER_CLASS], per_class)
        confusion = [
            {"split": split, "true": true, "predicted": predicted, "count": count}
            for split, evaluation in tables.items()
            if evaluation.confusion is not None
            for true, predicted, count in confusion_cells(evaluation.confusion).T.tolist()
        ]
        write_csv(self.path / runfolder.CONFUSION, runfolder.COLUMNS[runfolder.CONFUSION], confusion)
        written = [name for name in _FINAL if (self.path / name).is_file()]
        write_json(self.path / runfolder.DIGESTS, {name: digest_of(self.path / name) for name in written})
        write_json(self.path / runfolder.METRICS, metrics)


class Nowhere(RunFolder):
    """In place of a run folder, for a training of which nothing but its end is wanted."""

    def __init__(self) -> None:
        super().__init__("nowhere")

    def describe(self, content: dict[str, Any], splits: SplitRecord) -> None:
        """Write nothing."""

    def share(self, file: Path | None, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write nothing."""

    def share_pictures(self, pictures: Mapping[str, Path]) -> None:
        """Write nothing."""

    def load_checkpoint(self, *, rewrite: bool = True) -> None:
        """There is none."""

    def record(
        self,
        history: dict[str, Any],
        classes: Mapping[str, torch.Tensor],
        hard: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Write nothing."""

    def checkpoint(self, state: dict[str, Any], best: dict[str, torch.Tensor] | None = None) -> None:
        """Write nothing."""


def _is_checkpoint(state: dict[str, Any]) -> bool:
    """Whether a state is of the form that `RunFolder.checkpoint` is given."""
    best = state.get("best")
    if not all(isinstance(part, dict) for part in (best, state.get("optimizer"), state.get("model"))):
        return False
    numbers = (state.get("epoch"), best.get("epoch"))  # pyright: ignore[reportOptionalMemberAccess]
    score = best.get("score")  # pyright: ignore[reportOptionalMemberAccess]
    return all(isinstance(n, int) and 0 <= n < 10**7 for n in numbers) and isinstance(score, float)


def _class_rows(epoch: int, columns: Mapping[str, torch.Tensor]) -> Iterator[dict[str, Any]]:
    for c, values in enumerate(zip(*(column.tolist() for column in columns.values()), strict=True)):
        known = {name: value if value == value else "" for name, value in zip(columns, values, strict=True)}
        yield {"epoch": epoch, "class": c} | known
