"""Label-distribution-aware margins."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from longtail.checks import check_range, full_precision
from longtail.functional.logits import by_class, filled_counts
from longtail.functional.targets import cross_entropy, expected, is_soft, truth

__all__ = ["ldam_loss", "ldam_margins"]


def ldam_margins(class_counts: Tensor | Sequence[int], *, max_margin: float = 0.5) -> Tensor:
    """Margins in proportion to ``n ** (-1/4)``, of which the largest is ``max_margin``.

    Args:
        class_counts: Training samples of each class, ``[C]``; a class without samples has the largest margin.
        max_margin: At least 0.

    Returns:
        Margins ``[C]`` in the default dtype.

    Raises:
        LongtailError: negative counts or margin.
    """
    check_range(max_margin, "max_margin", 0, math.inf, open_high=True)
    counts = filled_counts(class_counts)
    return (max_margin * (counts.min() / counts) ** 0.25).to(torch.get_default_dtype())


def ldam_loss(logits: Tensor, target: Tensor, margins: Tensor, *, scale: float = 30.0) -> Tensor:
    """LDAM: cross-entropy of ``scale * (cos_c - margin_y [c = y])``, given ``logits = scale * cos``.

    The margin is one of cosines: it counts before the scale. Margins of 0 give cross-entropy of the scaled cosines.

    Args:
        logits: Scaled cosines, ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``, or soft targets of the shape of ``logits``.
        margins: ``[C]``.
        scale: What the cosines were multiplied with, above 0.

    Returns:
        Losses ``[N]`` or ``[N, d1, ...]``; half precision is computed and returned in float32.

    Raises:
        LongtailError: a scale outside its range, or not one margin a class.

    Reference:
        Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019.
    """
    check_range(scale, "scale", 0, math.inf, open_low=True, open_high=True)
    logits = full_precision(logits)
    margin = (scale * by_class(margins, logits)).expand_as(logits)
    if not is_soft(target, logits):
        return cross_entropy(logits - margin * truth(logits, target), target)
    # With class c as the true one, only exp(z_c) of the sum of exponentials changes: by the factor exp(-margin_c).
    log_p = logits.log_softmax(1)
    return expected(torch.log1p(log_p.exp() * torch.expm1(-margin)) - log_p + margin, target)
