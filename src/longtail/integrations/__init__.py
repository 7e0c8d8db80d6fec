"""Bridges to other frameworks; each needs its framework and nothing else beyond torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtail.integrations.detection import box_predictions, with_box_criterion

__all__ = ["box_predictions", "with_box_criterion"]

_HOMES = {"box_predictions": "detection", "with_box_criterion": "detection"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
