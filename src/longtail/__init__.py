"""Train recognisers on long-tailed data by how difficult each class is for the model.

The public names are loaded on first use, so that ``import longtail`` itself is free.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtail import functional
    from longtail.data.counts import long_tail_counts
    from longtail.data.labels import labels_of
    from longtail.difficulty import ClassDifficulty
    from longtail.errors import LongtailError
    from longtail.functional import (
        difficulty_weights,
        dynamic_tau,
        effective_number_weights,
        focal_loss,
        performance_bias,
        power_law_weights,
    )
    from longtail.loop import stages
    from longtail.losses import ClassWeightedLoss, FocalLoss
    from longtail.methods import ClassStats, Method, Parts, Stage, cite, get_method, list_methods
    from longtail.methods.cdb_s import CDBS
    from longtail.methods.cdb_w import CDBW
    from longtail.methods.cdb_w_fl import CDBWFL
    from longtail.metrics import Classification, ShotAccuracy
    from longtail.samplers import (
        ClassAwareSampler,
        ClassWeightedSampler,
        PowerLawSampler,
        ProgressiveSampler,
        RepeatFactorSampler,
    )

__all__ = [
    "CDBS",
    "CDBW",
    "CDBWFL",
    "ClassAwareSampler",
    "ClassDifficulty",
    "ClassStats",
    "ClassWeightedLoss",
    "ClassWeightedSampler",
    "Classification",
    "FocalLoss",
    "LongtailError",
    "Method",
    "Parts",
    "PowerLawSampler",
    "ProgressiveSampler",
    "RepeatFactorSampler",
    "ShotAccuracy",
    "Stage",
    "cite",
    "difficulty_weights",
    "dynamic_tau",
    "effective_number_weights",
    "focal_loss",
    "functional",
    "get_method",
    "labels_of",
    "list_methods",
    "long_tail_counts",
    "performance_bias",
    "power_law_weights",
    "stages",
]

__version__ = "0.1.0"

_HOMES = {
    "CDBS": "methods.cdb_s",
    "CDBW": "methods.cdb_w",
    "CDBWFL": "methods.cdb_w_fl",
    "ClassAwareSampler": "samplers",
    "ClassDifficulty": "difficulty",
    "ClassStats": "methods",
    "ClassWeightedLoss": "losses",
    "ClassWeightedSampler": "samplers",
    "Classification": "metrics",
    "FocalLoss": "losses",
    "LongtailError": "errors",
    "Method": "methods",
    "Parts": "methods",
    "PowerLawSampler": "samplers",
    "ProgressiveSampler": "samplers",
    "RepeatFactorSampler": "samplers",
    "ShotAccuracy": "metrics",
    "Stage": "methods",
    "cite": "methods",
    "difficulty_weights": "functional",
    "dynamic_tau": "functional",
    "effective_number_weights": "functional",
    "focal_loss": "functional",
    "get_method": "methods",
    "labels_of": "data.labels",
    "list_methods": "methods",
    "long_tail_counts": "data.counts",
    "performance_bias": "functional",
    "power_law_weights": "functional",
    "stages": "loop",
    "with_box_criterion": "integrations.detection",  # not in __all__: it loads torchvision
}


def __getattr__(name: str) -> Any:
    if name == "functional":
        return importlib.import_module("longtail.functional")
    if name not in _HOMES:
        raise AttributeError(f"module 'longtail' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"longtail.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
