"""Frames of clips: video files, decoded with PyAV from the nearest key frame, and folders of extracted frames.

The packets of a file, read without decoding, tell when each frame is shown and where decoding may begin. So the frames
that are wanted cost what lies between them and their key frames, however long the clip is. Files whose time stamps say
nothing about the order (AVI with B-frames) are decoded from their beginning, and frames are counted.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from longtail.data.photos import check_images, is_image, read_image
from longtail.data.series import frame_series
from longtail.errors import LongtailError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = [
    "EXTENSIONS",
    "Clip",
    "check_clip",
    "frame_files",
    "image_names",
    "is_video",
    "open_clip",
    "read_frames",
    "sample_frames",
]

EXTENSIONS = frozenset(
    ".3gp .asf .avi .divx .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()
)
_CONTAINERS = {
    "format_whitelist": "3gp,asf,avi,flv,matroska,mov,mp4,mpeg,mpegts,mpegvideo,ogg,webm",
    "protocol_whitelist": "file",
}
"""What FFmpeg may take a file for. Not a playlist: that would read whatever other files it names."""


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """Where the frames of a clip are.

    Args:
        path: Video file, or folder of frames.
        times: When each frame is shown, ascending, in units of its own, int64 ``[F]``.
        starts: Frames that decoding may begin with, as (time shown, time decoded); empty: only the first.
        files: The frames' files, if the clip is a folder.
        missing: Frames that the file announces and does not hold: it was cut off.
    """

    path: str
    times: np.ndarray
    starts: Sequence[tuple[int, int]] = ()
    files: Sequence[str] = ()
    missing: int = 0

    def __len__(self) -> int:
        return len(self.times)


def is_video(name: str) -> bool:
    """Whether a file name is visible and ends like a video, in any case."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def image_names(folder: str | Path) -> list[str]:
    """The names of the images in a folder; none if it holds none or is no folder."""
    try:
        return [entry.name for entry in os.scandir(folder) if is_image(entry.name)]
    except (OSError, ValueError):  # no such folder, or no name that a folder can have
        return []


def frame_files(folder: str | Path) -> list[str]:
    """The frames in a folder, ``frame_2`` before ``frame_10``; none if it holds no image or is no folder.

    Raises:
        LongtailError: it holds several series of images, any of which could be the frames.
    """
    names = image_names(folder)
    series = frame_series(names)
    if names and not series.frames:
        raise LongtailError(
            f"{folder} holds {len(series.others)} series of images ({', '.join(list(series.others)[:5])}), and which "
            "of them are the frames is not clear: keep one in the folder, or call it img_*"
        )
    return [os.path.join(folder, name) for name in series.frames]


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise LongtailError("reading video files needs PyAV: pip install 'longtail[video]'") from None
    return av


def _fault(path: str, reason: object) -> LongtailError:
    reason = " ".join(str(reason).split()).replace(f": '{path}'", "") or type(reason).__name__
    return LongtailError(f"{path} cannot be read as a video ({reason}): repair or remove it")


def _open(path: str) -> Any:
    """The container and its first video stream."""
    av = _av()
    if not os.path.isfile(path):
        raise LongtailError(f"{path} does not exist")
    if os.path.getsize(path) == 0:
        raise _fault(path, "the file is empty")
    try:
        # Titles in any encoding are of no interest here.
        container = av.open(path, metadata_errors="ignore", options=dict(_CONTAINERS))
    except (av.FFmpegError, ValueError, OSError) as error:
        raise _fault(path, getattr(error, "strerror", None) or error) from None
    if not container.streams.video:
        container.close()
        raise _fault(path, "it has no pictures")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        container.close()
        raise _fault(path, "no decoder knows its pictures")
    stream.codec_context.thread_count = 1  # worker processes share the cores
    return container, stream


