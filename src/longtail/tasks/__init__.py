"""What a batch is, what its loss is and how a model is judged: one task a file, under the contract in ``base``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtail.tasks.base import Evaluation, Predictions, Task, put_in
    from longtail.tasks.check import check_task
    from longtail.tasks.find import task_class

__all__ = ["Evaluation", "Predictions", "Task", "check_task", "put_in", "task_class"]
_HOMES = {"check_task": "check", "task_class": "find"}


def __getattr__(name: str) -> Any:
    if name in __all__:  # loaded when asked for: most of the command line needs no torch
        return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'base')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
