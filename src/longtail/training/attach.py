"""See which parts of a method act on each other."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["holds"]


def holds(holder: Any, wanted: Any) -> bool:
    """Whether an object is, or keeps in its attributes however deep, another one: a loss the source of its weights."""
    waiting, seen = [holder], set[int]()
    while waiting:
        value = waiting.pop()
        if value is wanted:
            return True
        if id(value) in seen or isinstance(value, Tensor | type):
            continue
        seen.add(id(value))
        if isinstance(value, tuple):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
        elif hasattr(value, "__dict__"):
            waiting += vars(value).values()
    return False
