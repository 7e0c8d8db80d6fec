"""Small pictures in folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from longtail.data import ImageData, Split

__all__ = ["by_class", "files", "fill"]


def fill(folder: Path, counts: Mapping[str, int]) -> Path:
    """Small pictures, ``counts[path]`` of them in each folder ``path``; returns ``folder``."""
    for c, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("RGB", (20 + i % 3, 18), (40 * c % 256, 10 * i % 256, 90)).save(folder / name / f"{i:04}.png")
    return folder


def files(split: Split | None) -> list[str]:
    assert split is not None and not split.in_memory
    return [str(path) for path in split.images]


def by_class(data: ImageData, split: Split | None) -> dict[str, int]:
    assert split is not None
    return {name: n for name, n in zip(data.class_names, split.class_counts(data.num_classes), strict=True) if n}
