"""Seesaw loss as a module."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from longtail.checks import check_range, class_indices
from longtail.difficulty import all_reduce_sum
from longtail.errors import LongtailError
from longtail.functional.rivals import seesaw_loss
from longtail.functional.targets import is_soft
from longtail.losses.weighted import ClassWeightedLoss

__all__ = ["SeesawLoss"]


class _PerSample(nn.Module):
    counts: Tensor

    def __init__(self, num_classes: int, p: float, q: float, eps: float) -> None:
        super().__init__()
        self.options = {"p": p, "q": q, "eps": eps}
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.int64))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return seesaw_loss(logits, target, self.counts, **self.options)


class SeesawLoss(ClassWeightedLoss):
    """Seesaw loss; see `longtail.functional.seesaw_loss`.

    It counts the labels that it has seen while in ``train()`` mode, over all processes (each of which must call it
    equally often), the current batch included; the counts are part of its ``state_dict``. Inside ``torch.func``
    (``vmap``, ``grad``), where no buffer can be changed, it reads the counts only: call ``count`` before. It takes no
    soft targets: what a wrong class counts depends on the one true class.

    Args:
        num_classes: Number of classes.
        p: Exponent of the mitigation, >= 0.
        q: Exponent of the compensation, >= 0.
        eps: Smallest probability of the true class in the compensation.
        weight: Class weights, or their source, as in `ClassWeightedLoss`.
        **options: ``reduction`` and ``ignore_index`` of `ClassWeightedLoss`.
    """

    takes_logits = True
    smooths = False

    def __init__(
        self,
        num_classes: int,
        *,
        p: float = 0.8,
        q: float = 2.0,
        eps: float = 0.01,
        weight: Any = None,
        **options: Any,
    ) -> None:
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise LongtailError(f"num_classes is {num_classes!r}: it must be an integer of at least 1")
        check_range(p, "p", 0, math.inf, open_high=True)
        check_range(q, "q", 0, math.inf, open_high=True)
        check_range(eps, "eps", 0, 1, open_low=True)
        super().__init__(weight, base=_PerSample(num_classes, p, q, eps), **options)

    @property
    def counts(self) -> Tensor:
        """Labels of each class seen so far, int64 ``[C]``."""
        return self.get_buffer("loss.counts")

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        if is_soft(target, prediction):
            raise LongtailError(
                "the seesaw loss compares one true class with the others: give class indices "
                "(of mixed images: share * loss(z, y_a) + (1 - share) * loss(z, y_b))"
            )
        if self.training and not _transformed():
            self.count(target)
        return super().forward(prediction, target)

    @torch.no_grad()
    def count(self, target: Tensor) -> None:
        """Count the labels of a batch, as ``forward`` does by itself in ``train()`` mode outside ``torch.func``."""
        label, last = class_indices(target).flatten(), self.counts.shape[0] - 1
        seen = (label != self.ignore_index) & (label >= 0) & (label <= last)  # of others the loss tells
        batch = torch.zeros_like(self.counts).scatter_add(0, label.clamp(0, last), seen.to(self.counts.dtype))
        self.counts.add_(all_reduce_sum(batch))


def _transformed() -> bool:
    """Whether a transform of ``torch.func`` is at work, inside which no buffer can be changed."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore
