"""Batches for training and evaluation, from memory or from files, behind one interface.

Every random draw is a function of (seed, epoch, batch number, position in the batch) and of nothing else: not of the
number of workers, of what was drawn before, or of the global generators, which are neither used nor changed. So a run
that was killed and continued sees the same images as one that was not.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import math
import multiprocessing
import os
import re
import signal
import struct
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.data.base import ImageData, Source, Split, read_sample
from longtail.data.frames import ClipReader
from longtail.data.mixing import drawn, mix, places
from longtail.errors import LongtailError
from longtail.guard import leave_unguarded_script, unguarded_script

__all__ = [
    "CACHE_BYTES",
    "Loader",
    "draw_key",
    "make_loader",
    "of_dead_worker",
    "suggest_workers",
    "usable_cpus",
    "usable_workers",
]

CACHE_BYTES = 1 << 30
"""Decoded files, and images in memory that are enlarged, are kept up to about this size."""
_AT_ONCE = 1 << 24
"""Values of images that are resized at once."""
Batch = tuple[Any, ...]
"""Images, their labels, and, where training mixes images, the `Mixture` that they are in."""


class Loader(Protocol):
    """Turns batches of indices into batches of images and targets on the device."""

    def __call__(
        self, batches: Iterable[Tensor], *, epoch: int = 0, rank: int = 0, world: int = 1, start: int = 0
    ) -> Iterator[Batch]:
        """For each int64 ``[B]`` of ``batches``: normalised float32 images ``[B, C, S, S]``, int64 targets ``[B]``.

        Clips of T frames are ``[B, C, T, S, S]``; the frames of one are augmented alike. Process ``rank`` of ``world``
        gets every world-th image of each batch, augmented as one process would. The first ``start`` are left out.
        Where training mixes images, a third part tells what is in them besides (`longtail.data.mixing.Mixture`).
        """
        ...

    def close(self) -> None:
        """End the worker processes, if there are any; they also end with the last reference to the loader."""
        ...


def draw_key(*numbers: int) -> int:
    """A well-mixed 63-bit seed from a tuple of integers."""
    digest = hashlib.blake2b(struct.pack(f"<{len(numbers)}q", *numbers), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _mix_key(seed: int, epoch: int, number: int) -> int:
    """The seed of what a global batch is mixed by: another than those of its images, whose places are not negative."""
    return draw_key(seed, epoch, number, -1)


def policy_of(name: str | None) -> Callable[[Tensor], Tensor] | None:
    """What is done to each training image, uint8 ``[C, S, S]``, or alike to all frames of a clip ``[T, C, S, S]``."""
    if name is None:
        return None
    from torchvision.transforms import InterpolationMode, v2

    make = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}[name]
    return make(interpolation=InterpolationMode.BILINEAR)


def make_loader(
    split: Split,
    data: ImageData,
    *,
    image_size: int | None,
    train: bool,
    device: torch.device | str = "cpu",
    workers: int = 0,
    seed: int = 0,
    channels_last: bool = True,
    channels: int | None = None,
    draws: Sequence[int] | None = None,
) -> Loader:
    """The loader of one split.

    Args:
        split: Images or clips with labels; indices of batches are rows of it.
        data: The data set that it belongs to: normalisation and augmentation.
        image_size: S; None keeps the size of images in memory (files need one).
        train: Augment. Images in memory: random crop after padding, and flip, where the data set allows them; files:
            rotation, random resized crop, flip, colour jitter. Otherwise the whole image, or its centre. Clips are
            augmented likewise; a random frame of each of T equal parts stands for a file, in evaluation the middle one.
        device: Where the batches are wanted. Images in memory live there as uint8, those that would be larger than
            `CACHE_BYTES` at the model's size as they are.
        workers: Processes that decode files; 0: none, and files that fit into memory are decoded only once.
        seed: Seed of the augmentation.
        channels_last: Memory format of the images.
        channels: 3 repeats grey images for a model made for colour; None: as the data set has.
        draws: Of each image a number that its augmentation follows from, with the epoch alone; None: it follows from
            the seed and from the image's place in the epoch.

    Raises:
        LongtailError: size missing or too small; while iterating: a file that cannot be read.
    """
    channels = channels or data.channels
    if channels not in (data.channels, 3):
        raise LongtailError(f"images with {data.channels} channels cannot be given as {channels}")
    if image_size is None and not split.in_memory:
        raise LongtailError("images in files have different sizes: give --image-size")
    if image_size is not None and image_size < 1:
        raise LongtailError(f"image size {image_size} must be at least 1")
    normalise = _Normalise(data, torch.device(device), channels, channels_last)
    if split.in_memory:
        return _MemoryLoader(split, data, normalise, image_size=image_size, train=train, seed=seed, draws=draws)
    assert image_size is not None
    return _FileLoader(
        split, data, normalise, image_size=image_size, train=train, seed=seed, workers=workers, draws=draws
    )


def suggest_workers(split: Split, image_size: int, cpus: int) -> int:
    """Worker processes for a training split: none if its decoded files fit into memory, else one a CPU, at most 8."""
    if split.in_memory or _cache_bytes(split, image_size, train=True) <= CACHE_BYTES:
        return 0
    return max(1, min(8, cpus))


def usable_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_workers(wanted: int) -> int:
    """``wanted``, or as many processes as can be of use: each takes memory, and a core to do anything."""
    return min(wanted, max(8, 2 * usable_cpus()))


class _Normalise:
    """uint8 to normalised float32 in one conversion and two passes in place."""

    def __init__(self, data: ImageData, device: torch.device, channels: int, channels_last: bool) -> None:
        shape = (1, -1, 1, 1, 1) if data.frames else (1, -1, 1, 1)
        mean, std = (torch.tensor(values, device=device).view(shape) for values in (data.mean, data.std))
        self.scale, self.shift = 1 / (255 * std), -mean / std
        self.device, self.channels = device, channels
        last = torch.channels_last_3d if data.frames else torch.channels_last
        self.format = last if channels_last else torch.contiguous_format

    def __call__(self, images: Tensor) -> Tensor:
        if images.ndim == 5:
            images = images.transpose(1, 2)
        images = images.to(torch.float32, memory_format=self.format).mul_(self.scale).add_(self.shift)
        if images.shape[1] != self.channels:
            images = images.expand(-1, self.channels, *images.shape[2:]).contiguous(memory_format=self.format)
        return images


def _resize(images: Tensor, size: int, mode: str) -> Tensor:
    """uint8 ``[..., C, H, W]`` to ``[..., C, S, S]``, a few at a time: each takes four times its bytes meanwhile."""
    if images.shape[-2:] == (size, size):
        return images
    if images.ndim == 5:
        return _resize(images.flatten(0, 1), size, mode).unflatten(0, images.shape[:2])
    channels, side = images.shape[1], max(size, *images.shape[-2:])
    found, step = images.new_empty(len(images), channels, size, size), max(1, _AT_ONCE // (channels * side * side))
    for part, own in zip(images.split(step), found.split(step), strict=True):
        own.copy_(F.interpolate(part.float(), size=(size, size), mode=mode, antialias=True).round_().clamp_(0, 255))
    return found


def _bytes_at(images: Tensor, size: int) -> int:
    """Of images in memory at another size."""
    return images[..., 0, 0].numel() * size * size


class _MemoryLoader:
    def __init__(
        self,
        split: Split,
        data: ImageData,
        normalise: _Normalise,
        *,
        image_size: int | None,
        train: bool,
        seed: int,
        draws: Sequence[int] | None = None,
    ) -> None:
        assert isinstance(split.images, Tensor)
        side = split.images.shape[-1]
        size = image_size or side
        self.normalise, self.device, self.seed, self.draws = normalise, normalise.device, seed, draws
        self.resize = functools.partial(_resize, size=size, mode=data.interpolation)
        small = _bytes_at(split.images, size) <= max(CACHE_BYTES, split.images.numel())
        self.images = (self.resize(split.images) if small else split.images).to(self.device)
        self.labels = split.labels.to(self.device)
        self.padding = round(data.crop_padding * size / side) if train else 0
        self.flip = data.flip and train
        self.policy, self.mix = (policy_of(data.policy), data.mix) if train else (None, None)

    def __call__(
        self, batches: Iterable[Tensor], *, epoch: int = 0, rank: int = 0, world: int = 1, start: int = 0
    ) -> Iterator[Batch]:
        for number, batch in enumerate(itertools.islice(batches, start, None), start):
            needed, partner = places(len(batch), rank=rank, world=world, mixed=self.mix is not None)
            index = batch[needed].to(self.device)
            images = self.resize(self.images[index])
            if self.draws is not None:
                keys = [draw_key(self.draws[int(k)], epoch) for k in index]
            else:
                keys = [draw_key(self.seed, epoch, number, k) for k in needed.tolist()]
            if self.padding or self.flip:
                if self.draws is not None:
                    parts = [self._places(1, key) for key in keys]
                    shift, mirror = (torch.cat(part, -1) for part in zip(*parts, strict=True))
                else:
                    shift, mirror = self._places(len(batch), draw_key(self.seed, epoch, number))
                    shift, mirror = shift[:, needed], mirror[needed]
                images = self._augment(images, shift, mirror)
            if self.policy is not None:
                images = torch.stack([drawn(self.policy, *own) for own in zip(images, keys, strict=True)])
            images, labels = self.normalise(images), self.labels[index]
            if self.mix is None:
                yield images, labels
            else:
                yield mix(images, labels, partner, self.mix, _mix_key(self.seed, epoch, number))

    def _places(self, count: int, key: int) -> tuple[Tensor, Tensor]:
        """Where each of some images is cut out, ``[2, count]``, and whether it is mirrored, ``[count]``."""
        generator = torch.Generator().manual_seed(key)
        shift = torch.randint(2 * self.padding + 1, (2, count), generator=generator)
        return shift, torch.randint(2, (count,), generator=generator).bool()

    def _augment(self, images: Tensor, shift: Tensor, mirror: Tensor) -> Tensor:
        if images.ndim == 5:  # what is done to all channels is done to all frames
            return self._augment(images.flatten(1, 2), shift, mirror).view_as(images)
        pad = self.padding
        if pad:
            rows, columns = shift.to(self.device)
            size = images.shape[-1]
            # All shifted windows of all padded images as a view, and one gather that picks a window for each image.
            windows = F.pad(images, [pad] * 4).unfold(2, size, 1).unfold(3, size, 1)
            images = windows[torch.arange(len(images), device=self.device), :, rows, columns]
        if self.flip:
            images = torch.where(mirror.to(self.device).view(-1, 1, 1, 1), images.flip(-1), images)
        return images

    def close(self) -> None:
        """Nothing to end."""


def _cache_bytes(split: Split, size: int, *, train: bool) -> float:
    if split.frames:  # other frames of a clip in each epoch: nothing can be kept
        return math.inf if train else len(split) * 3 * size * size * split.frames
    return len(split) * size * size * (16 if train else 3)


class _Photos(torch.utils.data.Dataset[Any]):
    """Reads and transforms files; an item is a path, or a key of the source, with the seed of its augmentation."""

    def __init__(self, data: ImageData, size: int, *, train: bool, cache: bool, source: Source | None = None) -> None:
        from torchvision.transforms import InterpolationMode, v2

        self.size, self.channels, self.center = size, data.channels, data.center_crop
        self.bit_depth, self.source = data.bit_depth, source
        self.interpolation = data.interpolation
        self.shape: tuple[int, ...] = (self.channels, size, size)
        self.cache: dict[str, Tensor] | None = {} if cache else None
        jitter, turn = data.color_jitter, [-data.rotation, data.rotation]
        crop = functools.partial(v2.RandomResizedCrop, interpolation=InterpolationMode(data.interpolation))
        self.transform = v2.Compose(
            [
                v2.Identity(),  # there may be no other
                *([v2.RandomRotation(turn, InterpolationMode.BILINEAR)] if data.rotation else []),
                *([crop(size, scale=data.crop_scale, antialias=True)] if data.crop_scale else []),
                *([v2.RandomHorizontalFlip()] if data.flip else []),
                *([v2.ColorJitter(jitter, jitter, jitter)] if jitter else []),
                *([policy] if (policy := policy_of(data.policy)) is not None else []),
            ]
        )
        self.train, self.crops = train, train and data.crop_scale is not None
        self.reading: _Reading | None = None

    def _load(self, path: str) -> Tensor:
        """The image that augmentation starts from, or what evaluation sees; the same with and without the cache."""
        if self.cache is not None and path in self.cache:
            return self.cache[path]
        image = self._read(path, 2 * self.size) if self.crops else self._center(self._read(path, 4 * self.size))
        if self.cache is not None:
            self.cache[path] = image
        return image

    def _read(self, path: str, shorter: int) -> Tensor:
        return read_sample(path, self.source, channels=self.channels, shorter=shorter, bit_depth=self.bit_depth)

    def _center(self, images: Tensor) -> Tensor:
        """The square in the middle: uint8 ``[..., C, H, W]`` to ``[..., C, S, S]``.

        By Pillow, which rounds alike on all processors, and which an exported model's ``infer.py`` has too.
        """
        from PIL import Image

        height, width = images.shape[-2:]
        side = max(1, round(min(height, width) * self.center))
        left, top = (width - side) // 2, (height - side) // 2
        box, size = (left, top, left + side, top + side), self.size
        planes = [Image.fromarray(plane).crop(box) for plane in images.reshape(-1, height, width).numpy()]
        how = Image.Resampling[self.interpolation.upper()]
        resized = [np.asarray(plane.resize((size, size), how)) for plane in planes]
        return torch.from_numpy(np.stack(resized)).view(*images.shape[:-2], size, size)

    def __getitem__(self, item: tuple[str, int]) -> Tensor:
        path, key = item
        if self.reading is not None:
            self.reading.note(path)
        if not self.train:
            return self._load(path)
        return drawn(lambda _: self.transform(self._load(path)), torch.empty(0), key)

    def __getitems__(self, items: Sequence[tuple[str, int]]) -> Tensor | str:
        """A batch, or what is wrong with a file: an exception would arrive with a worker's traceback as its message."""
        try:
            images = [self[item] for item in items]
            return torch.stack(images) if images else torch.empty(0, *self.shape).byte()
        except LongtailError as error:
            return str(error)


