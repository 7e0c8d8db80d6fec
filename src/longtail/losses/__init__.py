"""Loss modules: thin shells over `longtail.functional`."""

from longtail.losses.focal import FocalLoss
from longtail.losses.weighted import ClassWeightedLoss

__all__ = ["ClassWeightedLoss", "FocalLoss"]
