"""Progressively balanced sampling: from the natural class frequencies to balanced ones in the course of training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from longtail.functional import progressive_probabilities
from longtail.samplers.base import whole_number
from longtail.samplers.two_level import TwoLevelSampler

__all__ = ["ProgressiveSampler"]


class ProgressiveSampler(TwoLevelSampler):
    """Draws class c in epoch t of T with probability ``(1 - t/T) n_c/N + (t/T)/C``; with replacement within it.

    Epoch 0 draws every sample alike; the share of class-balanced drawing grows by 1/T an epoch and stays 1 from epoch T
    on. C counts the classes that have samples.

    Reference: B. Kang et al., Decoupling representation and classifier for long-tailed recognition, ICLR 2020, Eq. 2.

    Args:
        labels: Class index of every sample, ``[N]``: tensor, array or list.
        epochs: T, the length of the training.
        num_samples: Indices in an epoch over all ranks; default N.
        seed, num_replicas, rank: See `EpochSampler`.

    Raises:
        LongtailError: labels or numbers out of range.
    """

    def __init__(
        self,
        labels: Tensor | Sequence[int],
        *,
        epochs: int,
        num_samples: int | None = None,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(labels, num_samples=num_samples, seed=seed, num_replicas=num_replicas, rank=rank)
        self.epochs = whole_number("epochs", epochs, least=1)

    def probabilities(self) -> Tensor:
        return progressive_probabilities(self.index.count, epoch=self.epoch, epochs=self.epochs)
