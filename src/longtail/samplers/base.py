"""What all samplers share: seeded epochs, shards by stride, and the samples of every class, side by side."""

from __future__ import annotations

import itertools
import operator
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Sampler

from longtail.checks import by_place
from longtail.errors import LongtailError
from longtail.held_out import world

__all__ = ["ClassIndex", "EpochSampler", "as_tensor", "whole_number"]

_CHUNK = 2**16  # labels that are grouped at a time
_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)  # torch can do little with these
_LOADERS = ("torch.utils.data", "torchdata.")
_MAX_CLASSES = 2**24  # above it the "labels" are surely something else: fail before the memory is asked for


class EpochSampler(Sampler[int]):
    """Base of the samplers: one global order an epoch, drawn from the seed and the epoch, sharded on request.

    Rank r of R takes the positions r, r + R, r + 2R, ... of the global order, so interleaving the shards gives the
    order back. All ranks get equally many: where R does not divide the length, the first indices of the order are
    appended once more to fill it up. With the defaults (one replica) the sampler yields the global order itself, as
    Lightning and Accelerate expect, which shard what they are given; where nobody does, and several processes train, it
    warns.

    ``set_epoch(e)`` before each epoch chooses its order. Where nobody calls it, the iterations are counted: the first
    one is epoch 0, the next one epoch 1; a training that is continued starts from 0 again then.

    Args:
        seed: Seed of the draws; the same on every rank.
        num_replicas: Number of processes that share the order.
        rank: This process, in ``[0, num_replicas)``.

    Raises:
        LongtailError: a number out of range.
    """

    def __init__(self, *, seed: int, num_replicas: int, rank: int) -> None:
        self.seed = whole_number("seed", seed)
        self.num_replicas = whole_number("num_replicas", num_replicas, least=1)
        self.rank = whole_number("rank", rank, least=0)
        if rank >= num_replicas:
            raise LongtailError(f"rank must be below num_replicas = {num_replicas}, not {rank}")
        self.epoch = 0
        self._counted: int | None = 0  # iterations; None once the epoch is told

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 0) whose order is drawn from now on; without it each iteration is the next epoch."""
        self.epoch = whole_number("epoch", epoch, least=0)
        self._counted = None

    def _order_length(self) -> int:
        """Length of this epoch's global order."""
        raise TypeError(f"{type(self).__name__} defines no order")

    def _order(self, generator: torch.Generator) -> Iterator[Tensor]:
        """This epoch's global order, in chunks; ``generator`` is seeded for it."""
        raise TypeError(f"{type(self).__name__} defines no order")

    def __len__(self) -> int:
        """Number of indices that this rank yields."""
        return -(-self._order_length() // self.num_replicas)

    def iter_chunks(self) -> Iterator[Tensor]:
        """This rank's indices as a series of integer tensors: the quick way for code that gathers whole batches."""
        chunks = self._order(self._generator())
        if self.num_replicas == 1:
            return chunks
        return self._shard(chunks, len(self) * self.num_replicas - self._order_length())

    def _generator(self) -> torch.Generator:
        # torch seeds its generator with 32 bits: take well-mixed ones, so that no two (seed, epoch) pairs share a
        # stream by rule, as they would with seed + epoch.
        mixed = (self.seed * 0x9E3779B97F4A7C15 + self.epoch * 0xBF58476D1CE4E5B9) % 2**64
        return torch.Generator().manual_seed(mixed >> 32)

    def _shard(self, chunks: Iterator[Tensor], missing: int) -> Iterator[Tensor]:
        head: list[int] = []
        position = 0
        for chunk in chunks:
            head += chunk[: missing - len(head)].tolist()
            yield chunk[(self.rank - position) % self.num_replicas :: self.num_replicas]
            position += len(chunk)
        filling = torch.tensor(list(itertools.islice(itertools.cycle(head), missing)), dtype=torch.int64)
        yield filling[(self.rank - position) % self.num_replicas :: self.num_replicas]

    def indices(self) -> Tensor:
        """All of this rank's indices of the epoch, int64 ``[len(self)]``."""
        return torch.cat(list(self.iter_chunks())).long()

    def __iter__(self) -> Iterator[int]:
        if self.num_replicas == 1 and world()[1] > 1 and _a_loader_asks():
            warnings.warn(
                f"each of {world()[1]} processes draws the whole epoch of this {type(self).__name__}: give it "
                "num_replicas=torch.distributed.get_world_size(), rank=torch.distributed.get_rank()",
                stacklevel=2,
            )
        if self._counted is not None:
            self.epoch = self._counted
            self._counted += 1
        return itertools.chain.from_iterable(chunk.tolist() for chunk in self.iter_chunks())


def _a_loader_asks() -> bool:
    """Whether a ``DataLoader`` iterates over the caller's caller, and none that shards the order by itself."""
    frame = sys._getframe(2)
    caller = frame.f_globals.get("__name__", "")
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_LOADERS):
        frame = frame.f_back
    user = "" if frame is None else frame.f_globals.get("__name__", "")
    return caller.startswith(_LOADERS) and not user.startswith("accelerate.")


