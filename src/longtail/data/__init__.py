"""Image data sets: long-tail count laws, readers of the published layouts, splits, and loaders."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "ImageData": "base",
    "Split": "base",
    "inspect_data": "summary",
    "load_data": "load",
    "long_tail_counts": "counts",
    "make_loader": "loader",
    "read_image": "photos",
    "suggest_workers": "loader",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
