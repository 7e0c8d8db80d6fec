"""Targets of a loss: class indices of any integer type, or soft ones, a probability of each class.

Soft targets have the shape of the logits, as mixup, cutmix and distillation make them. The loss of a soft target t is
that of its classes, ``sum_c t_c L(z, c)``, unless a loss says otherwise; one class with probability 1 is its index.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.checks import class_indices, full_precision

__all__ = ["cross_entropy", "expected", "is_soft", "truth"]


def is_soft(target: Tensor, logits: Tensor) -> bool:
    """Whether targets are probabilities, ``[N, C]`` or ``[N, C, d1, ...]``, and not class indices."""
    return target.is_floating_point() and target.ndim >= 2 and target.shape == logits.shape


def truth(logits: Tensor, target: Tensor) -> Tensor:
    """Probability of each class, of the shape of ``logits``: soft targets as they are, indices as 1 and 0."""
    if is_soft(target, logits):
        return target.to(logits.dtype)
    return torch.zeros_like(logits).scatter(1, class_indices(target).unsqueeze(1), 1)


def expected(losses: Tensor, target: Tensor) -> Tensor:
    """``sum_c t_c L_c`` of losses ``[N, C, ...]`` with each class as the true one; where t is 0, L may be infinite."""
    return torch.where(target > 0, target.to(losses.dtype) * losses, 0).sum(1)


def cross_entropy(logits: Tensor, target: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each sample, float32 for half precision, for both kinds of targets."""
    logits = full_precision(logits)
    target = target.to(logits.dtype) if is_soft(target, logits) else class_indices(target)
    return F.cross_entropy(logits, target, reduction="none", label_smoothing=label_smoothing)
