"""The per-sample losses that a name or a callable stands for; nothing is weighted or averaged here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn

from longtail import functional
from longtail.checks import check_range
from longtail.errors import LongtailError
from longtail.functional.targets import cross_entropy

__all__ = ["Base", "per_sample"]

Base = Literal["cross_entropy", "focal", "mse", "hinge"]

_OWNERS = {"gamma": "focal", "label_smoothing": "cross_entropy", "margin": "hinge"}
_DEFAULTS = {"gamma": 1.0, "label_smoothing": 0.0, "margin": 1.0}


def per_sample(base: Base | Callable[..., Tensor], options: dict[str, float]) -> Callable[..., Tensor]:
    """The base loss as ``(prediction, target) -> per-sample losses``.

    Args:
        base: As in `ClassWeightedLoss`.
        options: ``gamma``, ``label_smoothing`` and ``margin``, each of one named loss.

    Raises:
        LongtailError: an unknown name, a loss that reduces, an option out of range or of another loss.
    """
    check_range(options["label_smoothing"], "label_smoothing", 0, 1)
    check_range(options["gamma"], "gamma", 0, float("inf"), open_high=True)
    for name, owner in _OWNERS.items():
        if base != owner and options[name] != _DEFAULTS[name]:
            raise LongtailError(f"{name} belongs to the base loss {owner!r}: it would do nothing here")
    named = {
        "cross_entropy": functools.partial(cross_entropy, label_smoothing=options["label_smoothing"]),
        "focal": functools.partial(functional.focal_loss, gamma=options["gamma"]),
        "mse": functional.mse_loss,
        "hinge": functools.partial(functional.hinge_loss, margin=options["margin"]),
    }
    if callable(base):
        return _unreduced(base)
    if base not in named:
        raise LongtailError(f"unknown base loss {base!r}: known are {', '.join(get_args(Base))}, or give a callable")
    return named[base]


def _unreduced(base: Callable[..., Tensor]) -> Callable[..., Tensor]:
    reduction = getattr(base, "reduction", "none")
    if reduction != "none":
        raise LongtailError(f"the base loss reduces by {reduction!r}: build it with reduction='none'")
    if isinstance(base, nn.Module):
        return base
    try:
        takes_reduction = "reduction" in inspect.signature(base).parameters
    except ValueError:  # a builtin without a signature
        takes_reduction = False
    return functools.partial(base, reduction="none") if takes_reduction else base
