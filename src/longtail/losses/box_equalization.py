"""Equalisation loss for boxes: the sigmoid form, as it was made for detectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.checks import check_range, class_indices, counts_as_float64, full_precision
from longtail.functional.targets import truth

__all__ = ["BoxEqualizationLoss"]


class BoxEqualizationLoss(nn.Module):
    """Binary cross-entropies of the foreground classes, without those that only push a rare class down.

    A box of some class leaves out the rare classes other than its own; a background box leaves out none. The losses are
    summed over the classes and averaged over the boxes (Tan et al., CVPR 2020, Eq. 3 to 5). The first of the C + 1
    logits, the background's, takes no part.

    Args:
        image_counts: Training images of each foreground class, ``[C]``.
        images: Number of training images.
        threshold: A class is rare if it is in less than this share of the images; default 1.76e-3 (theirs, on LVIS).
    """

    tail: Tensor

    def __init__(self, image_counts: Tensor | Sequence[int], images: int, *, threshold: float = 1.76e-3) -> None:
        super().__init__()
        check_range(threshold, "threshold", 0, 1)
        tail = counts_as_float64(image_counts) < threshold * images
        self.register_buffer("tail", tail, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits ``[N, C + 1]`` and labels ``[N]``, 0 for the background."""
        tail, labels = self.tail.to(logits.device), class_indices(labels)
        foreground = full_precision(logits)[:, 1:]
        own = truth(full_precision(logits), labels)[:, 1:]
        loss = F.binary_cross_entropy_with_logits(foreground, own, reduction="none")
        ignored = tail & (labels > 0)[:, None] & (own == 0)
        return loss.masked_fill(ignored, 0).sum() / max(labels.shape[0], 1)

    def scores(self, logits: Tensor) -> Tensor:
        """Scores ``[N, C + 1]`` in [0, 1]: sigmoids, and for the background 1 less the largest of them."""
        foreground = full_precision(logits)[:, 1:].sigmoid()
        return torch.cat([1 - foreground.amax(1, keepdim=True), foreground], dim=1)
