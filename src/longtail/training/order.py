"""Which samples an epoch shows, in which batches: the same on every process."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from longtail.errors import LongtailError

__all__ = ["cut_batches", "epoch_order", "seed_of"]


def seed_of(*parts: int | str) -> int:
    """A seed in [0, 2**63) that depends on all of ``parts``."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def epoch_order(sampler: Any, size: int, *, seed: int, epoch: int) -> Tensor:
    """Global order of one epoch, int64: the sampler's, or a random permutation of ``size`` samples without one."""
    if sampler is None:
        return torch.randperm(size, generator=torch.Generator().manual_seed(seed_of("order", seed, epoch)))
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    if hasattr(sampler, "indices"):
        return sampler.indices()
    return torch.tensor(list(sampler), dtype=torch.int64)


def cut_batches(order: Tensor, batch_size: int, *, world: int) -> list[Tensor]:
    """Global batches of ``order``.

    A last batch of fewer than two samples a process is left out: BatchNorm cannot train on one sample.

    Raises:
        LongtailError: a process would have no sample in a batch.
    """
    if min(batch_size, len(order)) < world:
        what = f"--batch-size {batch_size}" if batch_size < world else f"{len(order)} training samples"
        raise LongtailError(f"{what} cannot be shared by {world} processes: each needs at least one sample of a batch")
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) < min(2 * world, batch_size):
        batches.pop()
    return batches
