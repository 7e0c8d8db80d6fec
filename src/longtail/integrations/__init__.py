"""Bridges to other frameworks; each needs its framework and nothing else beyond torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtail.integrations.detection import box_predictions, with_box_criterion
    from longtail.integrations.detr import matched_predictions, with_class_weights
    from longtail.integrations.lightning import DifficultyCallback
    from longtail.integrations.sklearn import DifficultyWeightedClassifier
    from longtail.integrations.timm import with_sampler
    from longtail.integrations.transformers import DifficultyTrainer, trainer_loss

__all__ = [
    "DifficultyCallback",
    "DifficultyTrainer",
    "DifficultyWeightedClassifier",
    "box_predictions",
    "matched_predictions",
    "trainer_loss",
    "with_box_criterion",
    "with_class_weights",
    "with_sampler",
]

_HOMES = {
    "DifficultyCallback": "lightning",
    "DifficultyTrainer": "transformers",
    "DifficultyWeightedClassifier": "sklearn",
    "box_predictions": "detection",
    "matched_predictions": "detr",
    "trainer_loss": "transformers",
    "with_box_criterion": "detection",
    "with_class_weights": "detr",
    "with_sampler": "timm",
}
_EXTRAS = {"detr": "transformers"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    try:
        return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(home, home)
        raise ImportError(f"{name} needs {error.name}: pip install 'longtail[{extra}]'") from error
