"""Settings that work, and that hardly anybody means: a line each before training."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from longtail.config import RunConfig
from longtail.data.loader import usable_cpus, usable_workers

__all__ = ["hints", "usable_cpus", "usable_workers"]


def hints(config: RunConfig, model: nn.Module, *, samples: int, world: int) -> Iterator[str]:
    """What to say of the settings of a run.

    Args:
        config: The run, resolved.
        model: The network.
        samples: Size of the training split.
        world: Number of processes that share a batch.
    """
    size = config.batch_size or 1
    normalised = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    if size > samples:
        yield f"--batch-size {size} is more than the {samples} training samples: an epoch is one step"
    elif size < 2 * world and normalised:
        yield (
            f"--batch-size {size}: BatchNorm sees one sample at a time on each process and will not recognise much "
            f"afterwards; use at least {8 * world}"
        )
    if config.workers and usable_workers(config.workers) < config.workers:
        yield (
            f"--workers {config.workers} is more than {usable_cpus()} cores can use: {usable_workers(config.workers)} "
            "are started"
        )
