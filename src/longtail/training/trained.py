"""A finished run with its model: what evaluation, prediction and export begin with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from longtail import runfolder
from longtail.data import ImageData, Split
from longtail.data.boxes import BoxData
from longtail.data.record import SplitRecord, check_splits
from longtail.errors import LongtailError
from longtail.methods import ClassStats
from longtail.models import create_model
from longtail.names import distinct_names
from longtail.training.attach import attach
from longtail.training.best import run_of
from longtail.training.description import read_description
from longtail.training.files import load_weights
from longtail.training.folder import RunFolder

__all__ = ["Trained", "load_run", "trained_detector"]


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
        self.boxes = self.config.task in ("detect", "segment")
        self.info = read_description(folder.path / runfolder.DATA, boxes=self.boxes)
        ids = self.info["category_ids"] if self.boxes else None
        self.class_names = distinct_names(self.info["class_names"], ids, kind="category" if self.boxes else "class")
        self.device = torch.device(
            "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
        )
        try:
            model = self._detector() if self.boxes else self._classifier()
        except LongtailError as error:
            raise LongtailError(f"{folder.path}: {error}") from None
        which = weights or self.config.final
        path = folder.path / runfolder.WEIGHTS[which]
        folder.verify(runfolder.DATA, path.name)
        try:
            model.load_state_dict(load_weights(path))
        except RuntimeError as error:
            raise LongtailError(f"{path} does not fit the run's model ({error}): train the run again") from None
        self.model: nn.Module = model.to(self.device).eval()

    def _classifier(self) -> nn.Module:
        model = create_model(
            self.info["model"],
            num_classes=len(self.class_names),
            in_channels=self.info["channels"],
            image_size=self.info["image_size"],
            frames=self.info.get("frames", 0),
        )
        attach(model, self.folder.method().parts(ClassStats(class_counts=self.info["class_counts"]["train"])))
        return model

    def _detector(self) -> nn.Module:
        return trained_detector(self)

    def data(self, split: Split) -> ImageData:
        """``split`` as the test split of data that look to the model as its own."""
        info, nothing = self.info, torch.zeros(0, dtype=torch.int64)
        train = split.subset(nothing)
        look: dict[str, Any] = {key: info[key] for key in ("mean", "std", "center_crop")}
        look["bit_depth"] = info.get("bit_depth")
        return ImageData(name="files", class_names=self.class_names, train=train, val=None, test=split, **look)

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

    def tell_changes(
        self, record: SplitRecord, data: ImageData | BoxData, split: str, note: Callable[[str], None]
    ) -> None:
        """Tell what is new or changed in a split that was read again; missing files are an error."""
        for line in (*(line for line in data.notes if record.source in line), *check_splits(record, data, (split,))):
            note(line)


def load_run(run: str | Path, **options: Any) -> Trained:
    """A finished run; see `Trained`."""
    return Trained(run, **options)


def trained_detector(trained: Trained) -> nn.Module:
    """The detector of a run without its weights, its boxes scored as the method has it."""
    from longtail.integrations.detection import with_box_criterion  # these load torchvision's detectors
    from longtail.models.detectors import create_detector

    info, config = trained.info, trained.config
    model = create_detector(
        info["model"],
        num_classes=len(info["class_names"]),
        image_size=info["image_size"],
        frozen_norm=info["frozen_norm"],
    )
    counts = info["class_counts"]["train"]
    parts = trained.folder.method().parts(ClassStats(class_counts=counts, task=config.task))
    attach(model, parts)
    last = dataclasses.replace(parts, **parts.stages[-1].parts) if parts.stages else parts
    return with_box_criterion(model, last.criterion)