class _Clips(_Photos):
    """Reads and transforms clips; the random frames of training are drawn anew each time."""

    def __init__(self, data: ImageData, size: int, *, frames: int, train: bool, cache: bool) -> None:
        super().__init__(data, size, train=train, cache=cache and not train)
        self.shape = (frames, *self.shape)
        shorter = max(1, round(size / self.center))
        self.read = ClipReader(
            frames, shorter=shorter, channels=self.channels, cache=data.frame_cache, bit_depth=data.bit_depth
        )

    def _load(self, path: str) -> Tensor:
        if self.train:
            clip = self.read(path, random=True)
            return clip if self.crops else self._center(clip)
        if self.cache is not None and path in self.cache:
            return self.cache[path]
        clip = self._center(self.read(path, random=False))
        if self.cache is not None:
            self.cache[path] = clip
        return clip


class _Plan:
    """The batch sampler: the items of one epoch, made when they are asked for."""

    def __init__(self, paths: Sequence[str], seed: int, draws: Sequence[int] | None = None) -> None:
        self.paths, self.seed, self.epoch, self.draws = paths, seed, 0, draws
        self.needed: list[list[int]] = []
        self.first = 0
        self.batches: list[list[int]] = []

    def __iter__(self) -> Iterator[list[tuple[str, int]]]:
        epoch, first = self.epoch, self.first  # another may be asked for before this one is read to its end
        for number, (batch, needed) in enumerate(zip(self.batches, self.needed, strict=True), first):
            if self.draws is not None:
                yield [(self.paths[batch[k]], draw_key(self.draws[batch[k]], epoch)) for k in needed]
                continue
            yield [(self.paths[batch[k]], draw_key(self.seed, epoch, number, k)) for k in needed]

    def __len__(self) -> int:
        return len(self.batches)


