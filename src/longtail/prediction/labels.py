"""Label image files or clips with a finished run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail import activity
from longtail.data import ImageData, Split, make_loader
from longtail.data.given import image_files
from longtail.data.loader import Loader
from longtail.errors import LongtailError

__all__ = ["as_data", "label_files"]


def as_data(split: Split, info: Mapping[str, Any]) -> ImageData:
    """``split`` as the test split of data that look to a run's model as its own; ``info``: its ``data.json``."""
    train = split.subset(torch.zeros(0, dtype=torch.int64))
    look: dict[str, Any] = {key: info[key] for key in ("mean", "std", "center_crop")}
    look |= {"bit_depth": info.get("bit_depth"), "interpolation": info.get("interpolation", "bilinear")}
    return ImageData(name="files", class_names=info["class_names"], train=train, val=None, test=split, **look)


@torch.inference_mode()
def label_files(
    trained: Any,
    files: Sequence[str | Path],
    *,
    top: int = 1,
    notes: list[str] | None = None,
    problems: list[str] | None = None,
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """What `longtail.training.apply.predict` does."""
    info = trained.info
    frames = info.get("frames", 0)
    if not 1 <= top <= len(trained.class_names):
        raise LongtailError(
            f"--top is {top}: it must be between 1 and the number of classes, {len(trained.class_names)}"
        )
    paths = image_files(files, clips=bool(frames), notes=notes, problems=problems)
    split = Split(paths, torch.zeros(len(paths), dtype=torch.int64), frames)
    data = as_data(split, info)
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
