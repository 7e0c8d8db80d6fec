"""The methods in groups by what they need, and what each can be used for."""

from __future__ import annotations

from longtail.methods.base import ClassStats, Method, get_method, list_methods

__all__ = ["TASKS", "groups", "listing"]

TASKS = {"images": "classify", "clips": "video", "boxes": "detect", "masks": "segment"}
"""The names of ``--task`` in the words of a table's head."""

_NEEDS = (
    "Class counts: a loss",
    "Class counts: a sampler",
    "Stages, or a step after training",
    "A held-out split",
    "Batches of a held-out split in each step",
    "Boxes",
    "A trained model (--weights)",
)


def groups() -> dict[str, list[Method]]:
    """All methods with their defaults under what they need, each once and under what is asked most of it."""
    found: dict[str, list[Method]] = {need: [] for need in _NEEDS}
    for name in list_methods():
        method = get_method(name)
        found[_need(method)].append(method)
    return {need: methods for need, methods in found.items() if methods}


def _need(method: Method) -> str:
    counts, sampler, stages, held_out, batches, boxes, trained = _NEEDS
    if method.needs_weights:
        return trained
    if "classify" not in method.tasks:
        return boxes
    parts = method.parts(ClassStats(class_counts=[2, 1], bare=True))
    if getattr(parts.step, "meta_batch", None):
        return batches
    if method.needs_held_out:
        return held_out
    if parts.stages or parts.finish is not None or parts.step is not None:
        return stages
    return counts if parts.sampler is None else sampler


def listing() -> list[str]:
    """Lines for a terminal: the groups, and a mark below each kind of data that a method can be used for."""
    found = groups()
    titles = max(len(method.title) for methods in found.values() for method in methods)
    lines = []
    for need, methods in found.items():
        head = f"{need}:".ljust(titles + 21) + "  ".join(TASKS)
        lines += ["", head if not lines else f"{need}:"]
        for method in methods:
            marks = "  ".join(("x" if task in method.tasks else "-").center(len(head)) for head, task in TASKS.items())
            lines.append(f"  {method.name:<16}  {method.title:<{titles}} {marks}".rstrip())
    return lines[1:]
