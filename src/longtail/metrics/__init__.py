"""Metrics of long-tailed recognition."""

from longtail.metrics.classification import Classification
from longtail.metrics.detection import detection_ap, frequency_group
from longtail.metrics.shot import ShotAccuracy, head_and_tail, shot_accuracy, shot_groups

__all__ = [
    "Classification",
    "ShotAccuracy",
    "detection_ap",
    "frequency_group",
    "head_and_tail",
    "shot_accuracy",
    "shot_groups",
]
