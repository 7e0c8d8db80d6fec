"""Where a method's classifier goes in a model."""

from __future__ import annotations

from torch import nn

from longtail.methods.base import Parts

__all__ = ["put_in"]


def put_in(model: nn.Module, parts: Parts | None, place: tuple[nn.Module, str, nn.Linear]) -> nn.Module:
    """Put a method's classifier and layers into a new model, in place.

    Args:
        model: The network.
        parts: Of the method; None: it stays as it is.
        place: Where its last linear layer hangs: parent, attribute, layer, as `classifier_of` tells.

    Returns:
        The classifier.
    """
    parent, name, head = place
    if parts is None:
        return head
    if parts.head is not None:
        head = parts.head(head)
        setattr(parent, name, head)
    if parts.body is not None:
        parts.body(model, head)
    return head
