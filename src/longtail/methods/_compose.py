"""Methods that are made of other methods."""

from __future__ import annotations

from longtail.errors import LongtailError
from longtail.kwargs import parse_kwargs, parse_method
from longtail.methods.base import ClassStats, Method, Parts, get_method

__all__ = ["base_method", "named_method", "parts_of"]


def named_method(key: str, text: str) -> Method:
    """The method that the hyperparameter ``key`` names, ``NAME`` or ``NAME:key=value,key=value``."""
    if not isinstance(text, str):
        raise LongtailError(f"{key} is {text!r}: it must name a method, e.g. ce")
    name, items = parse_method(text)
    return get_method(name, **parse_kwargs(items))


def parts_of(method: Method, stats: ClassStats) -> Parts:
    """The parts of a method that is used by another one.

    Raises:
        LongtailError: the method is not made for the task.
    """
    if stats.task not in method.tasks:
        raise LongtailError(f"{method.name} is made for --task {' and '.join(method.tasks)}, not {stats.task}")
    return method.parts(stats)


def base_method(key: str, text: str, *, sampler: bool = True) -> Method:
    """A method whose parts a difficulty can be added to: its loss, head, stages and finish come along.

    Args:
        key: The hyperparameter that names it.
        text: What it says, as in `named_method`.
        sampler: Whether it may have a sampler.

    Raises:
        LongtailError: it has a difficulty, a training step, stages with such parts, or (if not ``sampler``) a sampler.
    """
    method = named_method(key, text)
    parts = method.parts(ClassStats(class_counts=[1, 1], task=method.tasks[0], bare=True))
    owned = None
    if parts.difficulty is not None:
        owned = "a difficulty"
    elif getattr(parts, "step", None) is not None:
        owned = "a training step"
    elif any(set(stage.parts) - {"criterion"} for stage in parts.stages):
        owned = "stages with more than a loss"
    elif parts.sampler is not None and not sampler:
        owned = "a sampler"
    if owned is not None:
        raise LongtailError(f"{key} is {text!r}: it has {owned} of its own; choose e.g. balanced-softmax or ldam-drw")
    return method
