"""Loss modules: thin shells over `longtail.functional`."""

from longtail.losses.focal import FocalLoss
from longtail.losses.prior import BalancedSoftmaxLoss, CDTLoss, LogitAdjustedLoss, VSLoss
from longtail.losses.weighted import ClassWeightedLoss

__all__ = ["BalancedSoftmaxLoss", "CDTLoss", "ClassWeightedLoss", "FocalLoss", "LogitAdjustedLoss", "VSLoss"]
