"""Train one configuration in its folder: what is checked before, who is there, what is told."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from longtail import runfolder
from longtail.config import RunConfig
from longtail.data.loader import of_dead_worker
from longtail.data.record import check_splits
from longtail.errors import DataError, LongtailError
from longtail.guard import leave_unguarded_script
from longtail.methods import Method
from longtail.tasks.find import task_class
from longtail.training.ending import Ending
from longtail.training.folder import RunFolder, method_of
from longtail.training.loop import Loop as _Loop
from longtail.training.peers import check_shared, meet
from longtail.training.progress import Progress
from longtail.training.recipes import resolve
from longtail.training.setup import make_accelerator, make_task

__all__ = ["train"]


def train(
    config: RunConfig,
    out: str | Path,
    *,
    resume: bool = True,
    progress: Progress | None = None,
    splits_of: str | Path | None = None,
    features: str | Path | None = None,
) -> dict[str, Any]:
    """Train, evaluate and fill the run folder ``out``; returns what ``metrics.json`` holds.

    An unfinished run of the same configuration is continued, a finished one is left as it is.

    Args:
        config: What to run; unset fields are filled in from the data set's recipe.
        out: The run folder.
        resume: False: refuse a folder with an unfinished run instead of continuing it.
        progress: Told about every step and epoch.
        splits_of: A run folder whose splits a new run takes over; None: they are cut by the configuration.
        features: Folder of the features of frozen networks, unless ``feature_cache`` names one; None: ``features``
            beside the run folder.

    Raises:
        LongtailError: anything that the user can mend.
    """
    leave_unguarded_script()
    config = resolve(config)
    method = method_of(config)
    task_class(config.task).check_method(method, config.task)
    if method.needs_weights and not config.weights:
        raise LongtailError(f"{config.method} starts from a trained model: give its file with --weights")
    folder = RunFolder(out)
    folder.check(config, method)
    accelerator = make_accelerator(config, folder.path)
    main = accelerator.is_main_process
    progress = progress if progress and main else Progress()
    if folder.finished:
        progress.note(f"{folder.path} is finished already with this configuration: nothing to do")
        return folder.metrics
    if folder.begun and not resume:
        raise LongtailError(f"{folder.path} holds an unfinished run: continue it with --resume or choose another --out")
    with meet(accelerator.device), _dead_worker_told():
        cache = str(config.feature_cache or features or folder.path.parent / runfolder.FEATURES)
        return _train(config, folder, accelerator, method, progress, splits_of, cache)


def _train(
    config: RunConfig,
    folder: RunFolder,
    accelerator: Accelerator,
    method: Method,
    progress: Progress,
    splits_of: str | Path | None,
    cache: str,
) -> dict[str, Any]:
    """`train` once all processes are there."""
    main = accelerator.is_main_process
    record = folder.splits() or (RunFolder(splits_of).splits() if splits_of is not None else None)
    try:
        task = make_task(dataclasses.replace(config, feature_cache=cache), accelerator, record=record)
    except LongtailError as error:
        raise DataError(str(error)) from error
    ending = Ending(alone=accelerator.num_processes == 1)
    try:
        if method.needs_held_out and task.data.val is None:
            raise LongtailError(
                f"{config.method} measures difficulty on a held-out split and --protocol {config.protocol} has none: "
                "choose another protocol or method"
            )
        if record is not None and main and (changes := check_splits(record, task.data)):
            raise LongtailError(
                f"the data changed since {record.source} was begun: {'; '.join(changes)}: restore them, or choose "
                "another --out"
            )
        if record is None and folder.begun:
            progress.note(f"{folder.path} does not tell its splits (an earlier version began it): they are cut anew")
        loop = _Loop(config, folder, accelerator, task, method, progress, record, ending)
        accelerator.wait_for_everyone()  # from here on something is written: all processes got so far
        with folder.claimed(config, method) if main else contextlib.nullcontext(), ending.heard():
            check_shared(folder.path)
            metrics = loop.conclude(loop.run())
    finally:
        progress.stop()
        task.close()
        for tracker in accelerator.trackers:
            tracker.finish()
    accelerator.wait_for_everyone()
    return metrics


@contextlib.contextmanager
def _dead_worker_told() -> Iterator[None]:
    """In a line of ours what torch says, wherever we are, of a dead process that reads images."""
    try:
        yield
    except RuntimeError as error:
        if (told := of_dead_worker(error)) is None:
            raise
        raise told from None
