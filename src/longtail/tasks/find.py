"""From ``--task`` to the class that serves it."""

from __future__ import annotations

import importlib
import os
import sys

from longtail.config import RunConfig
from longtail.errors import LongtailError
from longtail.tasks.base import Task

__all__ = ["task_class", "task_of"]


def task_of(config: RunConfig) -> type[Task]:
    """The class that trains a run and rebuilds its model, which depends on what of the network is trained.

    Raises:
        LongtailError: there is none.
    """
    if ":" in config.task or config.tune not in ("head", "adapter"):
        return task_class(config.task)
    if config.tune == "head":
        from longtail.tasks.head import HeadTask

        return HeadTask
    if config.task not in ("classify", "video"):
        return task_class(config.task)
    from longtail.tasks.adapter import AdapterTask

    return AdapterTask


def task_class(kind: str) -> type[Task]:
    """The class that serves ``--task KIND``; ``MODULE:CLASS`` is a task of one's own.

    Raises:
        LongtailError: there is none.
    """
    if ":" in kind:
        return _own_class(kind)
    if kind in ("detect", "segment"):
        from longtail.tasks.detection import DetectionTask  # loads torchvision's detectors

        return DetectionTask
    if kind == "vectors":
        from longtail.tasks.embeddings import EmbeddingTask

        return EmbeddingTask
    from longtail.tasks.image import ImageTask

    if kind not in ImageTask.kinds:
        raise LongtailError(
            f"--task {kind} is unknown: choose classify, video, vectors, detect, segment, or MODULE:CLASS"
        )
    return ImageTask


def _own_class(kind: str) -> type[Task]:
    module, _, name = kind.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # as ``python -m longtail`` has it
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise LongtailError(f"--task {kind}: {module} cannot be imported ({error})") from None
    cls = getattr(found, name, None)
    if not (isinstance(cls, type) and issubclass(cls, Task)):
        raise LongtailError(f"--task {kind}: {name} of {module} is no class that derives from longtail.tasks.Task")
    return cls
