"""Readers of published data sets that fit in memory: scikit-learn's digits, idx files, CIFAR pickles and npz files."""

from __future__ import annotations

import gzip
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longtail.data.base import Split
from longtail.data.plain_pickle import MAX_BYTES, Refused, read_pickle
from longtail.errors import LongtailError

__all__ = ["check_npz", "read_cifar", "read_digits", "read_idx_pair", "safe_unpickle"]

MAX_IDX = 1 << 30
"""Bytes of an idx file, unpacked; the largest published one, of EMNIST, has 547 MB."""
_MOST_DEFLATED = 1032
"""Bytes that one byte of gzip can stand for."""

CIFAR100_NAMES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
).split()
CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def _split(images: np.ndarray, labels: np.ndarray, num_classes: int, source: object) -> Split:
    if len(images) != len(labels) or len(images) == 0:
        raise LongtailError(
            f"{source}: {len(images)} images but {len(labels)} labels; the file is damaged, fetch it again"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise LongtailError(
            f"{source}: labels run from {labels.min()} to {labels.max()}, not within 0..{num_classes - 1}"
        )
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)))


def read_digits() -> Split:
    """The 1797 digits of 8x8 pixels that come with scikit-learn, as uint8 ``[N, 1, 8, 8]``."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise LongtailError("the digits data set needs scikit-learn: pip install 'longtail[train]'") from None
    pixels, labels = load_digits(return_X_y=True)
    images = np.round(np.asarray(pixels) * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return _split(images, np.asarray(labels), 10, "scikit-learn's digits")


def _read_idx(path: Path, dims: int) -> np.ndarray:
    """The array, for which no more is unpacked and reserved than the header says and the file can hold."""
    wrong = LongtailError(f"{path} is not a whole idx file of {dims} dimensions (or truncated): fetch it again")
    head = 4 + 4 * dims
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.read(head)
            shape = tuple(int(n) for n in np.frombuffer(header[4:], ">i4")) if len(header) == head else (-1,)
            if header[:4] != bytes([0, 0, 8, dims]) or min(shape) < 0:
                raise wrong
            size, packed = math.prod(shape), os.path.getsize(path)
            if size > MAX_IDX or size > packed * (_MOST_DEFLATED if path.suffix == ".gz" else 1):
                raise wrong
            array = np.empty(size, np.uint8)
            done = 0
            while done < size and (part := file.read(min(1 << 20, size - done))):
                array[done : done + len(part)] = np.frombuffer(part, np.uint8)
                done += len(part)
            if done < size or file.read(1):
                raise wrong
    except (OSError, EOFError, zlib.error) as error:
        raise LongtailError(f"{path} cannot be read ({error}): fetch it again") from None
    return array.reshape(shape)


def read_idx_pair(images: Path, labels: Path, num_classes: int = 10) -> Split:
    """MNIST's format: an idx file of images and one of labels, plain or gzipped, as uint8 ``[N, 1, H, W]``."""
    return _split(_read_idx(images, 3)[:, None], _read_idx(labels, 1), num_classes, images)


def safe_unpickle(path: Path) -> Any:
    """Read a pickle of numpy arrays and plain containers, and refuse any other.

    Raises:
        LongtailError: the file asks for anything else, or is damaged.
    """
    try:
        with open(path, "rb") as file:
            return read_pickle(file.read(MAX_BYTES + 1))
    except Refused as error:
        raise LongtailError(
            f"{path} is refused: {error}, and only numpy arrays are read; fetch the data again"
        ) from None
    except Exception:  # a damaged pickle can fail in any way
        raise LongtailError(f"{path} is damaged: fetch it again") from None


def _entry(content: Any, key: str) -> Any:
    """A dictionary's entry, whose key Python 3 may have written as bytes; None: there is none."""
    return content.get(key, content.get(key.encode())) if isinstance(content, dict) else None


def _cifar_batch(path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    batch = safe_unpickle(path)
    images, labels = _entry(batch, "data"), _entry(batch, "fine_labels" if num_classes == 100 else "labels")
    try:
        if isinstance(labels, list | tuple) and all(type(label) is int for label in labels):
            labels = np.array(labels, np.int64)
        if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError("labels")
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            raise ValueError("images")
        return images.reshape(len(labels), 3, 32, 32), labels
    except (ValueError, OverflowError):
        raise LongtailError(f"{path} is no CIFAR-{num_classes} batch: fetch it again") from None


def _check_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Refuse an array whose header asks for more memory than the file has bytes: numpy would take it first."""
    with archive.open(entry) as member:
        old = np.lib.format.read_magic(member) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > entry.file_size:
        raise ValueError(f"{entry.filename} ends before its {'x'.join(map(str, shape))} values")


def check_npz(archive: zipfile.ZipFile, most: int = MAX_BYTES) -> None:
    """Refuse an npz file that asks for more memory than its bytes can hold, or than ``most`` bytes.

    Raises:
        ValueError: it does.
    """
    for entry in archive.infolist():
        _check_header(archive, entry)
        if entry.file_size > _MOST_DEFLATED * entry.compress_size + 1024:
            raise ValueError(f"{entry.filename} is said to unpack to {entry.file_size >> 20} MiB")
    if (size := sum(entry.file_size for entry in archive.infolist())) > most:
        raise ValueError(f"{size >> 20} MiB unpacked")


def _cifar_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            check_npz(archive)
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except Exception as error:
        raise LongtailError(
            f"{path} cannot be read ({str(error)[:200]}): it must hold arrays images and labels"
        ) from None
    if not all(isinstance(entry, np.ndarray) for entry in (images, labels)):
        raise LongtailError(f"{path}: images and labels must be arrays")
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise LongtailError(f"{path}: images must be uint8 [N, 32, 32, 3] and labels integers [N]")
    return images.transpose(0, 3, 1, 2), labels


def read_cifar(folder: Path, num_classes: int) -> tuple[Split, Split, list[str]]:
    """CIFAR-10 or CIFAR-100 from the published pickles in ``folder``, or from ``cifar100_train.npz`` and ``_test.npz``.

    Returns:
        Training and test images as uint8 ``[N, 3, 32, 32]``, and the class names.
    """
    names: list[str] = list(CIFAR100_NAMES if num_classes == 100 else CIFAR10_NAMES)
    parts = []
    for split in ("train", "test"):
        npz = folder / f"cifar{num_classes}_{split}.npz"
        if npz.is_file():
            parts.append(_split(*_cifar_npz(npz), num_classes, npz))
            continue
        ten = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
        batches = [_cifar_batch(folder / f, num_classes) for f in ([split] if num_classes == 100 else ten)]
        images, labels = (np.concatenate(column) for column in zip(*batches, strict=True))
        parts.append(_split(images, labels, num_classes, folder))
    meta = folder / ("meta" if num_classes == 100 else "batches.meta")
    if meta.is_file():
        found = _entry(safe_unpickle(meta), "fine_label_names" if num_classes == 100 else "label_names")
        if isinstance(found, list) and len(found) == num_classes and all(isinstance(n, str | bytes) for n in found):
            names = [name.decode("latin1") if isinstance(name, bytes) else name for name in found]
    return parts[0], parts[1], names