def open_clip(path: str) -> Clip:
    """Find the frames of a clip.

    Args:
        path: A video file, or a folder of images.

    Raises:
        LongtailError: missing, empty, not a video, or without a frame.
    """
    if os.path.isdir(path):
        files = frame_files(path)
        if not files:
            raise LongtailError(f"{path} is a folder without images: a clip is a video file or a folder of frames")
        return Clip(path, np.arange(len(files)), files=files)
    av = _av()
    container, stream = _open(path)
    with container:
        try:
            packets = [(p.pts, p.dts, p.is_keyframe, p.is_discard) for p in container.demux(stream) if p.size]
        except av.FFmpegError as error:
            raise _fault(path, error.strerror) from None
        missing = max(0, stream.frames - len(packets))
        shown = [pts for pts, _, _, discard in packets if pts is not None and not discard]
        starts = sorted((pts, pts if dts is None else dts) for pts, dts, key, _ in packets if key and pts is not None)
        known = len(shown) == sum(not discard for *_, discard in packets) and len(set(shown)) == len(shown)
        # AVI has no times of display: they are told from the order of the packets, wrongly where B-frames change it.
        ordered = "avi" not in container.format.name or all(pts == dts for pts, dts, *_ in packets)
        if known and ordered and starts:
            times = np.array(sorted(t for t in shown if t >= starts[0][0]), dtype=np.int64)
            return Clip(path, times, starts=starts, missing=missing)
    count = sum(1 for _ in _decoded(path))
    if not count:
        raise _fault(path, "no frame of it can be decoded")
    return Clip(path, np.arange(count), missing=missing)


def sample_frames(clip: Clip, frames: int, *, random: bool) -> list[int]:
    """Frames that stand for a clip: it is cut into ``frames`` parts of equal time, and each gives one frame.

    Args:
        clip: The clip; one of fewer frames gives some of them more than once.
        frames: T.
        random: Any moment of each part, drawn from torch's global generator; otherwise its middle.

    Returns:
        T indices of frames, ascending.
    """
    times = clip.times.astype(np.float64)
    span = times[-1] - times[0] + (np.median(np.diff(times)) if len(times) > 1 else 1)
    inside = torch.rand(frames, dtype=torch.float64).numpy() if random else np.full(frames, 0.5)
    moments = times[0] + span * (np.arange(frames) + inside) / frames
    return (np.searchsorted(times, moments, side="right") - 1).tolist()


