"""Find objects in image files with a finished run, and draw them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from longtail.atomic import atomic
from longtail.data.photos import read_image
from longtail.errors import LongtailError
from longtail.prediction.drawing import draw_objects
from longtail.prediction.results import coco_results
from longtail.textfiles import write_json

__all__ = ["find_objects", "write_objects"]


@torch.inference_mode()
def find_objects(
    trained: Any, files: Sequence[str], *, problems: list[str] | None = None
) -> Iterator[tuple[str, Tensor, list[dict[str, Any]]]]:
    """Find the objects in image files.

    Args:
        trained: The run.
        files: Image files.
        problems: Takes a line for each file that cannot be read; None: the first such file is an error. It is one too
            where no file can be read.

    Yields:
        The file, its pixels uint8 ``[3, H, W]``, and its detections as COCO's results, the best first, each with
        ``file_name`` and ``name`` (of the category) beside ``image_id``, ``category_id``, ``bbox``, ``score`` and for
        masks ``segmentation``. The image id is the number that the file is called by, where all are called by different
        numbers, as COCO's are; else it counts from 1.
    """
    names = trained.class_names
    numbers = [re.fullmatch(r"(?:.*_)?(\d+)", Path(file).stem) for file in files]
    ids = [int(found[1]) for found in numbers if found]
    if len(set(ids)) < len(files):
        ids = list(range(1, len(files) + 1))
    read = 0
    for file, image_id in zip(files, ids, strict=True):
        try:
            pixels = read_image(file, bit_depth=trained.config.bit_depth)
        except LongtailError as error:
            if problems is None:
                raise
            problems.append(str(error))
            continue
        read += 1
        with trained.autocast():
            (output,) = trained.model([pixels.to(trained.device).float() / 255])
        found = coco_results(output, image_id, trained.info["category_ids"])
        labels = output["labels"].tolist()
        yield (
            file,
            pixels,
            [r | {"file_name": Path(file).name, "name": names[c - 1]} for r, c in zip(found, labels, strict=True)],
        )
    if problems and not read:
        raise LongtailError(problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""))


def write_objects(
    found: Iterator[tuple[str, Tensor, list[dict[str, Any]]]], out: Path, *, threshold: float
) -> tuple[Path, Path, int]:
    """Write all detections as one JSON list of COCO's results, and a picture of each file with those that are likely.

    Args:
        found: Of `find_objects`.
        out: The JSON file, the pictures then being in the folder of the same name without its ending; or a folder for
            both, where the file is ``detections.json``.
        threshold: Smallest score that is drawn.

    Returns:
        The JSON file, the folder of the pictures, and their number.
    """
    file, folder = (out, out.with_suffix("")) if out.suffix == ".json" else (out / "detections.json", out)
    folder.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    names: set[str] = set()
    for source, pixels, detections in found:
        name = f"{Path(source).stem}.png"
        while name in names:
            name = f"_{name}"
        names.add(name)
        picture = draw_objects(pixels, [d for d in detections if d["score"] >= threshold])
        atomic(folder / name, lambda p, picture=picture: to_pil_image(picture).save(p, format="PNG"))
        results += [{k: _plain(v) for k, v in d.items() if k != "name"} for d in detections]
    write_json(file, results)
    return file, folder, len(names)


def _plain(value: Any) -> Any:
    """Run lengths as text, which JSON can hold."""
    if isinstance(value, dict):
        return {k: v.decode() if isinstance(v, bytes) else list(v) for k, v in value.items()}
    return value
