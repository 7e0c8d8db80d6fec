"""Give a network what a method wants of it, and see which parts of a method act on each other."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from longtail.methods import Parts
from longtail.models import final_linear
from longtail.models.detectors import box_classifier

__all__ = ["attach", "holds"]


def attach(model: nn.Module, parts: Parts) -> nn.Module:
    """Put the method's classifier and layers into a new model, in place; returns the classifier."""
    parent, name, head = (box_classifier if hasattr(model, "roi_heads") else final_linear)(model)
    if parts.head is not None:
        head = parts.head(head)
        setattr(parent, name, head)
    if parts.body is not None:
        parts.body(model, head)
    return head


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
