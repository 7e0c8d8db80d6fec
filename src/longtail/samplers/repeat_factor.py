"""Repeat-factor sampling (RFS): images that hold a rare class come several times an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from longtail.checks import by_place
from longtail.errors import LongtailError
from longtail.samplers.base import EpochSampler

__all__ = ["RepeatFactorSampler", "repeat_factors"]


def repeat_factors(labels_per_image: Sequence[Iterable[int]], *, threshold: float = 1e-3) -> Tensor:
    """How often each image should come in an epoch.

    With f_c the fraction of images that hold class c and t the threshold, the class asks for
    ``r_c = max(1, sqrt(t / f_c))`` and the image gets the largest ``r_c`` of its classes, 1 if it is empty.

    Reference: A. Gupta, P. Dollar and R. Girshick, LVIS: a dataset for large vocabulary instance segmentation,
    CVPR 2019, appendix B.

    Args:
        labels_per_image: The class indices in each of N images; a class may be named several times, order is free.
        threshold: t >= 0: classes in at least this fraction of images are not repeated; 0 repeats nothing.

    Returns:
        float64 ``[N]``, >= 1.

    Raises:
        LongtailError: no images, something else than class indices, or a negative or infinite threshold.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise LongtailError(f"threshold must be a finite number >= 0, not {threshold!r}")
    labels_per_image = by_place(labels_per_image, "labels_per_image")
    images: list[int] = []
    classes: list[int] = []
    for image, labels in enumerate(labels_per_image):
        try:
            found = {int(c) for c in labels}
        except (TypeError, ValueError) as error:
            raise LongtailError(f"image {image} needs a list of class indices, not {labels!r}: {error}") from None
        images += [image] * len(found)
        classes += found
    if not len(labels_per_image):
        raise LongtailError("labels_per_image is empty: a sampler needs at least one image")
    if classes and min(classes) < 0:
        raise LongtailError(f"label {min(classes)} is out of range: class indices start at 0")
    factors = torch.ones(len(labels_per_image), dtype=torch.float64)
    if not classes:
        return factors
    label = torch.tensor(classes).unique(return_inverse=True)[1]
    fraction = torch.bincount(label).double() / len(factors)
    factor = (threshold / fraction).sqrt().clamp(min=1)
    return factors.scatter_reduce(0, torch.tensor(images), factor[label], "amax")


class RepeatFactorSampler(EpochSampler):
    """Yields every image about as often as its repeat factor says, shuffled.

    An image with factor 2.3 comes twice, and with probability 0.3 a third time, drawn anew every epoch with the seed
    that all ranks share. So ``len()`` differs a little between epochs (call ``set_epoch`` before asking) and is the sum
    of the factors in expectation.

    Args:
        labels_per_image: The class indices in each of N images, e.g. ``[[0, 3, 3], [], [7]]``.
        threshold: See `repeat_factors`.
        seed: Seed of the draws; the same on every rank.
        num_replicas: Number of processes that share the order; see `EpochSampler`.
        rank: This process, in ``[0, num_replicas)``.

    Raises:
        LongtailError: see `repeat_factors`; a number out of range.
    """

    def __init__(
        self,
        labels_per_image: Sequence[Iterable[int]],
        *,
        threshold: float = 1e-3,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(seed=seed, num_replicas=num_replicas, rank=rank)
        self.factors = repeat_factors(labels_per_image, threshold=threshold)

    def _repeats(self, generator: torch.Generator) -> Tensor:
        """How often each image comes in this epoch, int64 ``[N]``."""
        whole = self.factors.floor()
        extra = torch.rand(len(self.factors), dtype=torch.float64, generator=generator) < self.factors - whole
        return whole.long() + extra

    def _order_length(self) -> int:
        return int(self._repeats(self._generator()).sum())

    def _order(self, generator: torch.Generator) -> Iterator[Tensor]:
        order = torch.arange(len(self.factors)).repeat_interleave(self._repeats(generator))
        yield order[torch.randperm(len(order), generator=generator)]
