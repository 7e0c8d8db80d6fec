"""Per-sample losses: nothing is weighted or averaged here."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.checks import check_range, full_precision

__all__ = ["focal_loss", "hinge_loss", "mse_loss", "sigmoid_focal_loss"]


def focal_loss(logits: Tensor, target: Tensor, *, gamma: float = 1.0) -> Tensor:
    """Focal loss, softmax form (Eq. 13): ``-(1 - p) ** gamma * log(p)`` with p the probability of the true class.

    The modulator ``(1 - p) ** gamma`` takes part in the gradient. gamma = 0 is cross-entropy.

    Args:
        logits: ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``.
        gamma: Focusing parameter >= 0.

    Returns:
        Losses of the shape of ``target``; half precision is computed and returned in float32.

    Raises:
        LongtailError: negative gamma.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """
    return _modulated(F.cross_entropy(full_precision(logits), target, reduction="none"), gamma)


def sigmoid_focal_loss(logits: Tensor, target: Tensor, *, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Focal loss, sigmoid form: one binary problem a class, summed over the classes (as in detectors).

    Args:
        logits: ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``; the true class is the one positive.
        gamma: Focusing parameter >= 0.
        alpha: Weight of the positive term, ``1 - alpha`` of the negative ones; in [0, 1]. None: no weighting.

    Returns:
        Losses of the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        LongtailError: a hyperparameter outside its range.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """
    logits = full_precision(logits)
    truth = _one_hot(logits, target)
    loss = _modulated(F.binary_cross_entropy_with_logits(logits, truth, reduction="none"), gamma)
    if alpha is not None:
        check_range(alpha, "alpha", 0, 1)
        loss = loss * (alpha * truth + (1 - alpha) * (1 - truth))
    return loss.sum(1)


def mse_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Squared error of the softmax probabilities against the one-hot truth, summed over classes (the Brier score).

    Args:
        logits: ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``.

    Returns:
        Losses in [0, 2] of the shape of ``target``, float32 (float64 for float64 logits).
    """
    logits = full_precision(logits)
    return (logits.softmax(1) - _one_hot(logits, target)).square().sum(1)


def hinge_loss(logits: Tensor, target: Tensor, *, margin: float = 1.0) -> Tensor:
    """Multi-class hinge loss ``sum over j != y of max(0, margin - z_y + z_j) / C`` (torch's ``multi_margin_loss``).

    Args:
        logits: ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``.
        margin: Wanted lead of the true class.

    Returns:
        Losses of the shape of ``target``, float32 (float64 for float64 logits).
    """
    rows = full_precision(logits).movedim(1, -1).reshape(-1, logits.shape[1])
    return F.multi_margin_loss(rows, target.reshape(-1), margin=margin, reduction="none").reshape(target.shape)


def _modulated(cross_entropy: Tensor, gamma: float) -> Tensor:
    """``(1 - p) ** gamma * cross_entropy`` where ``cross_entropy = -log p``."""
    check_range(gamma, "gamma", 0, math.inf, open_high=True)
    # The clamp keeps the gradient finite at p = 1, where (1 - p) ** gamma has an infinite slope for gamma < 1.
    miss = (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(cross_entropy.dtype).tiny)
    return miss**gamma * cross_entropy


def _one_hot(logits: Tensor, target: Tensor) -> Tensor:
    return torch.zeros_like(logits).scatter_(1, target.unsqueeze(1), 1)