class _Reading:
    """What each worker reads, in memory that outlives it: if it is killed, the file can be named."""

    _SIZE = 1024

    def __init__(self, workers: int) -> None:
        self.slots = multiprocessing.get_context("spawn").RawArray("c", workers * self._SIZE)
        _READING.add(self)

    def note(self, path: str) -> None:
        """Called by a worker before it reads a file."""
        info = torch.utils.data.get_worker_info()
        if info is not None:
            slot = struct.pack("<q", os.getpid()) + path.encode("utf-8", "surrogateescape")
            start = info.id * self._SIZE
            self.slots[start : start + self._SIZE] = slot[: self._SIZE].ljust(self._SIZE, b"\0")

    def of(self, pid: int) -> str | None:
        """The file that a worker read last."""
        raw = self.slots.raw
        for start in range(0, len(raw), self._SIZE):
            if struct.unpack_from("<q", raw, start) == (pid,):
                return raw[start + 8 : start + self._SIZE].rstrip(b"\0").decode("utf-8", "surrogateescape")
        return None


_READING: weakref.WeakSet[_Reading] = weakref.WeakSet()


def of_dead_worker(error: BaseException) -> LongtailError | None:
    """The line for an error that torch raises when a process that reads images has died, wherever the news met us."""
    told = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)", str(error))
    if not told:
        return None
    pids = [int(pid) for pid in told[1].replace(",", " ").split()]
    files = [file for pid in pids for reading in tuple(_READING) if (file := reading.of(pid)) is not None]
    where = f" while it read {', '.join(files)}" if files else ""
    return LongtailError(
        f"a process that reads images (pid {', '.join(map(str, pids))}) has died{where}: if the system killed it for "
        "memory, use fewer --workers or 0; if it dies at the same file again, take that file out; the same command "
        "continues"
    )


