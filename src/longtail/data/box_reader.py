"""Batches of images with boxes, read ahead by threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from longtail.data.boxes import BoxSplit
from longtail.data.loader import CACHE_BYTES

__all__ = ["Batch", "BoxReader"]

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]
"""Images in [0, 1] ``[3, H, W]``, and the target of each, see `BoxSplit.target`."""


class BoxReader:
    """Reads images and targets of splits; decoded images are kept up to `CACHE_BYTES`.

    Args:
        split: From a name to the split.
        device: Where batches are made.
        masks: Whether targets have masks.
        flips: Whether an image may be flipped.
        workers: Threads that read ahead; 0: none.
    """

    def __init__(
        self, split: Callable[[str], BoxSplit], *, device: torch.device, masks: bool, flips: bool, workers: int = 0
    ) -> None:
        self._split, self._device, self._masks, self._flips = split, device, masks, flips
        self._threads = ThreadPoolExecutor(workers) if workers > 0 else None
        self._cache: dict[tuple[str, int], Tensor] = {}
        self._cached = 0

    def read(self, name: str, batches: Iterable[Sequence[tuple[int, bool]]]) -> Iterator[Batch]:
        """Batches of a split; each is given as its rows, and whether to flip each from left to right."""

        def load(job: tuple[int, bool]) -> tuple[Tensor, dict[str, Tensor]]:
            row, flip = job
            image, target = self._image(name, row), self._split(name).target(row)
            if not self._masks:
                target.pop("masks", None)
            return _flipped(image, target) if flip and self._flips else (image, target)

        def collate(items: Iterable[tuple[Tensor, dict[str, Tensor]]]) -> Batch:
            pairs = list(items)
            return (
                [image.to(self._device, non_blocking=True).float() / 255 for image, _ in pairs],
                [{key: value.to(self._device) for key, value in target.items()} for _, target in pairs],
            )

        if self._threads is None:
            yield from (collate(map(load, batch)) for batch in batches)
            return
        waiting: list[list[Future[Any]]] = []
        source = iter(batches)
        for batch in itertools.chain(source, (None, None)):
            if batch is not None:
                waiting.append([self._threads.submit(load, job) for job in batch])
            if waiting and (len(waiting) > 2 or batch is None):
                yield collate(future.result() for future in waiting.pop(0))

    def _image(self, name: str, row: int) -> Tensor:
        key = (name, row)
        if key not in self._cache:
            image = self._split(name).read(row)
            if self._cached + image.numel() > CACHE_BYTES:
                return image
            self._cached += image.numel()
            self._cache[key] = image
        return self._cache[key]

    def close(self) -> None:
        """End the reading threads."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)


def _flipped(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    boxes, width = target["boxes"], image.shape[-1]
    target = target | {
        "boxes": torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    }
    if "masks" in target:
        target["masks"] = target["masks"].flip(-1)
    return image.flip(-1), target
