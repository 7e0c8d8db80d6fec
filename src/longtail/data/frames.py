"""The T frames that stand for a clip in training and in evaluation, with a cache on disk on request."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from longtail.data.video import Clip, open_clip, read_frames, sample_frames
from longtail.errors import LongtailError

__all__ = ["ClipReader"]

CACHED_FRAMES = 3000
"""A longer clip is decoded each time instead of being kept on disk."""
_AT_ONCE = 64
_VERSION = 1


class ClipReader:
    """Reads the frames that stand for a clip.

    The cache holds all frames of a video file as uint8 of the size that is asked for, one ``.npy`` file a clip: about
    ``4 * shorter ** 2`` bytes a frame. It changes no pixel. Its files are whole or absent, whoever is killed. They may
    be deleted at any time, and are not used once the video file has another size or time of change.

    Args:
        frames: T.
        shorter: Frames whose shorter side is larger are reduced to this many pixels.
        channels: 3 for colour, 1 for grey.
        cache: Folder of the cache; None: none.
        bit_depth: Bits that are in use in frames stored as images of 16 bits a channel; None: 16.
    """

    def __init__(
        self,
        frames: int,
        *,
        shorter: int,
        channels: int = 3,
        cache: str | Path | None = None,
        bit_depth: int | None = None,
    ) -> None:
        self.frames, self.shorter, self.channels, self.bit_depth = frames, shorter, channels, bit_depth
        self.folder = Path(cache).expanduser() if cache else None
        self.clips: dict[str, Clip] = {}

    def __call__(self, path: str, *, random: bool) -> Tensor:
        """uint8 ``[T, C, H, W]``: of each of T equal parts a random frame (by torch's generator), or the middle one.

        Raises:
            LongtailError: the clip cannot be read, or the cache cannot be written.
        """
        if path not in self.clips:
            self.clips[path] = open_clip(path)
        clip = self.clips[path]
        index = sample_frames(clip, self.frames, random=random)
        if self.folder is None or clip.files or len(clip) > CACHED_FRAMES:
            return self._decode(clip, index)
        return self._kept(clip, index)

    def _decode(self, clip: Clip, index: Sequence[int]) -> Tensor:
        return read_frames(clip, index, shorter=self.shorter, channels=self.channels, bit_depth=self.bit_depth)

    def _kept(self, clip: Clip, index: Sequence[int]) -> Tensor:
        assert self.folder is not None
        state = os.stat(clip.path)
        settings = (os.path.abspath(clip.path), state.st_size, state.st_mtime_ns, self.shorter, self.channels, _VERSION)
        file = self.folder / f"{hashlib.blake2b(repr(settings).encode(), digest_size=16).hexdigest()}.npy"
        for _ in range(2):
            with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or damaged: made anew
                frames = np.load(file, mmap_mode="r")
                if frames.dtype == np.uint8 and frames.ndim == 4 and len(frames) == len(clip):
                    return torch.from_numpy(frames[list(index)])
            self._keep(clip, file)
        return self._decode(clip, index)

    def _keep(self, clip: Clip, file: Path) -> None:
        """Decode the clip once, a few frames at a time, into a file that is then put in place in one step."""
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            shape = (len(clip), *self._decode(clip, [0]).shape[1:])
            temporary.unlink(missing_ok=True)
            with open(temporary, "xb") as out:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(out, header)  # type: ignore[arg-type]
                for first in range(0, len(clip), _AT_ONCE):
                    part = self._decode(clip, range(first, min(first + _AT_ONCE, len(clip))))
                    if part.shape[1:] != shape[1:]:
                        raise LongtailError(f"{clip.path} changes the size of its pictures: use no frame cache")
                    out.write(part.numpy().tobytes())
            os.replace(temporary, file)
        except OSError as error:
            raise LongtailError(f"the frame cache {file.parent} cannot be written ({error.strerror})") from None
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
