"""Checks and precision rules that all rooms with tensors share."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from longtail.errors import LongtailError

__all__ = [
    "by_place",
    "check_choice",
    "check_labels",
    "check_range",
    "checked_performance",
    "class_indices",
    "counts_as_float64",
    "extremes",
    "full_precision",
    "has_weight",
    "holds",
    "is_table",
    "numbers",
    "writable",
]

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


def extremes(values: Tensor) -> tuple[int, int] | None:
    """The smallest and the largest of some integers; it waits for the device.

    None where there are none, and where they cannot be read: while a graph is traced, and inside ``torch.func.vmap``.
    """
    if torch.compiler.is_compiling() or values.numel() == 0:
        return None
    try:
        low, high = torch.aminmax(values)
        return int(low), int(high)
    except RuntimeError:  # what other tracers and vmap say
        return None


def holds(condition: Tensor) -> bool:
    """Whether all of a bool tensor is true; it waits for the device. True where it cannot be read, as in `extremes`."""
    if torch.compiler.is_compiling():
        return True
    try:
        return bool(condition.all())
    except RuntimeError:
        return True


def class_indices(target: Tensor) -> Tensor:
    """Targets as int64; raises unless they are integers of any type."""
    if not isinstance(target, Tensor):
        raise LongtailError(f"targets must be a tensor of class indices, not {type(target).__name__}")
    if target.dtype == torch.int64:
        return target
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise LongtailError(f"targets must be class indices (integers), not {str(target.dtype).removeprefix('torch.')}")
    return target.to(torch.int64)


def check_labels(label: Tensor, num_classes: int, *, hint: str = "") -> None:
    """Raise unless all of ``label`` is in ``[0, num_classes)``, as far as `extremes` can be read."""
    found = extremes(label)
    if found is not None and (found[0] < 0 or found[1] >= num_classes):
        wrong = found[0] if found[0] < 0 else found[1]
        raise LongtailError(
            f"label {wrong} is out of range: {num_classes} classes have labels 0 to {num_classes - 1}{hint}"
        )


def numbers(values: object, name: str, *, dtype: torch.dtype | None) -> Tensor:
    """One number per class, ``[C]``: a tensor as it is but for its type; a list or an array as a tensor.

    A pandas Series and a dictionary (`collections.Counter`) are read by their keys, which must be the class indices.
    """
    try:
        return torch.as_tensor(writable(_by_class(values, name)), dtype=dtype)
    except LongtailError:
        raise
    except (TypeError, ValueError, RuntimeError):
        raise LongtailError(f"{name} are {reprlib.repr(values)}: give a list of numbers, one per class") from None


def _by_class(values: Any, name: str) -> Any:
    if is_table(values) and not hasattr(values, "to_list"):
        raise LongtailError(f"{name} are a {type(values).__name__}: give one of its columns, indexed by class")
    if not is_table(values) and not isinstance(values, Mapping):
        return values
    by_key = dict(values.items())
    whole = all(isinstance(key, Real) and not isinstance(key, bool) and float(key).is_integer() for key in by_key)
    if whole and len(by_key) == len(values) and set(by_key) == set(range(len(by_key))):
        return [by_key[c] for c in range(len(by_key))]
    what = f"{name} are a {type(values).__name__} with the keys {reprlib.repr(list(by_key))}, not 0 to C - 1"
    if not is_table(values):
        raise LongtailError(f"{what}: give a list, one number per class, in the order of the class indices")
    fill = ", fill_value=0" if name == "class_counts" else ""
    then = f".reindex(range(C){fill})" if whole else f".reindex(class_names{fill}).to_list()"
    raise LongtailError(f"{what}: bring it into the order of the class indices, which count from 0, with {then}")


def writable(values: Any) -> Any:
    """A copy of an array that cannot be written to, of which torch warns; everything else as it is."""
    return values.copy() if getattr(getattr(values, "flags", None), "writeable", True) is False else values


def is_table(values: object) -> bool:
    """Whether ``values`` is a Series or DataFrame of pandas or its like, which holds its values by label."""
    return hasattr(type(values), "sort_index")


def has_weight(source: object) -> bool:
    """Whether ``source`` is an object that carries class weights, and not the weights themselves."""
    return hasattr(source, "weight") and not is_table(source)


def by_place(values: Any, name: str) -> Any:
    """One entry a sample, in order: a Series without its index; everything else as it is."""
    if not is_table(values):
        return writable(values)
    if not hasattr(values, "to_list"):
        raise LongtailError(f"{name} is a {type(values).__name__}: give one of its columns")
    return values.to_list() if values.dtype == object else values.to_numpy(copy=True)


def counts_as_float64(class_counts: Tensor | Sequence[int] | Mapping[int, int]) -> Tensor:
    """Class counts ``[C]`` as float64 on the CPU, checked."""
    counts = numbers(class_counts, "class_counts", dtype=torch.float64).detach().cpu()
    if counts.ndim != 1 or not len(counts) or not holds(counts.isfinite() & (counts >= 0)):
        raise LongtailError("class_counts must be a non-empty list of finite numbers >= 0, one per class")
    if not holds((counts == 0) | (counts >= 1)):
        raise LongtailError("class_counts are shares, some of them below 1: give the numbers of samples")
    return counts


def checked_performance(performance: Tensor) -> Tensor:
    """Class performance ``[C]`` in full precision; raises on NaN and on values outside [0, 1]."""
    performance = full_precision(numbers(performance, "performances", dtype=None))
    if performance.ndim != 1 or not len(performance):
        raise LongtailError(f"performance must have shape [C], one value per class, not {list(performance.shape)}")
    good = (performance >= 0) & (performance <= 1 + 1e-6)  # an average of ones may round to a little above 1
    if not holds(good):
        c = int((~good).nonzero()[0])
        raise LongtailError(f"performance of class {c} is {float(performance[c]):g}: it must be in [0, 1]")
    return performance
