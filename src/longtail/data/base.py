"""What every reader returns: splits of images or clips with labels, and what a model must know about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from longtail.data.catalogue import parse_spec
from longtail.data.photos import read_image
from longtail.errors import LongtailError
from longtail.names import distinct_names

__all__ = ["Broken", "ImageData", "Source", "Split", "check_broken", "joined", "parse_spec", "read_sample"]

Broken = Literal["refuse", "skip"]
"""What to do about clips and annotations that cannot be used: an error, or leave them out with a note."""
Source = Callable[[str], "bytes | str | Path | Tensor"]
"""From the key of an image to its file, as bytes or as a path, or to its pixels, uint8 ``[C, H, W]``.

It must be picklable, for worker processes have it too, and raise a KeyError for a key that it does not have. What it
reads from may tell ``modified``, the time of its last change in ns: unchanged samples are then not read again when a
run is continued.
"""


def read_sample(
    key: str, source: Source | None, *, channels: int, shorter: int | None, bit_depth: int | None
) -> Tensor:
    """Pixels of one image, uint8 ``[channels, H, W]``, see `read_image`; without a source the key is the file."""
    try:
        content = key if source is None else source(key)
    except KeyError:
        raise LongtailError(f"{key} does not exist") from None
    return read_image(content, channels=channels, shorter=shorter, bit_depth=bit_depth, name=key)


def check_broken(broken: str) -> None:
    """Raise unless it is one of `Broken`."""
    if broken not in get_args(Broken):
        raise LongtailError(f"broken is {broken!r}: it must be {' or '.join(get_args(Broken))}")


@dataclasses.dataclass(frozen=True)
class Split:
    """Images, or clips of T frames, with one label each.

    Args:
        images: In memory: uint8 ``[N, C, H, W]``, C in {1, 3}; clips: ``[N, T, C, H, W]``; vectors of features: float32
            ``[N, D]``. On disk: N paths. With a source: N keys that it knows, which stay the same when the data grow.
        labels: int64 ``[N]`` in ``[0, num_classes)``.
        frames: Frames T that stand for a clip on disk; 0: the files are images. In memory it is known.
        groups: What each sample belongs to (a recording, an animal), ``[N]``; empty: it is on its own. None: not known.
        source: Where images are that are neither in memory nor files of their own, see `Source`.
    """

    images: Tensor | Sequence[str]
    labels: Tensor
    frames: int = 0
    groups: Sequence[str] | None = None
    source: Source | None = None

    def __post_init__(self) -> None:
        if isinstance(self.images, Tensor):
            object.__setattr__(self, "frames", self.images.shape[1] if self.images.ndim == 5 else 0)

    @property
    def in_memory(self) -> bool:
        return isinstance(self.images, Tensor)

    @property
    def in_files(self) -> bool:
        """Whether each sample is a file, or a folder of frames, of its own."""
        return not self.in_memory and self.source is None

    @property
    def item(self) -> str:
        """What one sample is called."""
        return "clip" if self.frames else "row" if self.are_vectors else "image"

    @property
    def are_vectors(self) -> bool:
        """Whether the samples are vectors of features, and no pictures."""
        return isinstance(self.images, Tensor) and self.images.ndim == 2

    def read(self, row: int, *, channels: int = 3, shorter: int | None = None, bit_depth: int | None = None) -> Tensor:
        """Pixels of one sample, without augmentation.

        Args:
            row: Its place in the split.
            channels: 3 for colour, 1 for grey; in memory they are what they are.
            shorter: Reduce a larger one to so many pixels on the shorter side; None, and in memory: as it is.
            bit_depth: Bits that are in use in files of 16 bits a channel; None: 16.

        Returns:
            uint8 ``[C, H, W]``, of a clip ``[T, C, H, W]``: the frames that evaluation sees.

        Raises:
            LongtailError: it cannot be read.
        """
        if isinstance(self.images, Tensor):
            return self.images[row]
        key, options = str(self.images[row]), {"channels": channels, "bit_depth": bit_depth}
        if self.frames:
            from longtail.data.frames import ClipReader  # which reads images, as this module does

            return ClipReader(self.frames, shorter=shorter or 1 << 16, **options)(key, random=False)
        return read_sample(key, self.source, shorter=shorter, **options)

    def __len__(self) -> int:
        return len(self.labels)

    def class_counts(self, num_classes: int) -> list[int]:
        """Number of images of each class, ``[C]``."""
        return torch.bincount(self.labels, minlength=num_classes).tolist()

    def subset(self, index: Tensor) -> Split:
        """The rows ``index`` (int64), in that order."""
        known = self.groups
        groups = None if known is None else [known[int(i)] for i in index.tolist()]
        if isinstance(self.images, Tensor):
            return Split(self.images[index], self.labels[index], groups=groups)
        chosen = [self.images[int(i)] for i in index.tolist()]
        return Split(chosen, self.labels[index], self.frames, groups, self.source)


def joined(first: Split, second: Split) -> Split:
    """Two splits of one kind, one after the other."""
    labels, groups = torch.cat([first.labels, second.labels]), None
    if first.groups is not None or second.groups is not None:
        groups = [group for split in (first, second) for group in split.groups or [""] * len(split)]
    if isinstance(first.images, Tensor) and isinstance(second.images, Tensor):
        return Split(torch.cat([first.images, second.images]), labels, groups=groups)
    images = [str(key) for split in (first, second) for key in split.images]
    return Split(images, labels, first.frames, groups, first.source)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageData:
    """A classification data set, split.

    Args:
        name: As the user wrote it, e.g. ``cifar100`` or ``folder:photos``.
        class_names: Readable names, ``[C]``; where several classes have one, it gets their numbers.
        train: What is trained on.
        val: The difficulty split, held out of training; None under the protocols ``cao`` and ``merged``.
        test: Read once, at the end.
        select: Separate split for the choice of ``model_best``; None: ``val`` decides, without it the training
            loss.
        mean: Channel means of the training images in [0, 1], as used for normalisation.
        std: Channel standard deviations, likewise.
        crop_padding: Pixels of padding before the random crop of training, at the data's own size; 0: no crop.
        flip: Whether a horizontal flip keeps the label (not for digits).
        crop_scale: Share of a file's area that the random resized crop of training keeps, smallest and largest. None:
            no random crop, but the centre as in evaluation.
        color_jitter: Strength of brightness, contrast and saturation jitter of files in training.
        center_crop: Share of a file's shorter side that evaluation keeps (224 / 256 is the usual one); 1: all of it.
        interpolation: How images are brought to the model's size: ``bilinear`` or ``bicubic``.
        rotation: Largest angle in degrees by which training turns a file, either way.
        policy: ``randaugment`` or ``trivialaugment``: what else training does to each image; None: nothing.
        mix: ``mixup`` or ``cutmix``: training mixes images with each other; several: one of them is drawn for each
            batch; None: it does not.
        frame_cache: Folder that keeps decoded frames of video files; None: none.
        bit_depth: Bits that are in use in image files of 16 bits a channel; None: 16.
        own_val: Whether the difficulty split is the data's own, and was not cut from their training part.
        unused: Files that the long tail asked for takes out of the training part.
        notes: What the user should know, one line each (classes too small to split, dropped files, ...).
    """

    name: str
    class_names: Sequence[str]
    train: Split
    val: Split | None
    test: Split
    select: Split | None = None
    mean: Sequence[float] = (0.5, 0.5, 0.5)
    std: Sequence[float] = (0.25, 0.25, 0.25)
    crop_padding: int = 0
    flip: bool = False
    crop_scale: tuple[float, float] | None = (0.35, 1.0)
    color_jitter: float = 0.0
    center_crop: float = 1.0
    interpolation: str = "bilinear"
    rotation: float = 0.0
    policy: str | None = None
    mix: str | Sequence[str] | None = None
    frame_cache: str | None = None
    bit_depth: int | None = None
    own_val: bool = False
    unused: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if len(set(self.class_names)) < len(self.class_names):
            object.__setattr__(self, "class_names", distinct_names(self.class_names))

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return len(self.mean)

    @property
    def frames(self) -> int:
        """Frames of a clip; 0: the data are images."""
        return self.train.frames

    @property
    def item(self) -> str:
        """What one sample is called."""
        return self.train.item

    @property
    def image_size(self) -> int | None:
        """Side of the images held in memory; None for files, which have sizes of their own, and for vectors."""
        return self.train.images.shape[-1] if self.train.in_memory and not self.train.are_vectors else None  # type: ignore[union-attr]
