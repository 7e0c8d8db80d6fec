"""Loss modules: thin shells over `longtail.functional`."""

from longtail.losses.background import with_background
from longtail.losses.balanced_boxes import BalancedBoxesLoss
from longtail.losses.box_equalization import BoxEqualizationLoss
from longtail.losses.box_seesaw import BoxSeesawLoss
from longtail.losses.composed import WeightForm, class_weighted, smooth_labels
from longtail.losses.equalization import EqualizationLoss
from longtail.losses.focal import FocalLoss
from longtail.losses.group_softmax import GroupSoftmaxLoss
from longtail.losses.ldam import LDAMLoss
from longtail.losses.prior import BalancedSoftmaxLoss, CDTLoss, LogitAdjustedLoss, VSLoss
from longtail.losses.seesaw import SeesawLoss
from longtail.losses.weighted import ClassWeightedLoss

__all__ = [
    "BalancedBoxesLoss",
    "BalancedSoftmaxLoss",
    "BoxEqualizationLoss",
    "BoxSeesawLoss",
    "CDTLoss",
    "ClassWeightedLoss",
    "EqualizationLoss",
    "FocalLoss",
    "GroupSoftmaxLoss",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "SeesawLoss",
    "VSLoss",
    "WeightForm",
    "class_weighted",
    "smooth_labels",
    "with_background",
]
