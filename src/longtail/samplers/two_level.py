"""Two-level sampling: first a class by its probability, then one of its samples uniformly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from longtail.samplers.base import ClassIndex, EpochSampler, whole_number

__all__ = ["TwoLevelSampler", "alias_table"]

_CHUNK = 2**14  # indices drawn at a time: small enough for the cache and for one thread


class TwoLevelSampler(EpochSampler):
    """Base of the samplers that are described by class probabilities alone; they draw with replacement.

    A sample of class c is drawn with probability ``p_c / n_c``. The probabilities are asked for whenever an iteration
    starts. Memory: 4 bytes a sample for the samples of each class (8 from 2^31 samples on), plus one chunk of 16384
    indices. There is no limit at 2^24 samples, and an index takes constant time, whatever the numbers of samples and
    classes.

    Args:
        labels: Class index of every sample, ``[N]``: tensor, array or list. Or a list of the classes of every sample,
            which is then drawn by any of them; one without a class is not drawn.
        num_classes: Labels must be below it; None: one more than the largest label.
        num_samples: Indices in an epoch over all ranks; None: N.
        seed, num_replicas, rank: See `EpochSampler`.

    Raises:
        LongtailError: labels or numbers out of range.
    """

    def __init__(
        self,
        labels: Tensor | Sequence[int] | Sequence[Sequence[int]],
        *,
        num_classes: int | None = None,
        num_samples: int | None,
        seed: int,
        num_replicas: int,
        rank: int,
    ) -> None:
        super().__init__(seed=seed, num_replicas=num_replicas, rank=rank)
        self.index = ClassIndex(labels, num_classes=num_classes)
        self.num_samples = len(self.index) if num_samples is None else whole_number("num_samples", num_samples, least=1)

    def probabilities(self) -> Tensor:
        """The probability of each class in this epoch, float64 ``[C]``: sums to 1, 0 for a class without samples."""
        raise TypeError(f"{type(self).__name__} defines no probabilities")

    def _order_length(self) -> int:
        return self.num_samples

    def _order(self, generator: torch.Generator) -> Iterator[Tensor]:
        return self._draw(self.probabilities(), generator)  # reads the probabilities now, not with the first index

    def _draw(self, probabilities: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        drawable = probabilities.nonzero().squeeze(1)
        keep, other = alias_table(probabilities[drawable])
        start, count = self.index.start[drawable], self.index.count[drawable]
        for first in range(0, self.num_samples, _CHUNK):
            u, v = torch.rand(2, min(_CHUNK, self.num_samples - first), dtype=torch.float64, generator=generator)
            u *= len(drawable)
            cell = u.long()
            chosen = torch.where(u - cell < keep.index_select(0, cell), cell, other.index_select(0, cell))
            within = (v * count.index_select(0, chosen)).long()
            yield self.index.order.index_select(0, start.index_select(0, chosen) + within)


def alias_table(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Split probabilities into equal cells of at most two classes each (A. J. Walker, 1977; M. D. Vose, 1991).

    Args:
        probabilities: ``[K]``, > 0, sum 1.

    Returns:
        The share of cell k that belongs to class k, float64 ``[K]``; the class that the rest belongs to, int64 ``[K]``.
    """
    share = (probabilities * len(probabilities)).tolist()
    other = list(range(len(share)))
    small = [k for k, s in enumerate(share) if s < 1]
    large = [k for k, s in enumerate(share) if s >= 1]
    while small and large:
        k, donor = small.pop(), large[-1]
        other[k] = donor
        share[donor] -= 1 - share[k]
        if share[donor] < 1:
            small.append(large.pop())
    return torch.tensor(share, dtype=torch.float64), torch.tensor(other)
