"""A finished run with its model: what evaluation, prediction and export begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from longtail import runfolder
from longtail.data.record import SplitRecord, check_splits
from longtail.errors import LongtailError
from longtail.tasks.base import Task
from longtail.tasks.find import task_of
from longtail.training.best import run_of
from longtail.training.files import load_tensors, read_json
from longtail.training.folder import RunFolder

__all__ = ["Trained", "load_run"]


class Trained:
    """A finished run: its model, ready to use, and what belongs to it.

    Args:
        run: The run folder.
        weights: ``best`` or ``last``; None: the ones that ``metrics.json`` judges.
        device: Where the model is wanted.
    """

    def __init__(self, run: str | Path, *, weights: str | None = None, device: str = "cpu") -> None:
        folder = RunFolder(run_of(run))
        if not folder.finished:
            raise LongtailError(
                f"{folder.path} is not finished: continue it with the command that began it, or with "
                f"longtail train --config {folder.path}/config.json --out {folder.path}"
            )
        self.folder, self.config = folder, folder.config()
        self.task: type[Task] = task_of(self.config)
        path = folder.path / runfolder.DATA
        self.info = self.task.read_description(read_json(path), path)
        for name in ("model", "image_size"):
            if name in self.info and getattr(self.config, name) is None:
                raise LongtailError(f"{folder.path}/config.json has no {name}, and {path.name} has: restore the file")
        self.class_names: Sequence[str] = self.info["class_names"]
        self.device = torch.device(
            "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
        )
        try:
            model = self.task.restore(self.info, self.config, folder.method())
        except LongtailError as error:
            raise LongtailError(f"{folder.path}: {error}") from None
        which = weights or self.config.final or "best"
        path = folder.path / runfolder.WEIGHTS[which]
        folder.verify(runfolder.DATA, path.name)
        try:
            model.load_state_dict(self._frozen() | load_tensors(path))
        except RuntimeError as error:
            raise LongtailError(f"{path} does not fit the run's model ({error}): train the run again") from None
        self.model: nn.Module = model.to(self.device).eval()

    def _frozen(self) -> dict[str, torch.Tensor]:
        """The weights that were not trained, where a file of their own holds them."""
        path = self.folder.path / runfolder.FROZEN_WEIGHTS
        if not path.is_file():
            return {}
        self.folder.verify(path.name)
        return load_tensors(path)

    def autocast(self) -> torch.autocast:
        """The precision that the run was trained and judged in."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def splits(self, note: Callable[[str], None]) -> SplitRecord | None:
        """What the run's splits hold; a folder of a version that did not write it gets a note."""
        record = self.folder.splits()
        if record is None:
            note(
                f"{self.folder.path} does not tell its splits (an earlier version made it): they are cut anew, from "
                "the data as they are now"
            )
        return record

    def tell_changes(self, record: SplitRecord, data: Any, split: str, note: Callable[[str], None]) -> None:
        """Tell what is new or changed in a split that was read again; missing files are an error."""
        for line in (*(line for line in data.notes if record.source in line), *check_splits(record, data, (split,))):
            note(line)


def load_run(run: str | Path, **options: Any) -> Trained:
    """A finished run; see `Trained`."""
    return Trained(run, **options)
