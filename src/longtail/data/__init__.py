"""Image data sets: long-tail count laws, readers of the published layouts, splits, and loaders."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtail.data.base import ImageData, Split
    from longtail.data.boxes import BoxData, BoxSplit, inspect_boxes
    from longtail.data.coco import load_boxes
    from longtail.data.counts import long_tail_counts
    from longtail.data.load import load_data
    from longtail.data.loader import Loader, make_loader, suggest_workers
    from longtail.data.photos import check_images, read_image
    from longtail.data.summary import inspect_data

__all__ = [
    "BoxData",
    "BoxSplit",
    "ImageData",
    "Loader",
    "Split",
    "check_images",
    "inspect_boxes",
    "inspect_data",
    "load_boxes",
    "load_data",
    "long_tail_counts",
    "make_loader",
    "read_image",
    "suggest_workers",
]

_HOME = {
    "base": ("ImageData", "Split"),
    "boxes": ("BoxData", "BoxSplit", "inspect_boxes"),
    "coco": ("load_boxes",),
    "counts": ("long_tail_counts",),
    "load": ("load_data",),
    "loader": ("Loader", "make_loader", "suggest_workers"),
    "photos": ("check_images", "read_image"),
    "summary": ("inspect_data",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():  # loaded when asked for: the count laws need no torch, the rest no torchvision
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
