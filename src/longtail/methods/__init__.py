"""One published method a file: a frozen dataclass that turns class statistics into parts. Its docstring is its card.

The classes themselves (``from longtail.methods import CDBW``) are found through the registry.
"""

from __future__ import annotations

from typing import Any

from longtail.methods._check import check_method
from longtail.methods.base import (
    ClassStats,
    Method,
    Parts,
    Stage,
    StepContext,
    cite,
    find_class,
    get_method,
    list_methods,
)

__all__ = [
    "ClassStats",
    "Method",
    "Parts",
    "Stage",
    "StepContext",
    "check_method",
    "cite",
    "get_method",
    "list_methods",
]


def __getattr__(name: str) -> Any:
    cls = None if name.startswith("_") else find_class(name)
    if cls is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return cls
