"""timm: its training loader with a sampler of the classes.

The loss needs no adapter: `ClassWeightedLoss` takes the soft targets of timm's ``Mixup`` in place of
``SoftTargetCrossEntropy``, and ``label_smoothing`` in place of ``LabelSmoothingCrossEntropy``.
"""

from __future__ import annotations

from typing import Any

from timm.data.loader import MultiEpochsDataLoader, PrefetchLoader
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler
from torch.utils.data.distributed import DistributedSampler

from longtail.errors import LongtailError

__all__ = ["with_sampler"]


def with_sampler(loader: Any, sampler: Sampler[int]) -> Any:
    """What ``timm.data.create_loader`` gave, drawing by ``sampler``: augmentation, prefetching and workers stay::

        loader = with_sampler(create_loader(train, 224, 64, is_training=True, ...), sampler)

    Call ``loader.sampler.set_epoch(epoch)`` as for timm's own, or let the sampler count. With several processes the
    sampler takes ``num_replicas`` and ``rank``, as timm shards nothing here.

    Args:
        loader: For training, of images in a map-style data set; changed where it prefetches.
        sampler: Yields indices of the data set.

    Returns:
        The loader.

    Raises:
        LongtailError: a loader whose sampler does more than to draw samples, or that draws ahead of the epoch.
    """
    inner = loader.loader if isinstance(loader, PrefetchLoader) else loader
    if isinstance(inner, MultiEpochsDataLoader):
        raise LongtailError("use_multi_epochs_loader draws samples before the weights are known: leave it out")
    if not isinstance(inner, DataLoader) or type(inner.batch_sampler) is not BatchSampler:
        raise LongtailError(f"{type(inner).__name__} plans its batches by itself: leave input_size_choices out")
    if type(inner.sampler) not in (RandomSampler, DistributedSampler):
        raise LongtailError(f"the loader has a sampler of its own already, {type(inner.sampler).__name__}")
    new = DataLoader(
        inner.dataset,
        inner.batch_size,
        sampler=sampler,
        num_workers=inner.num_workers,
        collate_fn=inner.collate_fn,
        pin_memory=inner.pin_memory,
        drop_last=inner.drop_last,
        timeout=inner.timeout,
        worker_init_fn=inner.worker_init_fn,
        multiprocessing_context=inner.multiprocessing_context,
        generator=inner.generator,
        prefetch_factor=inner.prefetch_factor,
        persistent_workers=inner.persistent_workers,
    )
    if inner is loader:
        return new
    loader.loader = new
    return loader
