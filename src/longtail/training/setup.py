"""From a configuration to what the loop works with: the processes and devices, the data with their task."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from longtail.config import RunConfig
from longtail.data.record import SplitRecord
from longtail.errors import LongtailError
from longtail.tasks.base import Task
from longtail.tasks.find import task_of

__all__ = ["make_accelerator", "make_task"]


def make_accelerator(config: RunConfig, folder: Path) -> Accelerator:
    """Device, precision, processes and trackers of a run.

    Args:
        config: Of the run.
        folder: Where trackers write.

    Raises:
        LongtailError: a device or a tracker that is not there.
    """
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


def make_task(config: RunConfig, accelerator: Accelerator, *, record: SplitRecord | None = None) -> Task:
    """The data with their task; ``record``: the splits of a run, in place of new ones."""
    with accelerator.main_process_first() if config.download else contextlib.nullcontext():
        return task_of(config).load(
            config,
            device=accelerator.device,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            record=record,
        )
