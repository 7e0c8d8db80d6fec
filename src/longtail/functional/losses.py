"""Per-sample losses: nothing is weighted or averaged here."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.checks import check_range, class_indices, full_precision
from longtail.functional.targets import cross_entropy, expected, is_soft, truth

__all__ = ["focal_loss", "hinge_loss", "mse_loss", "sigmoid_focal_loss"]


def focal_loss(logits: Tensor, target: Tensor, *, gamma: float = 1.0) -> Tensor:
    """Focal loss, softmax form (Eq. 13): ``-(1 - p) ** gamma * log(p)`` with p the probability of the true class.

    The modulator ``(1 - p) ** gamma`` takes part in the gradient. gamma = 0 is cross-entropy.

    Args:
        logits: ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``, or soft targets of the shape of ``logits``.
        gamma: Focusing parameter >= 0.

    Returns:
        Losses ``[N]`` or ``[N, d1, ...]``; half precision is computed and returned in float32.

    Raises:
        LongtailError: negative gamma.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """
    if is_soft(target, logits):
        return expected(_modulated(-full_precision(logits).log_softmax(1), gamma), target)
    return _modulated(cross_entropy(logits, target), gamma)


def sigmoid_focal_loss(logits: Tensor, target: Tensor, *, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Focal loss, sigmoid form: one binary problem per class, summed over the classes (as in detectors).

    Args:
        logits: ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``, the one positive class; or soft targets of the shape of
            ``logits``: the truth t of each binary problem, whose ``p_t`` is ``t p + (1 - t) (1 - p)``.
        gamma: Focusing parameter >= 0.
        alpha: Weight of the positive term, ``1 - alpha`` of the negative ones; in [0, 1]. None: no weighting.

    Returns:
        Losses ``[N]`` or ``[N, d1, ...]``, float32 (float64 for float64 logits).

    Raises:
        LongtailError: a hyperparameter outside its range.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """
    logits = full_precision(logits)
    true = truth(logits, target)
    loss = F.binary_cross_entropy_with_logits(logits, true, reduction="none")
    if is_soft(target, logits):
        check_range(gamma, "gamma", 0, math.inf, open_high=True)
        p = logits.sigmoid()
        miss = (true * (1 - p) + (1 - true) * p).clamp(min=torch.finfo(p.dtype).tiny)
        loss = miss**gamma * loss
    else:
        loss = _modulated(loss, gamma)
    if alpha is not None:
        check_range(alpha, "alpha", 0, 1)
        loss = loss * (alpha * true + (1 - alpha) * (1 - true))
    return loss.sum(1)


def mse_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Squared error of the softmax probabilities against the true ones, summed over classes (the Brier score).

    Args:
        logits: ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``, or soft targets of the shape of ``logits``.

    Returns:
        Losses in [0, 2] ``[N]`` or ``[N, d1, ...]``, float32 (float64 for float64 logits).
    """
    logits = full_precision(logits)
    return (logits.softmax(1) - truth(logits, target)).square().sum(1)


def hinge_loss(logits: Tensor, target: Tensor, *, margin: float = 1.0) -> Tensor:
    """Multi-class hinge loss ``sum over j != y of max(0, margin - z_y + z_j) / C`` (torch's ``multi_margin_loss``).

    Args:
        logits: ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``, or soft targets of the shape of ``logits``.
        margin: Wanted lead of the true class. NaN among the logits makes the loss NaN (torch's is then too small).

    Returns:
        Losses ``[N]`` or ``[N, d1, ...]``, float32 (float64 for float64 logits).
    """
    logits = full_precision(logits)
    classes = logits.shape[1]
    if is_soft(target, logits):
        return expected(_hinge_of_each_class(logits, margin), target)
    own = logits.gather(1, class_indices(target).unsqueeze(1))
    lead = (margin - own + logits).clamp(min=0)
    return lead.masked_fill(truth(logits, target) > 0, 0).sum(1) / classes


def _hinge_of_each_class(logits: Tensor, margin: float) -> Tensor:
    """The hinge loss with each class as the true one, ``[N, C, ...]``, from sorted logits: no ``[N, C, C]`` is made."""
    rows = logits.movedim(1, -1).contiguous()
    classes = rows.shape[-1]
    ordered = rows.sort(-1).values
    below = F.pad(ordered.cumsum(-1), (1, 0))
    first = torch.searchsorted(ordered.detach(), (rows - margin).detach(), right=True)  # from here on, others are close
    close = below[..., -1:] - below.gather(-1, first)
    losses = close + (classes - first) * (margin - rows) - max(margin, 0.0)  # less the class itself
    return (losses.clamp(min=0) / classes).movedim(-1, 1)


def _modulated(cross_entropy: Tensor, gamma: float) -> Tensor:
    """``(1 - p) ** gamma * cross_entropy`` where ``cross_entropy = -log p``."""
    check_range(gamma, "gamma", 0, math.inf, open_high=True)
    # The clamp keeps the gradient finite at p = 1, where (1 - p) ** gamma has an infinite slope for gamma < 1.
    miss = (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(cross_entropy.dtype).tiny)
    return miss**gamma * cross_entropy