def _begin_worker(_: int) -> None:
    """End with the process that started this one, and leave SIGTERM, which Slurm sends to all, to that process."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():  # before that was set
            os._exit(1)


def _as_is(batch: Any) -> Any:
    return batch


class _FileLoader:
    def __init__(
        self,
        split: Split,
        data: ImageData,
        normalise: _Normalise,
        *,
        image_size: int,
        train: bool,
        seed: int,
        workers: int,
        draws: Sequence[int] | None = None,
    ) -> None:
        assert not isinstance(split.images, Tensor)
        self.labels, self.normalise, self.device = split.labels, normalise, normalise.device
        self.plan, self.seed = _Plan(split.images, seed, draws), seed
        self.mix = data.mix if train else None
        cache = workers == 0 and _cache_bytes(split, image_size, train=train) <= CACHE_BYTES
        if split.frames:
            files = _Clips(data, image_size, frames=split.frames, train=train, cache=cache)
        else:
            files = _Photos(data, image_size, train=train, cache=cache, source=split.source)
        files.reading = _Reading(workers) if workers else None
        self.loader: torch.utils.data.DataLoader[Any] | None = torch.utils.data.DataLoader(
            files,
            batch_sampler=self.plan,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_as_is,
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
            multiprocessing_context="spawn" if workers else None,  # a fork of a process with threads can hang
            generator=torch.Generator(),
            worker_init_fn=_begin_worker,
        )

    def __call__(
        self, batches: Iterable[Tensor], *, epoch: int = 0, rank: int = 0, world: int = 1, start: int = 0
    ) -> Iterator[Batch]:
        if self.loader is None:
            raise LongtailError("this loader is closed: make a new one")
        if self.loader.num_workers:
            leave_unguarded_script()
        indices = [batch.cpu() for batch in batches][start:]
        self.plan.batches, self.plan.epoch, self.plan.first = [index.tolist() for index in indices], epoch, start
        parts = [places(len(index), rank=rank, world=world, mixed=self.mix is not None) for index in indices]
        self.plan.needed = [needed.tolist() for needed, _ in parts]
        try:
            whole = zip(indices, parts, self.loader, strict=True)
            for number, (index, (needed, partner), images) in enumerate(whole, start):
                if isinstance(images, str):
                    raise LongtailError(images)
                images = self.normalise(images.to(self.device, non_blocking=True))
                labels = self.labels[index[needed]].to(self.device, non_blocking=True)
                if self.mix is None:
                    yield images, labels
                else:
                    yield mix(images, labels, partner, self.mix, _mix_key(self.seed, epoch, number))
        except (RuntimeError, OSError, EOFError) as error:  # what a dead worker looks like from here
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            if script := unguarded_script():
                raise LongtailError(
                    f"{script} has no main guard, and each process that reads images runs it again: put what it does "
                    'below if __name__ == "__main__":, or use workers=0'
                ) from None
            raise of_dead_worker(error) or LongtailError(
                f"a process that reads images has ended ({error}): use fewer --workers, or 0"
            ) from None

    def close(self) -> None:
        """End the workers."""
        self.loader = None
