"""Let a model answer what a loader yields, each sample once, and leave the model as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler

from longtail.errors import LongtailError

__all__ = ["answers", "device_of", "evaluating", "own_samples", "world"]

Predict = Callable[[nn.Module, Any], tuple[Tensor, Tensor]]


def world() -> tuple[int, int]:
    """The rank of this process, and how many there are."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def answers(
    model: nn.Module, loader: Iterable[Any], *, predict: Predict | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the model says of each batch, and what is true: in ``eval()``, without gradient, on the model's device.

    Samples that a sampler has appended so that all processes get equally many are left out. A model in
    ``DistributedDataParallel`` is asked without its wrapper, with the buffers of process 0 (BatchNorm keeps statistics
    of its own on each process): all processes must take part.

    Args:
        model: Answers ``[B, C]``, or an object whose ``logits`` they are.
        loader: Yields ``(x, y)``, or dictionaries with ``labels`` whose other entries are the model's keywords.
        predict: For other batches: called with the model and a batch as it comes, returns logits and targets.

    Raises:
        LongtailError: a batch of another form and no ``predict``.
    """
    if isinstance(model, DistributedDataParallel):
        model = model.module
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)
    elif isinstance(model, DataParallel):
        model = model.module
    ask, left = predict or _ask, own_samples(loader)
    with evaluating(model):
        for batch in loader:
            counts = left != 0
            if left:
                batch, left = _first(batch, left)
            with torch.no_grad():  # also what does not count: parts of the model may wait for all processes
                prediction, target = ask(model, batch)
            if counts and len(target):
                yield prediction, target


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``model.eval()``; afterwards each module is in the mode that it was in, frozen ones too."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def device_of(model: nn.Module) -> torch.device | None:
    """Where the model's first parameter or buffer is; None: it has none."""
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            return tensor.device
    return None


def _ask(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    """Logits and targets of a batch of one of the usual forms."""
    device = device_of(model)
    if isinstance(batch, Mapping) and "labels" in batch:
        inputs = {name: _moved(value, device) for name, value in batch.items()}
        target = inputs.pop("labels")
        output = model(**inputs)
    elif isinstance(batch, Sequence) and len(batch) == 2:
        output, target = model(_moved(batch[0], device)), _moved(batch[1], device)
    else:
        what = f"{len(batch)} values" if isinstance(batch, Sequence) else type(batch).__name__
        raise LongtailError(
            f"a batch of the loader is {what}: give (x, y) or a dictionary with 'labels', or say with "
            "predict=lambda model, batch: (logits, targets) how one is read"
        )
    logits = output["logits"] if isinstance(output, Mapping) and "logits" in output else output
    logits = getattr(logits, "logits", logits)
    if not isinstance(logits, Tensor):
        raise LongtailError(
            f"the model answers with {type(logits).__name__}, not with logits: say with "
            "predict=lambda model, batch: (logits, targets) which part they are"
        )
    return logits, target


def _first(batch: Any, left: int) -> tuple[Any, int]:
    """At most ``left`` samples of a batch, and how many are left then."""
    whole = batch.values() if isinstance(batch, Mapping) else batch
    parts = list(whole) if isinstance(batch, Mapping | list | tuple) else []
    sizes = {len(part) for part in parts if isinstance(part, Tensor | Sequence) and not isinstance(part, str)}
    if len(sizes) != 1:
        raise LongtailError(
            "the last samples of this loader only fill up the share of a process, and the batches are of a form that "
            "cannot be cut: give a loader with a sampler that fills none"
        )
    size = sizes.pop()
    if size <= left:
        return batch, left - size
    if isinstance(batch, Mapping):
        return {name: part[:left] for name, part in batch.items()}, 0
    return tuple(part[:left] for part in parts), 0


def _moved(value: Any, device: torch.device | None) -> Any:
    """Tensors, also in dictionaries and lists, on the device."""
    if isinstance(value, Mapping):
        return {name: _moved(one, device) for name, one in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_moved(one, device) for one in value)
    move = getattr(value, "to", None)
    return value if move is None or device is None else move(device, non_blocking=True)


def own_samples(loader: Any) -> int | None:
    """How many samples a loader yields on this process before those that only fill up its share; None: it fills none.

    It knows ``torch.utils.data.DistributedSampler`` with what is derived from it, timm's ``OrderedDistributedSampler``,
    and loaders that Accelerate prepared: all put the filling last.
    """
    batches = getattr(loader, "batch_sampler", None)
    if all(hasattr(batches, name) for name in ("batch_sampler", "num_processes", "process_index", "split_batches")):
        return _own_of_batches(batches)
    if hasattr(loader, "split_batches") and hasattr(getattr(batches, "sampler", None), "__len__"):
        return _own_of_dispatched(loader, batches)
    samplers: list[Any] = [getattr(holder, "sampler", None) for holder in (loader, batches)]
    for sampler in samplers:
        if _fills_up(sampler):
            return len(range(sampler.rank, len(sampler.dataset), sampler.num_replicas))
    return None


def _fills_up(sampler: Any) -> bool:
    """Whether it deals out a data set by turns and repeats the first samples until all processes have as many."""
    if isinstance(sampler, DistributedSampler):
        return not sampler.drop_last
    return any(base.__name__ == "OrderedDistributedSampler" for base in type(sampler).__mro__)  # timm's


def _own_of_batches(shard: Any) -> int | None:
    """`own_samples` of Accelerate's ``BatchSamplerShard``, which deals out batches or cuts each in equal parts."""
    inner, size = shard.batch_sampler, shard.batch_size
    if shard.drop_last or size is None or not hasattr(inner, "sampler"):
        return None
    processes, index = shard.num_processes, shard.process_index
    whole, rest = divmod(len(inner.sampler), size)
    if shard.split_batches:
        part = size // processes
        return whole * part + min(max(rest - part * index, 0), part)
    return len(range(index, whole, processes)) * size + (rest if whole % processes == index else 0)


def _own_of_dispatched(loader: Any, batches: Any) -> int | None:
    """`own_samples` of Accelerate's ``DataLoaderDispatcher``, which cuts what process 0 has read in equal parts."""
    if batches.drop_last:
        return None
    processes, index = loader.state.num_processes, loader.state.process_index
    size = batches.batch_size * (1 if loader.split_batches else processes)
    whole, rest = divmod(len(batches.sampler), size)
    part = -(-rest // processes)
    return whole * (size // processes) + min(max(rest - part * index, 0), part)
