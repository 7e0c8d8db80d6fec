"""From the losses of the samples to one number."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Reduction", "reduced"]

Reduction = Literal["mean", "weighted_mean", "sum", "none"]


def reduced(loss: Tensor, weight: Tensor, counts: Tensor, reduction: Reduction) -> Tensor:
    """Weighted losses, reduced.

    Args:
        loss: One loss or more a sample, ``[N, ...]`` and more dimensions.
        weight: Of each sample, ``[N, ...]``; 0 where it does not count.
        counts: Which samples count, bool ``[N, ...]``; the losses of the others may be anything.
        reduction: See `ClassWeightedLoss`.
    """
    terms = loss.shape[counts.ndim :]  # of each sample
    weight = weight.reshape(weight.shape + (1,) * len(terms))
    weighted = torch.where(counts.reshape(weight.shape), weight * loss, 0)
    match reduction:
        case "none":
            return weighted
        case "sum":
            return weighted.sum()
        case "mean":
            return weighted.sum() / (counts.sum() * math.prod(terms)).clamp(min=1)
        case "weighted_mean":
            return weighted.sum() / weight.expand_as(loss).sum().clamp(min=torch.finfo(loss.dtype).tiny)
