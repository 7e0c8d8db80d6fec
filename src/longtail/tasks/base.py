"""The kinds of task, and what each of them understands."""

from __future__ import annotations

from typing import ClassVar, Protocol

__all__ = ["Task", "task_class"]


class Task(Protocol):
    """What is asked of the class of a task, before there is one."""

    kinds: ClassVar[tuple[str, ...]]
    """The names in ``--task`` that it serves."""
    options: ClassVar[frozenset[str]]
    """The fields of ``DataOptions`` that mean something to it; any other is refused where it is set."""


def task_class(kind: str) -> type[Task]:
    """The class that serves ``--task KIND``."""
    if kind in ("detect", "segment"):
        from longtail.tasks.detection import DetectionTask  # loads torchvision's detectors

        return DetectionTask
    from longtail.tasks.image import ImageTask

    return ImageTask
