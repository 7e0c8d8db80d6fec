"""Features that were computed once: files of rows, found by the content of the picture that a row belongs to.

A row is looked up by the digest of a picture's bytes and by nothing else: not by its path, place, size or label. So an
edited picture is computed again, and a renamed, moved or relabelled one is not. Files are whole or absent, and carry
a digest of their own rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from longtail.atomic import atomic
from longtail.data.base import Split
from longtail.data.digests import in_threads
from longtail.data.loader import CACHE_BYTES
from longtail.data.video import frame_files
from longtail.errors import LongtailError

__all__ = ["FeatureStore", "digests_of", "size_in_words"]

ROWS = "rows"
_DIGEST = 16
Compute = Callable[[Sequence[int]], Iterator[tuple[Sequence[int], Tensor]]]


class FeatureStore:
    """The rows of one network with one preprocessing.

    Args:
        folder: Where they are kept, with those of other networks; None: in memory alone.
        about: What the rows depend on besides the picture: plain values. Its digest names the folder inside.
        note: Told where rows cannot be kept.
    """

    def __init__(self, folder: Path | None, about: Mapping[str, Any], note: Callable[[str], None]) -> None:
        text = json.dumps(about, sort_keys=True)
        self.about, self.note = text, note
        self.folder = None if folder is None else folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.computed = 0
        """Rows that were computed and not found."""

    def rows(self, digests: Sequence[bytes], compute: Compute) -> Tensor:
        """The rows of pictures, those that are missing computed.

        Args:
            digests: Of each picture's content, see `digests_of`.
            compute: Given places in ``digests``, yields some of them at a time with their rows, ``[n, D]``.

        Returns:
            float16 ``[N, D]``, in the order of ``digests``.
        """
        with self._alone():
            found = self._load(set(digests))
            place = {digest: i for i, digest in reversed(list(enumerate(digests))) if digest not in found}
            missing = sorted(place.values())
            self.computed += len(missing)
            for places, values in compute(missing) if missing else ():
                own = [digests[i] for i in places]
                values = values.half().contiguous()
                found |= zip(own, values, strict=True)
                self._save(own, values)
        return torch.stack([found[digest] for digest in digests])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time computes: the others wait, and then find the rows."""
        if self.folder is None:
            yield
            return
        try:
            from filelock import FileLock

            (self.folder / ROWS).mkdir(parents=True, exist_ok=True)
            (self.folder / "about.json").write_text(self.about, encoding="utf-8")
            lock = FileLock(self.folder / ".lock")
            lock.acquire()
        except OSError as error:
            self._keep_nothing(error)
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _keep_nothing(self, error: OSError) -> None:
        reason = error.strerror or error
        self.note(f"features are not kept in {self.folder} ({reason}): they are computed anew by every command")
        self.folder = None

    def _load(self, wanted: set[bytes]) -> dict[bytes, Tensor]:
        found: dict[bytes, Tensor] = {}
        for path in () if self.folder is None else sorted(self.folder.glob(f"{ROWS}/*.safetensors")):
            try:
                found |= {digest: row for digest, row in _read(path).items() if digest in wanted}
            except (SafetensorError, OSError, RuntimeError, ValueError):
                self.note(f"{path} is damaged: its features are computed anew")
                path.unlink(missing_ok=True)
        return found

    def _save(self, digests: Sequence[bytes], values: Tensor) -> None:
        if self.folder is None:
            return
        path = self.folder / ROWS / f"{_digest(b''.join(digests)).hex()}.safetensors"
        tensors = {"digest": torch.from_numpy(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST).copy())}
        about = {"rows": _digest(values.numpy().tobytes()).hex()}
        try:
            atomic(path, lambda temporary: save_file(tensors | {"x": values}, temporary, about))
        except (OSError, SafetensorError) as error:
            self._keep_nothing(error if isinstance(error, OSError) else OSError(str(error)))

    @property
    def bytes(self) -> int:
        """Size of what is kept."""
        return (
            0 if self.folder is None else sum(path.stat().st_size for path in self.folder.glob(f"{ROWS}/*.safetensors"))
        )


_held: dict[tuple[str, int, int], dict[bytes, Tensor]] = {}
"""Files that were read in this process, for the many runs of a comparison, up to `CACHE_BYTES`."""


def _read(path: Path) -> dict[bytes, Tensor]:
    """The rows of a file by their digests; an error where they are not what was written."""
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    if key not in _held:
        with safe_open(path, framework="pt") as file:
            digests, values = file.get_tensor("digest").numpy(), file.get_tensor("x")
            told = (file.metadata() or {}).get("rows")
        if told != _digest(values.numpy().tobytes()).hex():
            raise ValueError(f"{path} is damaged")
        rows = {bytes(digest): row for digest, row in zip(digests, values, strict=True)}
        if sum(size for _, size, _ in _held) + status.st_size > CACHE_BYTES:
            _held.clear()
        _held[key] = rows
    return _held[key]


def size_in_words(size: int) -> str:
    """``68 MB``, ``3.1 GB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"


_known: dict[tuple[str, int, int, int], bytes] = {}


def digests_of(split: Split) -> list[bytes]:
    """A digest of the content of each picture or clip of a split: of the bytes of its file, of its frames' files in
    their order, or of its pixels.

    Raises:
        LongtailError: a file that cannot be read.
    """
    if isinstance(split.images, Tensor):
        return [_digest(image.contiguous().numpy().tobytes()) for image in split.images]
    if (source := split.source) is not None:
        return [_digest_of_content(source(str(key))) for key in split.images]
    files = list(map(str, split.images))
    return [digest for part in in_threads(_digests_of_files, files) for digest in part]


def _digests_of_files(files: Sequence[str]) -> list[bytes]:
    return [_digest_of_file(file) for file in files]


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()


def _digest_of_content(content: Any) -> bytes:
    if isinstance(content, Tensor):
        return _digest(repr(tuple(content.shape)).encode() + content.contiguous().numpy().tobytes())
    return _digest(content) if isinstance(content, bytes) else _digest_of_file(str(content))


def _digest_of_file(path: str) -> bytes:
    """Of the whole file, or of all frames in a folder; within a process, a file that the system calls unchanged is read
    once."""
    if os.path.isdir(path):
        return _digest(b"".join(map(_digest_of_file, frame_files(path))))
    try:
        status = os.stat(path)
        key = (path, status.st_size, status.st_mtime_ns, status.st_ino)
        if key not in _known:
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST))  # pyright: ignore
            _known[key] = content.digest()
        return _known[key]
    except OSError as error:
        raise LongtailError(f"{path} cannot be read: {error.strerror or error}") from None
