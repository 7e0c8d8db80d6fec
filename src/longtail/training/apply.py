"""Use a finished run: evaluate, predict."""

from __future__ import annotations

import dataclasses
import glob
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail import activity
from longtail.data import ImageData, Split, load_data, make_loader
from longtail.data.files import clips_below, images_below
from longtail.data.loader import Loader
from longtail.data.video import image_names
from longtail.data.walk import Passed
from longtail.errors import LongtailError
from longtail.names import same_classes
from longtail.tasks.image import ImageTask
from longtail.training.config import RunConfig
from longtail.training.export import export
from longtail.training.trained import Trained, load_run

__all__ = ["Trained", "evaluate", "export", "load_run", "predict"]


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
    config: RunConfig = trained.config
    if trained.boxes:
        from longtail.training.apply_boxes import evaluate_boxes  # loads torchvision's detectors

        return evaluate_boxes(trained, split=split, data=data, note=note)
    record = trained.splits(note) if data is None else None
    content = load_data(
        data or config.data,
        imbalance=config.imbalance if data is None else None,
        imbalance_kind=config.imbalance_kind,
        protocol=config.protocol if data is None else None,
        data_seed=config.data_seed or 0,
        val_fraction=config.val_fraction,
        select_fraction=config.select_fraction,
        whole=data is not None,
        frames=config.frames,
        group_by=config.group_by if data is None else None,
        broken=config.broken,
        record=record,
        bit_depth=config.bit_depth,
    )
    if record is not None:
        trained.tell_changes(record, content, split, note)
    content = _with_classes(content, split, trained.class_names)
    info = trained.info
    if bool(content.frames) != bool(info.get("frames", 0)):
        other = "clips" if info.get("frames", 0) else "images"
        raise LongtailError(f"{content.name} has {content.item}s, and the run was trained on {other}")
    if content.train.in_memory and content.channels != info["data_channels"]:
        raise LongtailError(f"{content.name} has {content.channels} channels, the run's data {info['data_channels']}")
    content = dataclasses.replace(content, mean=info["mean"], std=info["std"], center_crop=info["center_crop"])
    task = ImageTask(content, model=info["model"], image_size=info["image_size"], device=trained.device)
    task.class_counts = info["class_counts"]["train"]  # the shot groups are those of the training
    with trained.autocast():
        return task.evaluate(trained.model, split).metrics


def _with_classes(data: ImageData, name: str, class_names: Sequence[str]) -> ImageData:
    """``data`` with the labels of one split as indices into ``class_names``."""
    places = same_classes(data.class_names, class_names, where=data.name)
    part = getattr(data, name, None)
    if part is None:
        raise LongtailError(f"{data.name} has no {name!r} split")
    labels = torch.tensor(places)[part.labels]
    parts: dict[str, Any] = {name: dataclasses.replace(part, labels=labels)}
    return dataclasses.replace(data, class_names=class_names, **parts)


def image_files(
    paths: Sequence[str | Path],
    *,
    clips: bool = False,
    notes: list[str] | None = None,
    problems: list[str] | None = None,
) -> list[str]:
    """The files named, and all images or clips below the folders named, sorted within each folder.

    Args:
        paths: Files, folders, and patterns as of a shell (``photos/*.jpg``, ``**`` for any folders) where no file of
            that name exists.
        clips: Whether clips are wanted.
        notes: Takes lines about what was passed over.
        problems: Takes a line for each of ``paths`` that gives no file; None: the first such is an error.

    Raises:
        LongtailError: none of ``paths`` gives a file; or, without ``problems``, one of them.
    """
    found, passed, missing = list[str](), Passed(), list[str]()
    item = "clip" if clips else "image file"
    for path in (one for given in paths for one in _expanded(given)):
        if clips and image_names(path):
            found.append(str(path))
        elif path.is_dir():
            inside = clips_below(path, passed) if clips else sorted(images_below(path, passed))
            if not inside:
                there = "; ".join(passed.notes(item))
                missing.append(f"{path} holds no {item}" + (f": {there}" if there else ""))
            found += inside
        elif path.is_file():
            found.append(str(path))
        elif glob.has_magic(str(path)):
            missing.append(f"{path} matches no file: give {item}s or folders of them")
        else:
            missing.append(f"{path} does not exist: give {item}s or folders of them")
    if missing and (problems is None or not found):
        raise LongtailError(missing[0] + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""))
    if not found:
        raise LongtailError(f"no {item} is given: longtail predict RUN FILE...")
    if problems is not None:
        problems += missing
    if notes is not None:
        notes += passed.notes(item)
    return found


def _expanded(path: str | Path) -> list[Path]:
    """What a pattern matches, where the shell did not look; the path itself if it is none or matches nothing."""
    if not glob.has_magic(str(path)) or os.path.lexists(path):
        return [Path(path)]
    return [Path(one) for one in sorted(glob.glob(str(path), recursive=True))] or [Path(path)]


@torch.inference_mode()
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
    if trained.boxes:
        raise LongtailError(f"{trained.folder.path} finds objects: use longtail.training.apply_boxes.find_objects")
    info = trained.info
    frames = info.get("frames", 0)
    if not 1 <= top <= len(trained.class_names):
        raise LongtailError(
            f"--top is {top}: it must be between 1 and the number of classes, {len(trained.class_names)}"
        )
    paths = image_files(files, clips=bool(frames), notes=notes, problems=problems)
    split = Split(paths, torch.zeros(len(paths), dtype=torch.int64), frames)
    data = trained.data(split)
    loader = make_loader(
        split, data, image_size=info["image_size"], train=False, device=trained.device, channels=info["channels"]
    )
    labelled = 0
    activity.now(f"labelling {len(paths)} {'clips' if frames else 'images'}")
    for rows, images in _readable(loader, paths, 8 if frames else 64, problems):
        with trained.autocast():
            logits = trained.model(images)
        probability, label = logits.float().softmax(1).topk(top)
        for row, p, c in zip(rows, probability.tolist(), label.tolist(), strict=True):
            yield paths[row], [(trained.class_names[i], v) for i, v in zip(c, p, strict=True)]
            labelled += 1
    if problems and not labelled:
        raise LongtailError(problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""))


def _readable(
    loader: Loader, paths: Sequence[str], size: int, problems: list[str] | None
) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of the files that can be read, with their places in ``paths``; a line for each of the others."""
    for batch in activity.counted(torch.arange(len(paths)).split(size)):
        parts = [batch]
        while parts:  # a batch with a bad file is read again, file by file
            part = parts.pop(0)
            try:
                ((images, _),) = loader([part])
            except LongtailError as error:
                if problems is None:
                    raise
                if len(part) > 1:
                    parts = list(part.split(1))
                    continue
                problems.append(str(error))
                continue
            yield part.tolist(), images
