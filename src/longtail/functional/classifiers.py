"""Classifiers that are computed from a trained one, or from features, instead of trained."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from longtail.checks import check_labels, check_range, class_indices, full_precision

__all__ = ["class_means", "tau_normalized"]


def tau_normalized(weight: Tensor, *, tau: float) -> Tensor:
    """``W_c / ||W_c|| ** tau``: tau = 0 changes nothing, 1 makes all rows equally long.

    Args:
        weight: ``[C, D]``.
        tau: At least 0.

    Returns:
        ``[C, D]``; a row of zeros stays one.

    Raises:
        LongtailError: negative tau.

    Reference:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020.
    """
    check_range(tau, "tau", 0, math.inf, open_high=True)
    length = weight.norm(dim=1, keepdim=True)
    return weight / torch.where(length > 0, length, 1) ** tau


def class_means(features: Tensor, target: Tensor, *, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mean feature of each class.

    Args:
        features: ``[N, D]``.
        target: Class indices ``[N]``.
        num_classes: Number of classes.

    Returns:
        Means ``[C, D]``, zeros for a class without samples, and int64 counts ``[C]``. Half precision is summed and
        returned in float32.

    Raises:
        LongtailError: a target outside [0, C).
    """
    target = class_indices(target)
    check_labels(target, num_classes)
    features = full_precision(features)
    count = torch.bincount(target, minlength=num_classes)
    total = features.new_zeros(num_classes, features.shape[1]).index_add_(0, target, features)
    return total / count.clamp(min=1).unsqueeze(1), count
