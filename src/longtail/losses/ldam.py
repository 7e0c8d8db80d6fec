"""LDAM loss as a module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from longtail.checks import check_range
from longtail.functional.margins import ldam_loss, ldam_margins
from longtail.losses.weighted import ClassWeightedLoss

__all__ = ["LDAMLoss"]


class _PerSample(nn.Module):
    margins: Tensor

    def __init__(self, margins: Tensor, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("margins", margins, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return ldam_loss(logits, target, self.margins, scale=self.scale)


class LDAMLoss(ClassWeightedLoss):
    """Label-distribution-aware margin loss, for logits that are cosines times ``scale``.

    Args:
        class_counts: Training samples of each class, ``[C]``.
        max_margin: Margin of the rarest class, >= 0, in units of the cosine.
        scale: What the classifier multiplies its cosines with, above 0.
        weight: Class weights, or their source, as in `ClassWeightedLoss`.
        **options: ``reduction`` and ``ignore_index`` of `ClassWeightedLoss`.
    """

    takes_logits = True

    def __init__(
        self,
        class_counts: Tensor | Sequence[int],
        *,
        max_margin: float = 0.5,
        scale: float = 30.0,
        weight: Any = None,
        **options: Any,
    ) -> None:
        check_range(scale, "scale", 0, math.inf, open_low=True, open_high=True)
        super().__init__(weight, base=_PerSample(ldam_margins(class_counts, max_margin=max_margin), scale), **options)
