"""Ten frames from a clip of 30 seconds against decoding it whole.

The clip is made here: H.264, 640 x 480 pixels, 30 frames a second, noise that moves over a gradient. Ours: opening,
finding the frames and reading ten of them, reduced to 128 pixels. Other: PyAV's loop over all frames as arrays, of
which ten are kept and reduced, as a reader without seeking does. Both are single-threaded and in turns, and it is
their processor time that counts.

How much there is to win depends on the distance of the key frames, for decoding begins at one: with one a second (as
cameras and editing programs write) few frames are decoded in vain; with x264's default of 250 frames, ten frames from
30 seconds touch every part of the clip. The second clip of four times the length shows that the cost does not grow.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from common import Row, alternate

FRAMES, HEIGHT, WIDTH, RATE, SHORTER = 10, 480, 640, 30, 128
REPEATS, CLOCK = 5, time.process_time


def benchmark() -> Iterator[Row]:
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for gop, target in ((30, 0.25), (250, None)):
            path = _clip(Path(folder) / f"{gop}.mp4", seconds=30, gop=gop)
            ours, other = alternate(lambda p=path: _ours(p), lambda p=path: _whole(p), repeats=REPEATS, clock=CLOCK)
            size = f"10 frames of 30 s, 640x480 H.264, key frame every {gop} frames"
            yield Row.of("video_decode_s", size, ours, other, target=target)
        short, long = (_clip(Path(folder) / f"{s}s.mp4", seconds=s, gop=30) for s in (30, 120))
        longer, shorter = alternate(lambda: _ours(long), lambda: _ours(short), repeats=REPEATS, clock=CLOCK)
        yield Row.of("video_length_s", "10 frames of 120 s against 10 of 30 s, both ours", longer, shorter, target=1.5)


def _clip(path: Path, *, seconds: int, gop: int) -> Path:
    import av
    import numpy as np

    noise = np.random.RandomState(0).randint(0, 60, (HEIGHT, WIDTH + RATE * 4, 3))
    gradient = np.linspace(0, 180, HEIGHT)[:, None, None]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"g": str(gop), "preset": "veryfast", "crf": "28"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for k in range(seconds * RATE):
            shift = k * 3 % (RATE * 4)
            picture = (gradient + noise[:, shift : shift + WIDTH]).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _ours(path: Path) -> Any:
    from longtail.data.frames import ClipReader

    return ClipReader(FRAMES, shorter=SHORTER)(str(path), random=False)


def _whole(path: Path) -> Any:
    import av
    import numpy as np
    import torch
    from torch.nn import functional as F

    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    middle = [(2 * i + 1) * len(frames) // (2 * FRAMES) for i in range(FRAMES)]
    clip = torch.from_numpy(np.stack([frames[k] for k in middle])).permute(0, 3, 1, 2)
    size = (SHORTER, WIDTH * SHORTER // HEIGHT)
    return F.interpolate(clip.float(), size=size, mode="bilinear", antialias=True).byte()
