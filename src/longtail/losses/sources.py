"""Sources of one number per class: tensors, objects whose ``weight`` is one, and what is made from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from longtail.checks import has_weight, numbers
from longtail.errors import LongtailError
from longtail.functional import difficulty_shift

__all__ = ["Padded", "Product", "Shift", "as_source", "weight_of"]


def weight_of(source: Any) -> Tensor:
    """What a source says now: the tensor itself, or the ``weight`` of an object that has one."""
    return getattr(source, "weight", source)


def as_source(weight: Any) -> Any:
    """An object with a ``weight`` as it is, numbers as a checked tensor: finite, >= 0, ``[C]``."""
    if has_weight(weight):
        return weight
    tensor = numbers(weight, "class weights", dtype=torch.float32)
    if tensor.ndim != 1 or not len(tensor) or not bool(torch.isfinite(tensor).all()) or bool((tensor < 0).any()):
        raise LongtailError("class weights must be finite numbers >= 0, one per class")
    return tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Product:
    """The product of two sources of class weights."""

    first: Any
    second: Any

    @property
    def weight(self) -> Tensor:
        first, second = weight_of(self.first), weight_of(self.second)
        return first.to(second.device) * second


@dataclasses.dataclass(frozen=True, eq=False)
class Shift:
    """What a source of class weights adds to the logits."""

    source: Any
    strength: float

    @property
    def weight(self) -> Tensor:
        return difficulty_shift(weight_of(self.source), strength=self.strength)


@dataclasses.dataclass(frozen=True, eq=False)
class Padded:
    """A source of one number per class with one more in front, the background's."""

    source: Any
    background: float

    @property
    def weight(self) -> Tensor:
        own = weight_of(self.source)
        return torch.cat([own.new_full((1,), self.background), own])