class ClassIndex:
    """The samples of each class, side by side: class c has ``order[start[c] : start[c] + count[c]]``.

    It takes 4 bytes a sample (8 from 2^31 samples on) and is built chunk by chunk, without a sorted copy of the labels.

    Args:
        labels: Class index of every sample, ``[N]``: tensor, array or list of whole numbers >= 0. Or the classes of
            every sample, a list of lists: a sample then belongs to each of its classes, or to none.
        num_classes: Labels must be below it; None: one more than the largest label.

    Raises:
        LongtailError: no labels, not one whole number per sample, or a label out of range.
    """

    def __init__(
        self, labels: Tensor | Sequence[int] | Sequence[Sequence[int]], *, num_classes: int | None = None
    ) -> None:
        rows, labels = None, by_place(labels, "labels")
        if isinstance(labels, list | tuple) and labels and all(isinstance(own, list | tuple) for own in labels):
            own_classes = cast(Sequence[Sequence[int]], labels)
            if twice := [row for row, own in enumerate(own_classes) if len(set(own)) < len(own)]:
                raise LongtailError(f"labels: sample {twice[0]} names a class twice: list the indices of its classes")
            rows = torch.tensor([row for row, own in enumerate(own_classes) for _ in own], dtype=torch.int64)
            values = as_tensor("labels", [c for own in own_classes for c in own])
            values = values if len(values) else values.long()
        else:
            values = as_tensor("labels", labels)
        if values.dim() != 1 or values.is_floating_point() or values.is_complex():
            kind = f"{values.dtype} of shape {list(values.shape)}"
            raise LongtailError(f"labels must be one whole number per sample, [N], not {kind}")
        if not len(values):
            raise LongtailError("labels is empty: a sampler needs at least one sample")
        least, most = int(values.min()), int(values.max())
        limit = _MAX_CLASSES if num_classes is None else num_classes
        if least < 0 or most >= limit:
            wrong = least if least < 0 else most
            raise LongtailError(f"label {wrong} is out of range: labels are class indices from 0 to {limit - 1}")
        size = most + 1 if num_classes is None else num_classes
        self.samples = len(values) if rows is None else len(labels)
        step = max(_CHUNK, size)
        self.count = torch.zeros(size, dtype=torch.int64)
        for chunk in values.split(step):
            self.count += torch.bincount(chunk.long(), minlength=size)
        self.start = self.count.cumsum(0) - self.count
        self.order = torch.empty(len(values), dtype=torch.int32 if len(values) < 2**31 else torch.int64)
        free = self.start.clone()  # where the next sample of each class goes
        for first in range(0, len(values), step):
            label, sample = values[first : first + step].long().sort(stable=True)
            count = torch.bincount(label, minlength=size)
            place = torch.arange(len(label)) + (free - (count.cumsum(0) - count)).index_select(0, label)
            self.order[place] = (sample + first).to(self.order.dtype)
            free += count
        if rows is not None:
            self.order = rows[self.order.long()]

    def __len__(self) -> int:
        """N, the number of samples."""
        return self.samples


def as_tensor(name: str, values: Any) -> Tensor:
    """``values`` (tensor, array, list, Series) in the CPU's memory as a tensor, or a clear error with their ``name``.

    A pandas Series is read in its order, whatever its index.
    """
    try:
        tensor = torch.as_tensor(by_place(values, name)).detach().cpu()
        return tensor.long() if tensor.dtype in _UNSIGNED else tensor
    except LongtailError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise LongtailError(f"{name} cannot be read as a tensor of numbers: {error}") from None


def whole_number(name: str, value: int, *, least: int | None = None) -> int:
    """``value`` if it is a whole number, and at least ``least``, or a clear error that calls it ``name``."""
    bound = "" if least is None else f" >= {least}"
    try:
        number = operator.index(value)
    except TypeError:
        raise LongtailError(f"{name} must be a whole number{bound}, not {value!r}") from None
    if isinstance(value, bool) or (least is not None and number < least):
        raise LongtailError(f"{name} must be a whole number{bound}, not {value!r}")
    if abs(number) >= 2**63:
        raise LongtailError(f"{name} is larger than 2 ** 63 - 1: choose a smaller number")
    return number
