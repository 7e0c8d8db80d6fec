"""Give a network what a method wants of it."""

from __future__ import annotations

from torch import nn

from longtail.methods import Parts
from longtail.models import final_linear
from longtail.models.detectors import box_classifier

__all__ = ["attach"]


def attach(model: nn.Module, parts: Parts) -> nn.Module:
    """Put the method's classifier and layers into a new model, in place; returns the classifier."""
    parent, name, head = (box_classifier if hasattr(model, "roi_heads") else final_linear)(model)
    if parts.head is not None:
        head = parts.head(head)
        setattr(parent, name, head)
    if parts.body is not None:
        parts.body(model, head)
    return head
