"""Video files made for tests: each frame shows its own number, so that a decoded one can be told."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

__all__ = ["full_decode", "number_of", "write_video"]


def write_video(
    path: Path,
    frames: int,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (48, 64),
    gop: int = 12,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """A video whose frame k is black and white columns that spell k in binary.

    Args:
        path: The file; its extension decides the container.
        frames: Number of frames.
        codec: Encoder.
        size: Height and width.
        gop: Frames from one key frame to the next.
        times: When each frame is shown, in 1/30 s; default: one after the other.
        options: Of the encoder.
        container: Of the container.
    """
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=30, options={"g": str(gop)} | (options or {}))
        stream.height, stream.width, stream.pix_fmt = *size, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 30)
        for k in range(frames):
            bits = np.array([(k >> b) & 1 for b in range(16)], np.uint8) * 255
            picture = np.repeat(bits, size[1] // 16)[None, :, None].repeat(size[0], 0).repeat(3, 2)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = (k if times is None else times[k]), Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def number_of(frame: Tensor) -> int:
    """The number that a frame ``[C, H, W]`` of `write_video` shows."""
    columns = frame.float().mean((0, 1)).view(16, -1).mean(1) > 128
    return sum(1 << b for b, bit in enumerate(columns.tolist()) if bit)


def full_decode(path: Path) -> Tensor:
    """All frames of a video, uint8 ``[F, 3, H, W]``, as PyAV gives them from the first to the last."""
    with av.open(str(path), metadata_errors="ignore") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