def _reduced(height: int, width: int, shorter: int | None) -> tuple[int, int]:
    scale = 1.0 if shorter is None else min(1.0, shorter / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _pixels(frame: VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """RGB ``[H, W, 3]``, upright as the file says."""
    height, width = size
    pixels = frame.to_ndarray(format="rgb24", height=height, width=width, interpolation="AREA")
    return np.rot90(pixels, round(getattr(frame, "rotation", 0) / 90))


def _decoded(path: str) -> Iterator[VideoFrame]:
    """All frames from the first, in order; damaged packets are passed over."""
    av = _av()
    container, stream = _open(path)
    with container:
        try:
            for packet in container.demux(stream):
                try:
                    yield from packet.decode()
                except av.FFmpegError:
                    continue
        except av.FFmpegError:
            return


def _packets_from(container: Any, stream: Any, start: tuple[int, int]) -> Iterator[Any]:
    """Packets from the key frame ``start``, or one before it; none if it cannot be found."""
    for time in start:  # formats differ in which of its two times they look for
        container.seek(time, stream=stream)
        packets = container.demux(stream)
        first = next(packets, None)
        if first is not None and first.pts is not None and first.pts <= start[0]:
            return itertools.chain([first], packets)
    return iter(())


def _sought(clip: Clip, wanted: set[int]) -> Iterator[VideoFrame]:
    """The frames shown at the ``wanted`` times, ascending; ends early where a file is not what its packets say."""
    av = _av()
    container, stream = _open(clip.path)
    context, starts = stream.codec_context, [time for time, _ in clip.starts]
    left, at = sorted(wanted), -1
    with container:
        while left:
            start = bisect.bisect_right(starts, left[0]) - 1
            if start <= at:  # it should have come
                return
            at = start
            for packet in _packets_from(container, stream, clip.starts[at]) if at else container.demux(stream):
                # What no other frame refers to need not be decoded, unless it is wanted itself.
                context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in wanted else "NONREF"
                try:
                    shown = packet.decode()
                except av.FFmpegError:
                    continue
                for frame in shown:
                    if left and frame.pts == left[0]:
                        left.pop(0)
                        yield frame
                if not left or bisect.bisect_right(starts, left[0]) - 1 > at:
                    break
                if shown and shown[-1].pts is not None and shown[-1].pts > left[0]:
                    return


def read_frames(
    clip: Clip, index: Sequence[int], *, shorter: int | None = None, channels: int = 3, bit_depth: int | None = None
) -> Tensor:
    """Decode some frames of a clip.

    Args:
        clip: From `open_clip`.
        index: Which frames, in any order, the same one as often as you like.
        shorter: Reduce frames whose shorter side is larger to this many pixels. None: as they are.
        channels: 3 for colour, 1 for grey.
        bit_depth: As in `longtail.data.read_image`, of frames that are image files.

    Returns:
        uint8 ``[len(index), channels, H, W]``; all of the size of the clip's first frame that was read.

    Raises:
        LongtailError: the file is damaged.
    """
    wanted = sorted(set(index))
    if clip.files:
        found = {k: read_image(clip.files[k], channels=channels, shorter=shorter, bit_depth=bit_depth) for k in wanted}
        first = found[wanted[0]]
        for k, frame in found.items():
            if frame.shape != first.shape:
                found[k] = _resized(frame, first.shape[-2:])
        return torch.stack([found[k] for k in index])
    av = _av()
    try:
        frames = _frames_of(clip, wanted, shorter)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise _fault(clip.path, getattr(error, "strerror", None) or error) from None
    stack = torch.from_numpy(np.stack([frames[k] for k in index])).permute(0, 3, 1, 2)
    return _grey(stack) if channels == 1 else stack.contiguous()


def _frames_of(clip: Clip, wanted: list[int], shorter: int | None) -> dict[int, np.ndarray]:
    found: dict[int, np.ndarray] = {}
    size: tuple[int, int] | None = None
    if clip.starts:
        times = [int(clip.times[k]) for k in wanted]
        for k, frame in zip(wanted, _sought(clip, set(times)), strict=False):
            size = size or _reduced(frame.height, frame.width, shorter)
            found[k] = _pixels(frame, size)
    if len(found) == len(wanted):
        return found
    found, size = {}, None
    for k, frame in enumerate(_decoded(clip.path)):
        if k in wanted:
            size = size or _reduced(frame.height, frame.width, shorter)
            found[k] = _pixels(frame, size)
        if len(found) == len(wanted):
            return found
    raise ValueError(f"frame {next(k for k in wanted if k not in found) + 1} of {len(clip)} is missing or damaged")


def _resized(frame: Tensor, size: Sequence[int]) -> Tensor:
    resized = torch.nn.functional.interpolate(frame[None].float(), size=tuple(size), mode="bilinear", antialias=True)
    return resized[0].round_().clamp_(0, 255).byte()


def _grey(frames: Tensor) -> Tensor:
    weight = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (frames * weight).sum(1, keepdim=True).round_().clamp_(0, 255).byte()


def check_clip(path: str, *, decode: bool = False) -> str | None:
    """What is wrong with a clip; None: nothing.

    Args:
        path: Video file or folder of frames.
        decode: Decode every frame; otherwise a video's structure and its first frame, or that frames look whole.

    Raises:
        LongtailError: PyAV is missing, so that nothing can be said of a video file.
    """
    if not os.path.isdir(path):
        _av()
    try:
        clip = open_clip(path)
        if clip.missing:
            raise _fault(path, f"it is cut off: {clip.missing} of its {len(clip) + clip.missing} frames are missing")
        if clip.files:
            check_images(clip.files, decode=decode)
        elif not decode:
            read_frames(clip, [0], shorter=32)
        elif (count := sum(1 for _ in _decoded(path))) < len(clip):
            raise _fault(path, f"{len(clip) - count} of its {len(clip)} frames are damaged")
    except LongtailError as error:
        return str(error)
    return None
