"""Metrics of long-tailed recognition."""

from longtail.metrics.classification import Classification
from longtail.metrics.shot import ShotAccuracy, shot_accuracy, shot_groups

__all__ = ["Classification", "ShotAccuracy", "shot_accuracy", "shot_groups"]
