"""Cross-entropy of boxes that are balanced over the classes, and scores of two classifiers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.checks import class_indices, counts_as_float64, full_precision
from longtail.errors import LongtailError
from longtail.functional.targets import cross_entropy

__all__ = ["BalancedBoxesLoss"]


class BalancedBoxesLoss(nn.Module):
    """What is expected of a batch whose images were each drawn for one class (Wang et al., ECCV 2020, section 4.1).

    There a class is drawn uniformly, then one of its images, of which the boxes of this class and as many of the
    background are kept. An image that shows several classes was drawn for class c with a probability proportional to
    ``1 / n_c``, n_c being the number of training images that show c. Here every box has the probability of being kept
    for its weight, instead of being kept or not; the loss is the weighted mean.

    Args:
        image_counts: Training images of each foreground class, ``[C]``.
        instance_counts: Training instances of each, ``[C]``.
        threshold: Classes of fewer instances take the second classifier's scores.
    """

    by_image = True
    """The criterion is told which image each box is of."""
    rarity: Tensor
    tail: Tensor

    def __init__(
        self,
        image_counts: Tensor | Sequence[int],
        instance_counts: Tensor | Sequence[int],
        *,
        threshold: float = 100.0,
    ) -> None:
        super().__init__()
        rarity = 1 / counts_as_float64(image_counts).clamp(min=1)
        tail = counts_as_float64(instance_counts) < threshold
        self.register_buffer("rarity", F.pad(rarity, (1, 0)).float(), persistent=False)
        self.register_buffer("tail", F.pad(tail, (1, 0)), persistent=False)

    def weights(self, labels: Tensor, image: Tensor | None = None) -> Tensor:
        """The probability ``[N]`` that each box is kept, given the labels and the image's number of all of them."""
        labels, rarity = class_indices(labels), self.rarity.to(labels.device)
        image = torch.zeros_like(labels) if image is None else image
        classes, rows = rarity.shape[0], labels.shape[0]  # a row an image; there are no more than boxes
        row = torch.searchsorted(image.sort().values, image.contiguous())
        cell = row * classes + labels
        boxes = torch.zeros_like(labels).new_zeros(rows * classes).scatter_add(0, cell, torch.ones_like(cell))
        boxes = boxes.view(rows, classes)
        kept = (boxes > 0) * rarity
        kept = kept / kept.sum(1, keepdim=True).clamp(min=1e-12)
        foreground = (kept * boxes).sum(1)
        background = (foreground / boxes[:, 0].clamp(min=1)).clamp(max=1)
        return torch.cat([background.unsqueeze(1), kept[:, 1:]], dim=1).flatten()[cell]

    def forward(self, logits: Tensor, labels: Tensor, image: Tensor | None = None) -> Tensor:
        """Loss of a batch; 0 where no box is of a class.

        Args:
            logits: ``[N, C + 1]``, of the second classifier.
            labels: ``[N]``, 0 for the background.
            image: ``[N]``, which image of the batch each box is of; None: all of one.
        """
        weight = self.weights(labels, image)
        loss = cross_entropy(logits, class_indices(labels))
        return (loss * weight).sum() / weight.sum().clamp(min=1e-12)

    def scores(self, logits: Tensor) -> Tensor:
        """Scores ``[N, C + 1]``, background first.

        Args:
            logits: ``[N, C + 1]``, or ``[N, 2 (C + 1)]``: those of two classifiers, of which the second one scores the
                classes of few instances, and the first one all others and the background.
        """
        classes = len(self.tail)
        if logits.ndim != 2 or logits.shape[1] not in (classes, 2 * classes):
            raise LongtailError(
                f"logits have shape {list(logits.shape)}: it takes [N, {classes}], once or twice side by side"
            )
        first, *second = (part.softmax(1) for part in full_precision(logits).split(classes, dim=1))
        return torch.where(self.tail.to(logits.device), second[0], first) if second else first
