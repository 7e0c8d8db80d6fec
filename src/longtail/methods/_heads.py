"""Classifiers that take the place of a network's final linear layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CosineHead", "with_outputs", "with_prior_bias"]


class CosineHead(nn.Module):
    """Logits ``scale * cos(x, W_c)``: features and weights are normalised, and there is no bias.

    Args:
        linear: The layer that it replaces, whose shape and place it takes.
        scale: Factor of the cosines.
        start: Directions ``[C, D]`` that training begins with, such as the class means of the features, rows of zeros
            where there is none; None: they are drawn.
    """

    def __init__(self, linear: nn.Linear, *, scale: float, start: Tensor | None = None) -> None:
        super().__init__()
        self.scale, self.start = scale, start
        self.weight = nn.Parameter(torch.empty_like(linear.weight))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin anew: with the start, or with directions drawn uniformly in a cube; lengths do not matter here."""
        nn.init.uniform_(self.weight, -1, 1)
        with torch.no_grad():
            if self.start is not None:
                start = self.start.to(self.weight)
                self.weight.copy_(torch.where(start.any(1, keepdim=True), start, self.weight))
            self.weight.copy_(F.normalize(self.weight))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(features, dim=-1), F.normalize(self.weight))


def with_outputs(linear: nn.Linear, *, outputs: int) -> nn.Linear:
    """A layer with more outputs for the same features; those that the given one has stay as they are."""
    wider = nn.Linear(linear.in_features, outputs, bias=linear.bias is not None)
    with torch.no_grad():
        for own, given in zip(wider.parameters(), linear.parameters(), strict=True):
            own[: len(given)] = given
    return wider


def with_prior_bias(linear: nn.Linear) -> nn.Linear:
    """The layer itself, its bias at ``-log(C - 1)``: at the start every sigmoid gives about 1 / C."""
    classes = linear.out_features
    if linear.bias is not None and classes > 1:
        nn.init.constant_(linear.bias, -float(torch.tensor(classes - 1.0).log()))
    return linear
