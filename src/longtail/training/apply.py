"""Use a finished run: evaluate, predict."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from longtail import activity
from longtail.data.catalogue import parse_spec
from longtail.data.given import image_files
from longtail.tasks.find import task_class
from longtail.training.export import export
from longtail.training.trained import Trained, load_run

__all__ = ["Trained", "evaluate", "export", "image_files", "load_run", "predict"]


def evaluate(
    run: str | Path,
    *,
    split: str = "test",
    data: str | None = None,
    device: str = "auto",
    note: Callable[[str], None] = warnings.warn,
) -> dict[str, Any]:
    """Judge a finished run on a split of its own data or of other data with the same classes.

    A split of its own data holds the files that the run had in it, whatever was added since.

    Args:
        run: The run folder.
        split: ``test``, ``val``, ``train`` or ``select``.
        data: Another data set, ``NAME[:PATH]``. Its classes are known by their names; a folder without splits is judged
            as a whole.
        device: ``auto``, ``cpu`` or ``cuda``.
        note: Told of what differs from the data that the run had: new files, which are left out, and changed ones.

    Returns:
        What ``metrics.json`` holds of a split.

    Raises:
        LongtailError: no such split, files of it that are missing or have another label, other classes.
    """
    activity.now(f"judging the {split} split")
    trained = Trained(run, device=device)
    config = dataclasses.replace(
        trained.config, frame_cache=None, augment=None, download=False, workers=0, weights=None
    )
    if data is not None:
        alike = parse_spec(data)[0] == parse_spec(config.data)[0]  # another table of the same kind
        columns = config.columns if alike else ()
        config = dataclasses.replace(config, data=data, imbalance=None, protocol=None, group_by=None, columns=columns)
    record = trained.splits(note) if data is None else None
    # A frozen network judges as a whole model, from the images: whatever is kept of it may be gone.
    judge = task_class(config.task)
    task = judge.load(
        dataclasses.replace(config, tune="all"), device=trained.device, record=record, whole=data is not None
    )
    if record is not None:
        trained.tell_changes(record, task.data, split, note)
    task = task.adopt(trained.info, split)
    with trained.autocast():
        return task.evaluate(trained.model, split).metrics


def predict(
    run: str | Path | Trained,
    files: Sequence[str | Path],
    *,
    top: int = 1,
    device: str = "auto",
    notes: list[str] | None = None,
    problems: list[str] | None = None,
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Label image files, or clips if the run was trained on clips.

    Args:
        run: The run folder, or the run as `load_run` gives it.
        files: Image files, video files or folders of frames, folders of them, or patterns, see `image_files`.
        top: Number of classes to name for each file.
        device: ``auto``, ``cpu`` or ``cuda``.
        notes: Takes lines about what was passed over in folders.
        problems: Takes a line for each file that is missing or cannot be read, and the others are labelled; None: the
            first such file is an error.

    Yields:
        The file and its ``top`` most likely classes with their softmax probabilities, best first.

    Raises:
        LongtailError: a file is missing or cannot be read; with ``problems``: none can.
    """
    trained = run if isinstance(run, Trained) else Trained(run, device=device)
    return trained.task.label(trained, files, top=top, notes=notes, problems=problems)
