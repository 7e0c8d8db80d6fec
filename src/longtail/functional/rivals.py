"""Per-sample losses that decide how much each wrong class counts against the true one: equalisation and seesaw."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from longtail.checks import check_range, class_indices, full_precision
from longtail.functional.logits import by_class
from longtail.functional.targets import cross_entropy, expected, is_soft, truth

__all__ = ["seesaw_loss", "sigmoid_equalization_loss", "softmax_equalization_loss"]


def softmax_equalization_loss(logits: Tensor, target: Tensor, ignored: Tensor) -> Tensor:
    """Softmax equalisation loss: ``log(sum_k w_k exp(z_k)) - z_y`` with ``w_k = 0`` for the ignored wrong classes.

    The true class is never ignored, nor is any with a share in a soft target; with nothing ignored it is cross-entropy.

    Args:
        logits: ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``, or soft targets of the shape of ``logits``.
        ignored: bool of the shape of ``logits``, or one that broadcasts to it.

    Returns:
        Losses ``[N]`` or ``[N, d1, ...]``; half precision is computed and returned in float32.

    Reference:
        Tan et al., Equalization Loss for Long-Tailed Object Recognition, CVPR 2020.
    """
    logits = full_precision(logits)
    own = truth(logits, target)
    kept = logits.masked_fill(ignored & (own == 0), -math.inf)
    if not is_soft(target, logits):
        return cross_entropy(kept, target)
    return expected(-kept.log_softmax(1), own)


def sigmoid_equalization_loss(logits: Tensor, target: Tensor, ignored: Tensor) -> Tensor:
    """Equalisation loss, sigmoid form: binary cross-entropy summed over the classes that are not ignored.

    Arguments and result as in `softmax_equalization_loss`.
    """
    logits = full_precision(logits)
    own = truth(logits, target)
    loss = F.binary_cross_entropy_with_logits(logits, own, reduction="none")
    return loss.masked_fill(ignored & (own == 0), 0).sum(1)


def seesaw_loss(
    logits: Tensor, target: Tensor, counts: Tensor, *, p: float = 0.8, q: float = 2.0, eps: float = 0.01
) -> Tensor:
    """Seesaw loss: cross-entropy of ``z_j + log S_yj``, where ``S_yj = M_yj * F_yj`` for the wrong classes j.

    Mitigation ``M_yj = min(1, (N_j / N_y) ** p)`` spares the classes that are rarer than the true one; compensation
    ``F_yj = max(1, (s_j / s_y) ** q)``, with the softmax probabilities s taken as constants, punishes those that the
    sample is mistaken for. p = q = 0 is cross-entropy.

    Args:
        logits: ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``.
        counts: N, samples of each class (so far), ``[C]`` >= 0; fewer than 1 count as 1.
        p: Exponent of the mitigation, >= 0.
        q: Exponent of the compensation, >= 0.
        eps: Smallest ``s_y`` in the compensation, above 0.

    Returns:
        Losses ``[N]`` or ``[N, d1, ...]``; half precision is computed and returned in float32.

    Raises:
        LongtailError: a hyperparameter outside its range, or not one count per class.

    Reference:
        Wang et al., Seesaw Loss for Long-Tailed Instance Segmentation, CVPR 2021.
    """
    check_range(p, "p", 0, math.inf, open_high=True)
    check_range(q, "q", 0, math.inf, open_high=True)
    check_range(eps, "eps", 0, 1, open_low=True)
    logits, target = full_precision(logits), class_indices(target)
    log_count = by_class(counts.clamp(min=1).to(logits.dtype).log(), logits)
    own_count = log_count.expand_as(logits).gather(1, target.unsqueeze(1))
    mitigation = p * (log_count - own_count).clamp(max=0)
    log_probability = logits.detach().log_softmax(1)
    own_probability = log_probability.gather(1, target.unsqueeze(1)).clamp(min=math.log(eps))
    compensation = q * (log_probability - own_probability).clamp(min=0)
    factor = (mitigation + compensation).masked_fill(truth(logits, target) > 0, 0)
    return F.cross_entropy(logits + factor, target, reduction="none")
