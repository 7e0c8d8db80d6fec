"""Digests of what a split holds: files, pixels in memory, annotations."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from longtail.data.base import Source, Split
from longtail.data.boxes import BoxSplit
from longtail.data.video import frame_files
from longtail.errors import LongtailError

__all__ = ["READERS", "READ_WHOLE", "digest_in_memory", "digest_of_objects", "fingerprint", "in_threads"]

READ_WHOLE = 1 << 20
"""Bytes up to which the digest of a file reads all of it; of a larger one it reads as many: first, middle and last."""
READERS = 8
T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[Sequence[T]], R], items: Sequence[T]) -> list[R]:
    """``work`` on slices of ``items``, several at a time: for what waits for files."""
    size = max(1, -(-len(items) // READERS))
    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(work, [items[i : i + size] for i in range(0, len(items), size)]))


def fingerprint(path: str, source: Source | None = None) -> tuple[int, int, str]:
    """Size, time of the last change and digest."""
    content = hashlib.blake2b(digest_size=8)
    if source is not None and not isinstance(given := source(path), str | Path):
        values = given if isinstance(given, bytes) else given.contiguous().numpy().data
        content.update(values)
        return memoryview(values).nbytes, getattr(source, "modified", 0), content.hexdigest()
    try:
        path = path if source is None else str(given)
        if os.path.isdir(path):
            frames = frame_files(path)
            content.update("\n".join(map(os.path.basename, frames)).encode("utf-8", "surrogateescape"))
            for frame in frames[:1] + frames[len(frames) // 2 :][:1] + frames[-1:]:
                content.update(fingerprint(frame)[2].encode())
            return len(frames), 0, content.hexdigest()
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            for start, length in _pieces(status.st_size):
                file.seek(start)
                content.update(file.read(length))
    except OSError as error:
        raise LongtailError(f"{path} cannot be read: {error.strerror or error}") from None
    return status.st_size, status.st_mtime_ns, content.hexdigest()


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    if size <= READ_WHOLE:
        yield 0, size
        return
    length = READ_WHOLE // 3
    yield from ((start, length) for start in (0, (size - length) // 2, size - length))


def digest_in_memory(split: Split | BoxSplit) -> str:
    content = hashlib.blake2b(digest_size=16)
    if isinstance(split, BoxSplit):  # drawn or read when asked for: its annotations stand for it
        for objects in split.objects:
            content.update(digest_of_objects(objects).encode())
        return content.hexdigest()
    assert isinstance(split.images, Tensor)
    content.update(repr(tuple(split.images.shape)).encode())
    for values in (split.images, split.labels):
        content.update(values.contiguous().numpy().data)
    return content.hexdigest()


def digest_of_objects(objects: Iterable[Mapping[str, Any]]) -> str:
    keys = ("category_id", "bbox", "iscrowd", "segmentation")
    text = repr([[entry.get(key) for key in keys] for entry in objects])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
