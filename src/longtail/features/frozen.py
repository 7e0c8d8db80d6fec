"""The features of pictures by a frozen network: computed once, kept, projected."""

from __future__ import annotations

import copy
import dataclasses
import functools
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtail import activity
from longtail.data.base import ImageData, Split
from longtail.data.loader import make_loader, usable_cpus
from longtail.features.extract import Extractor
from longtail.features.kept import digest_of_state
from longtail.features.store import FeatureStore
from longtail.models import classifier_of, create_model

__all__ = ["FrozenNetwork", "frozen_network"]

BATCH, SHARD = 64, 256
"""Pictures, or frames of clips, that the network sees at once, and those of the rows in a file: what is lost where it
is stopped."""
_LAYOUT = 1
"""Grows when the same network gives other features."""


@dataclasses.dataclass(frozen=True)
class FrozenNetwork:
    """A network that gives features, and what they depend on besides the picture.

    Args:
        extract: The network, on its device.
        name: Of the network.
        digest: Of its weights.
        image_size: Side of the pictures in pixels.
        notes: What was said when it was built.
        source: Whose the weights are: name, sha256, licence; None: random ones.
    """

    extract: Extractor
    name: str
    digest: str
    image_size: int
    notes: Sequence[str]
    source: Mapping[str, str] | None = None

    def store(self, folder: Path | None, data: ImageData, note: Callable[[str], None], **more: Any) -> FeatureStore:
        """Where the features of pictures are kept that are brought before the network as ``data`` says.

        Args:
            folder: Of the features of all networks; None: nowhere.
            data: Its look counts: mean, std, crop, interpolation, bit depth, and how many frames stand for a clip.
            note: Told what could not be kept.
            **more: What else the features depend on.
        """
        about = {"layout": _LAYOUT, "network": self.name, "weights": self.digest, "image_size": self.image_size}
        look = ("mean", "std", "center_crop", "interpolation", "bit_depth")
        about |= {name: getattr(data, name) for name in look} | more
        about |= {"frames": data.frames} if data.frames else {}
        return FeatureStore(folder, {k: list(v) if isinstance(v, tuple) else v for k, v in about.items()}, note)

    def rows(
        self, store: FeatureStore, split: Split, digests: Sequence[bytes], data: ImageData, *, view: int = 0
    ) -> Tensor:
        """The features of a split, float16 ``[N, D]``: those that the store lacks are computed.

        Args:
            store: Of `store`.
            split: The pictures.
            digests: Of their contents.
            data: How they are brought before the network.
            view: Number of an augmented view, drawn for each picture from its content; 0: as in evaluation.
        """

        def compute(missing: Sequence[int]) -> Iterator[tuple[Sequence[int], Tensor]]:
            activity.now(f"computing features of {len(missing)} {split.item}s with {self.name}")
            size = _clips_of(SHARD, split)
            blocks = [missing[i : i + size] for i in range(0, len(missing), size)]
            for block in activity.counted(blocks):
                yield block, self._features(split, block, digests, data, view)

        return store.rows(digests, compute)

    def _features(
        self, split: Split, rows: Sequence[int], digests: Sequence[bytes], data: ImageData, view: int
    ) -> Tensor:
        """Of some rows of a split, float16 ``[n, D]``."""
        device = next(self.extract.parameters()).device
        loader = make_loader(
            split.subset(torch.tensor(rows)),
            data,
            image_size=self.image_size,
            train=view > 0,
            device=device,
            workers=min(8, usable_cpus()) if device.type == "cuda" else 0,
            channels=3,
            draws=[int.from_bytes(digests[i][:7]) for i in rows],
        )
        batches = torch.arange(len(rows)).split(_clips_of(BATCH, split))
        images = (images for images, _ in loader(batches, epoch=view))
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        if threads == 1:
            found = [_rows_of(self.extract, batch) for batch in images]
        else:  # a thread for each batch in place of all threads on one: half as long again
            free = queue.SimpleQueue[Extractor]()
            for _ in range(threads):
                free.put(copy.deepcopy(self.extract))  # it remembers what its stages gave
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as workers:
                found = list(workers.map(functools.partial(_in_turn, free), images))
            torch.set_num_threads(threads)
        loader.close()
        return torch.cat(found)


def _clips_of(pictures: int, split: Split) -> int:
    """Samples of a split that have so many pictures."""
    return max(1, pictures // max(1, split.frames))


@torch.inference_mode()
def _rows_of(extract: Extractor, images: Tensor) -> Tensor:
    return extract(images).half().cpu()


def _in_turn(free: queue.SimpleQueue[Extractor], images: Tensor) -> Tensor:
    """By a network that no other thread uses."""
    extract = free.get()
    try:
        return _rows_of(extract, images)
    finally:
        free.put(extract)


@functools.lru_cache(maxsize=2)
def frozen_network(name: str, weights: str | None, image_size: int, device: str) -> FrozenNetwork:
    """A network with its weights, frozen; within a process it is built once.

    Raises:
        LongtailError: an unknown name, weights that cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # without published weights it is random, and always the same
        network = create_model(name, num_classes=2, image_size=image_size, weights=weights)
    extract = extractor_of(network).to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    info, notes = network.weights_info, tuple(network.notes)  # pyright: ignore[reportArgumentType]
    source = {key: getattr(info, key) for key in ("name", "sha256", "licence")} if info else None
    return FrozenNetwork(extract, name, digest_of_state(extract), image_size, notes, source)


def extractor_of(network: nn.Module, *, levels: bool = True) -> Extractor:
    """A network as a source of features."""
    parent, attribute, _ = classifier_of(network)
    return Extractor(network, (parent, attribute), levels=levels)
