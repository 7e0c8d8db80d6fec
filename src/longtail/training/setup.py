"""From a configuration to what the loop works with: the processes and devices, the data with their task."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from longtail.data import load_boxes, load_data, suggest_workers
from longtail.data.record import SplitRecord
from longtail.errors import LongtailError
from longtail.methods import Method
from longtail.tasks.image import ImageTask
from longtail.training.config import RunConfig
from longtail.training.hints import usable_cpus, usable_workers

if TYPE_CHECKING:
    from longtail.tasks.detection import DetectionTask  # loads torchvision's detectors

__all__ = ["Task", "make_accelerator", "make_task"]

Task: TypeAlias = "ImageTask | DetectionTask"


def make_accelerator(config: RunConfig, folder: Path) -> Accelerator:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise LongtailError("--device cuda: no CUDA device is available; use --device cpu or auto")
    for name in config.trackers:
        if importlib.util.find_spec(name) is None:
            raise LongtailError(f"--trackers {name}: the package is missing: pip install {name}")
    AcceleratorState._reset_state(reset_partial_state=True)  # an earlier run may have had another device or precision
    cpu = config.device == "cpu" or not torch.cuda.is_available()  # left to itself, it makes no group of CPU processes
    return Accelerator(
        cpu=cpu,
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        log_with=list(config.trackers) or None,
        project_dir=str(folder),
    )


def make_task(
    config: RunConfig, accelerator: Accelerator, method: Method, *, record: SplitRecord | None = None
) -> Task:
    """The data with their task; ``record``: the splits of a run, in place of new ones."""
    if config.task in ("detect", "segment"):
        return _boxes(config, accelerator, method, record)
    with accelerator.main_process_first() if config.download else contextlib.nullcontext():
        data = load_data(
            config.data,
            imbalance=config.imbalance,
            imbalance_kind=config.imbalance_kind,
            protocol=config.protocol,
            data_seed=config.data_seed or 0,
            val_fraction=config.val_fraction,
            select_fraction=config.select_fraction,
            download=config.download and accelerator.is_main_process,
            frames=config.frames,
            broken=config.broken,
            frame_cache=config.frame_cache,
            group_by=config.group_by,
            record=record,
            bit_depth=config.bit_depth,
            augment=config.augment,
        )
    if data.num_classes < 2:
        raise LongtailError(f"{config.data} has the one class {data.class_names[0]!r}: a classifier needs at least two")
    if method.needs_held_out and data.val is None:
        raise LongtailError(
            f"{config.method} measures difficulty on a held-out split and --protocol {config.protocol} has none: "
            "choose another protocol or method"
        )
    assert config.model and config.image_size
    workers = config.workers
    if workers is None:
        workers = suggest_workers(data.train, config.image_size, usable_cpus() // accelerator.num_processes)
    return ImageTask(
        data,
        model=config.model,
        image_size=config.image_size,
        device=accelerator.device,
        workers=usable_workers(workers),
        seed=config.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )


def _boxes(config: RunConfig, accelerator: Accelerator, method: Method, record: SplitRecord | None) -> DetectionTask:
    from longtail.tasks.detection import DetectionTask  # loads torchvision's detectors

    assert config.model and config.image_size
    if getattr(method, "measure", "recall") not in ("recall", "precision", "f1"):
        raise LongtailError("with boxes the difficulty is measured from decisions: use measure=recall, precision or f1")
    masks = config.task == "segment" or config.model.lower().startswith("mask")
    data = load_boxes(
        config.data,
        data_seed=config.data_seed or 0,
        val_fraction=config.val_fraction,
        masks=masks,
        broken=config.broken or "refuse",
        record=record,
        bit_depth=config.bit_depth,
    )
    return DetectionTask(
        data,
        model=config.model,
        image_size=config.image_size,
        device=accelerator.device,
        masks=masks,
        workers=usable_workers(config.workers or 0),
        seed=config.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
