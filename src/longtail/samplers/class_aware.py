"""Class-aware sampling: the classes take turns, and each class runs through its samples, without replacement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from longtail.samplers.base import ClassIndex, EpochSampler, whole_number

__all__ = ["ClassAwareSampler"]


class ClassAwareSampler(EpochSampler):
    """Runs through shuffled classes, again and again; each class runs through its own shuffled samples likewise.

    A cycle visits every class once and takes ``samples_per_class`` of its samples in a row; the next cycle visits them
    in a new order. A class hands out each of its samples once before any comes again, in a new order. So the classes
    are balanced exactly, not only in expectation, and small classes do not repeat by chance. Classes without samples
    are left out. Memory: 4 bytes a sample plus about 12 bytes an index of the epoch.

    References: L. Shen, Z. Lin and Q. Huang, Relay backpropagation for effective learning of deep convolutional neural
    networks, ECCV 2016; B. Kang et al., Decoupling representation and classifier for long-tailed recognition, ICLR
    2020, whose class-balanced sampling this is.

    Args:
        labels: Class index of every sample, ``[N]``: tensor, array or list. Or a list of the classes of every sample,
            which then is one of the samples of each of them.
        num_samples: Indices in an epoch over all ranks; default N. The last cycle may end early.
        seed, num_replicas, rank: See `EpochSampler`.
        samples_per_class: Samples of a class in a row; Kang et al. take 4.

    Raises:
        LongtailError: labels or numbers out of range.
    """

    def __init__(
        self,
        labels: Tensor | Sequence[int] | Sequence[Sequence[int]],
        *,
        num_samples: int | None = None,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        samples_per_class: int = 1,
    ) -> None:
        super().__init__(seed=seed, num_replicas=num_replicas, rank=rank)
        self.index = ClassIndex(labels)
        self.num_samples = len(self.index) if num_samples is None else whole_number("num_samples", num_samples, least=1)
        self.samples_per_class = whole_number("samples_per_class", samples_per_class, least=1)

    def _order_length(self) -> int:
        return self.num_samples

    def _order(self, generator: torch.Generator) -> Iterator[Tensor]:
        members = [m for m in self.index.order.split(self.index.count.tolist()) if len(m)]
        turns = -(-self.num_samples // (len(members) * self.samples_per_class))
        each = turns * self.samples_per_class  # indices that a class hands out in this epoch
        handed_out = torch.stack([_repeated_shuffles(m, each, generator) for m in members])
        handed_out = handed_out.view(len(members), turns, self.samples_per_class)
        classes = torch.rand(turns, len(members), generator=generator).argsort(1)
        order = handed_out[classes, torch.arange(turns).unsqueeze(1)]  # [turns, classes, samples_per_class]
        yield order.flatten()[: self.num_samples]


def _repeated_shuffles(values: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """``values`` shuffled, then shuffled anew, and so on, cut to ``length``."""
    rounds = -(-length // len(values))
    return values[torch.rand(rounds, len(values), generator=generator).argsort(1)].flatten()[:length]
