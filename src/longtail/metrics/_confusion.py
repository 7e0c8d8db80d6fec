"""Counting which class was taken for which, also where a matrix of all pairs would take gigabytes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from longtail.difficulty import all_reduce_sum

__all__ = ["DENSE", "Confusion"]

DENSE = 2000
"""Up to so many classes there is a matrix of all pairs (32 MB); above, only the pairs that occurred are kept."""
_MERGE = 1 << 20
"""Predictions that wait before equal pairs are put together."""


class Confusion:
    """Counts of pairs of a true and a predicted class.

    Args:
        num_classes: Number of classes.
        device: Where they are counted.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.num_classes = num_classes
        size = num_classes**2 if num_classes <= DENSE else 0
        self._matrix = torch.zeros(size, dtype=torch.int64, device=device)
        self._pairs = torch.zeros(2, 0, dtype=torch.int64, device=device)  # number of the pair, how often
        self._waiting: list[Tensor] = []

    def to(self, device: torch.device | str) -> Confusion:
        """Move the counts."""
        self._matrix, self._pairs = self._matrix.to(device), self._pairs.to(device)
        self._waiting = [pairs.to(device) for pairs in self._waiting]
        return self

    def update(self, true: Tensor, predicted: Tensor) -> None:
        """Count classes in [0, C), int64 ``[B]`` each."""
        if self._pairs.device != true.device:
            self.to(true.device)
        pair = true * self.num_classes + predicted
        if len(self._matrix):
            self._matrix.index_add_(0, pair, torch.ones_like(pair))
            return
        self._waiting.append(pair)
        if sum(map(len, self._waiting)) > _MERGE:
            self._merge()

    def _merge(self) -> None:
        new = torch.cat(self._waiting) if self._waiting else self._pairs[0, :0]
        once = torch.stack([new, torch.ones_like(new)])
        self._pairs, self._waiting = _added([self._pairs, once]), []

    def total(self) -> Tensor:
        """The sum over all processes, each of which must call this: int64 ``[C, C]`` on the CPU, rows are true classes.

        With more than `DENSE` classes it is a sparse tensor.
        """
        shape = (self.num_classes, self.num_classes)
        if len(self._matrix):
            return all_reduce_sum(self._matrix).cpu().view(shape)
        self._merge()
        pair, count = _of_all(self._pairs).cpu()
        place = torch.stack([pair // self.num_classes, pair % self.num_classes])
        return torch.sparse_coo_tensor(place, count, shape, is_coalesced=True, check_invariants=False)


def _added(parts: list[Tensor]) -> Tensor:
    """Pairs with their counts ``[2, n]``, each pair once and in order."""
    pair, count = torch.cat(parts, dim=1)
    every, place = torch.unique(pair, return_inverse=True)
    return torch.stack([every, torch.zeros_like(every).index_add_(0, place, count)])


def _of_all(pairs: Tensor) -> Tensor:
    """The pairs of all processes; each fills in its own rows of what is then summed."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return pairs
    size, rank = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=pairs.device), dist.get_rank()
    size[rank] = pairs.shape[1]
    sizes = all_reduce_sum(size).tolist()
    rows = pairs.new_zeros(len(sizes), 2, max(sizes))
    rows[rank, :, : pairs.shape[1]] = pairs
    return _added([row[:, :n] for row, n in zip(all_reduce_sum(rows), sizes, strict=True)])
