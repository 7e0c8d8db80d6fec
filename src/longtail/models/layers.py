"""How deep a parameter lies in a network, for learning rates by layer."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["layer_depths"]


def layer_depths(model: nn.Module) -> dict[str, int] | None:
    """Of each parameter by its name the number of its layer, from the input; a block counts as one layer.

    None: the network does not tell. Networks of timm do, by ``group_matcher``.
    """
    matcher: Any = getattr(model, "group_matcher", None)
    if not callable(matcher):
        return None
    from timm.models import group_parameters

    return group_parameters(model, matcher(coarse=False), reverse=True)
