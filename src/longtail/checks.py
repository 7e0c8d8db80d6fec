"""Checks and precision rules that all rooms with tensors share."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from longtail.errors import LongtailError

__all__: list[str] = []

_LARGEST = 1e18  # with room to the largest int64


def full_precision(values: Tensor) -> Tensor:
    """float32 and float64 as they are, everything else (half, bfloat16, integers) as float32."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def check_range(
    value: float, name: str, low: float, high: float, *, open_low: bool = False, open_high: bool = False
) -> None:
    """Raise unless ``low <= value <= high`` (strictly where open); NaN never passes."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if number and _LARGEST < abs(value) < math.inf:
        raise LongtailError(f"{name} is larger than {_LARGEST:g}: choose a smaller number")
    if not (number and (low < value if open_low else low <= value) and (value < high if open_high else value <= high)):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise LongtailError(f"{name} is {value!r}: it must be a number in {interval}")


def check_choice(value: object, name: str, known: Sequence[str]) -> None:
    """Raise unless ``value`` is one of ``known``."""
    if value not in known:
        raise LongtailError(f"unknown {name} {value!r}: known are {', '.join(known)}")


def check_labels(target: Tensor, num_classes: int, *, values: bool = True) -> None:
    """Raise unless ``target`` holds integers in ``[0, num_classes)``; reading ``values`` waits for the device."""
    if not isinstance(target, Tensor):
        raise LongtailError(f"targets must be a tensor of class indices, not {type(target).__name__}")
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise LongtailError(f"targets must be class indices (integers), not {str(target.dtype).removeprefix('torch.')}")
    if not values or target.numel() == 0:
        return
    low, high = (int(v) for v in torch.aminmax(target))
    if low < 0 or high >= num_classes:
        label = low if low < 0 else high
        raise LongtailError(f"label {label} is out of range: {num_classes} classes have labels 0 to {num_classes - 1}")


def numbers(values: object, name: str, *, dtype: torch.dtype) -> Tensor:
    """A tensor as it is but for its type; a list or an array of numbers as a tensor."""
    try:
        return torch.as_tensor(values, dtype=dtype)
    except (TypeError, ValueError, RuntimeError):
        raise LongtailError(f"{name} are {reprlib.repr(values)}: give a list of numbers, one a class") from None


def counts_as_float64(class_counts: Tensor | Sequence[int]) -> Tensor:
    """Class counts ``[C]`` as float64 on the CPU, checked."""
    counts = numbers(class_counts, "class_counts", dtype=torch.float64).detach().cpu()
    if counts.ndim != 1 or not len(counts) or not bool(torch.isfinite(counts).all()) or bool((counts < 0).any()):
        raise LongtailError("class_counts must be a non-empty list of finite numbers >= 0, one a class")
    return counts


def checked_performance(performance: Tensor) -> Tensor:
    """Class performance ``[C]`` in full precision; raises on NaN and on values outside [0, 1]."""
    performance = full_precision(torch.as_tensor(performance))
    if performance.ndim != 1 or not len(performance):
        raise LongtailError(f"performance must have shape [C], one value a class, not {list(performance.shape)}")
    good = (performance >= 0) & (performance <= 1 + 1e-6)  # an average of ones may round to a little above 1
    if not bool(good.all()):
        c = int((~good).nonzero()[0])
        raise LongtailError(f"performance of class {c} is {float(performance[c]):g}: it must be in [0, 1]")
    return performance
