"""The decoder gives the frames that a full decode gives, at the cost of those around them; damage is named."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.videos import full_decode, number_of, write_video
from longtail.data import video
from longtail.data.frames import ClipReader
from longtail.data.video import check_clip, open_clip, read_frames, sample_frames
from longtail.errors import LongtailError

REAL = {
    "R6llTwEh07w.mp4": 303, "RATRACE_wave_f_nm_np1_fr_goo_37.avi": 72, "SOX5yA1l24A.mp4": 332,
    "SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi": 74, "TrumanShow_wave_f_nm_np1_fr_med_26.avi": 48,
    "WUzgd7C1pWA.mp4": 327, "demo_demo.mp4": 280, "tests_data_test.mp4": 300,
    "hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": 83,
    "v_SoccerJuggling_g23_c01.avi": 240, "v_SoccerJuggling_g24_c01.avi": 251,
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_clips_give_the_frames_of_a_full_decode(test_data: Path, name: str) -> None:
    """DivX, Xvid and H.264; AVI with B-frames; one title is not UTF-8."""
    path = test_data / "video" / name
    whole, clip = full_decode(path), open_clip(str(path))
    assert len(clip) == len(whole) == REAL[name] and clip.missing == 0
    for index in (sample_frames(clip, 10, random=False), sample_frames(clip, 4, random=True), [len(clip) - 1, 0, 0]):
        assert read_frames(clip, index).equal(whole[index])
    reduced = read_frames(clip, [5], shorter=64)
    assert min(reduced.shape[-2:]) == 64
    usual = torch.nn.functional.interpolate(whole[5:6].float(), reduced.shape[-2:], mode="area")
    assert (reduced - usual).abs().mean() < 3
    assert check_clip(str(path)) is None


KINDS = {
    "h264": {"codec": "libx264"},
    "b-frames": {"codec": "libx264", "options": {"bf": "3", "b-pyramid": "normal", "x264-params": "scenecut=0"}},
    "open-gop": {"codec": "libx264", "options": {"bf": "2", "x264-params": "open-gop=1:scenecut=0"}, "gop": 10},
    "one-gop": {"codec": "libx264", "gop": 999},
    "mpeg4": {"codec": "mpeg4", "options": {"qscale": "2"}},
    "mpeg4-b": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mjpeg": {"codec": "mjpeg"},
}


def video_of(folder: Path, kind: str, extension: str = "mp4", frames: int = 61, **more: Any) -> Path:
    return write_video(folder / f"{kind}.{extension}", frames, **KINDS[kind] | more)


@pytest.mark.parametrize("extension", ["mp4", "avi", "mkv", "mov"])
@pytest.mark.parametrize("kind", ["h264", "b-frames", "open-gop", "one-gop", "mpeg4", "mpeg4-b"])
def test_every_frame_is_found_by_itself(tmp_path: Path, kind: str, extension: str) -> None:
    path = video_of(tmp_path, kind, extension, frames=31)
    whole, clip = full_decode(path), open_clip(str(path))
    assert [number_of(frame) for frame in whole] == list(range(31))
    assert len(clip) == 31
    for k in range(0, 31, 1 if extension == "mp4" else 4):
        assert read_frames(clip, [k]).equal(whole[k : k + 1]), k
    assert read_frames(clip, [29, 3, 14, 3]).equal(whole[[29, 3, 14, 3]])


@pytest.mark.parametrize(("extension", "codec"), [("mpg", "mpeg1video"), ("ts", "libx264"), ("webm", "libvpx")])
def test_other_containers(tmp_path: Path, extension: str, codec: str) -> None:
    path = write_video(tmp_path / f"a.{extension}", 25, codec=codec)
    whole, clip = full_decode(path), open_clip(str(path))
    assert len(clip) == len(whole)
    assert read_frames(clip, [0, 7, 24]).equal(whole[[0, 7, 24]])


class Counting:
    """A container that counts the packets that are taken from it."""

    taken = 0

    def __init__(self, container: Any) -> None:
        self.container = container

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def seek(self, *args: Any, **options: Any) -> None:
        self.container.seek(*args, **options)

    def demux(self, stream: Any) -> Iterator[Any]:
        for packet in self.container.demux(stream):
            Counting.taken += 1
            yield packet


@pytest.mark.parametrize("kind", ["h264", "b-frames", "mpeg4"])
def test_the_cost_is_that_of_the_frames_and_their_key_frames(tmp_path: Path, monkeypatch, kind: str) -> None:
    real = video._open
    cost = {}
    for frames in (100, 700):
        clip = open_clip(str(video_of(tmp_path, kind, frames=frames, gop=12)))
        index = sample_frames(clip, 10, random=False)
        monkeypatch.setattr(video, "_open", lambda path: (Counting((pair := real(path))[0]), pair[1]))
        Counting.taken = 0
        shown = read_frames(clip, index)
        monkeypatch.setattr(video, "_open", real)
        assert [number_of(frame) for frame in shown] == index
        cost[frames] = Counting.taken
    assert cost[700] <= 10 * (12 + 4) and cost[100] <= 10 * (12 + 4)


def test_frames_are_spread_over_equal_parts_of_time(tmp_path: Path) -> None:
    clip = open_clip(str(video_of(tmp_path, "h264", frames=100)))
    assert sample_frames(clip, 10, random=False) == [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]
    drawn = torch.tensor([sample_frames(clip, 10, random=True) for _ in range(400)])
    assert drawn.div(10, rounding_mode="floor").eq(torch.arange(10)).all()  # one of each part
    assert all(len(drawn[:, k].unique()) == 10 for k in range(10))  # any of it


def test_of_a_variable_frame_rate_time_counts_and_not_frames(tmp_path: Path) -> None:
    """Ten frames in the first second, then one a second."""
    times = [3 * k for k in range(10)] + [30 + 30 * k for k in range(9)]
    path = write_video(tmp_path / "a.mp4", 19, times=times, options={"bf": "2"})
    clip = open_clip(str(path))
    index = sample_frames(clip, 10, random=False)
    assert [number_of(frame) for frame in read_frames(clip, index)] == index
    # The last frame is shown as long as the median one, 0.1 or 1 s: parts of about 0.9 s.
    assert index[0] == 4 and index[1] == 10 and index == sorted(index) and index[-1] >= 17


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_short_clips_show_some_frames_more_than_once(tmp_path: Path, frames: int) -> None:
    clip = open_clip(str(video_of(tmp_path, "h264", frames=frames)))
    for random in (False, True):
        index = sample_frames(clip, 10, random=random)
        assert len(index) == 10 and index == sorted(index) and set(index) <= set(range(frames))
        assert [number_of(frame) for frame in read_frames(clip, index)] == index
    assert set(sample_frames(clip, 10, random=False)) == set(range(frames))


@pytest.mark.parametrize(
    ("matrix", "top_goes"),
    [((1, 0, 0, 1), "top"), ((0, 1, -1, 0), "right"), ((-1, 0, 0, -1), "bottom"), ((0, -1, 1, 0), "left")],
)
def test_a_clip_is_upright_as_its_file_says(tmp_path: Path, matrix: tuple[int, ...], top_goes: str) -> None:
    """As telephones write it: pixels as the sensor has them, and a matrix that takes (x, y) to where it is shown."""
    path = write_video(tmp_path / "a.mp4", 3)
    stored = full_decode(path)[0]
    content = path.read_bytes()
    start = content.index(b"tkhd") + 44
    assert struct.unpack(">9i", content[start : start + 36]) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    path.write_bytes(content[:start] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[start + 36 :])
    turns = {"top": 0, "left": 1, "bottom": 2, "right": 3}[top_goes]  # counter-clockwise
    assert read_frames(open_clip(str(path)), [0])[0].equal(stored.rot90(turns, (1, 2)))


def frames_in(folder: Path, count: int, sizes: list[tuple[int, int]] | None = None) -> Path:
    folder.mkdir(parents=True)
    for k in range(count):
        size = sizes[k] if sizes else (24, 16)
        Image.new("RGB", size, (k, k, k)).save(folder / f"frame_{k + 1}.png")
    return folder


def test_folders_of_frames_are_clips_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    clip = open_clip(str(frames_in(tmp_path / "a", 23)))
    assert len(clip) == 23
    shown = read_frames(clip, [0, 1, 9, 10, 22])
    assert shown[:, 0, 0, 0].tolist() == [0, 1, 9, 10, 22] and shown.shape == (5, 3, 16, 24)
    sizes = [(24, 16), (12, 8), (30, 30)]
    assert read_frames(open_clip(str(frames_in(tmp_path / "b", 3, sizes))), [0, 1, 2]).shape == (3, 3, 16, 24)
    assert read_frames(clip, [3], channels=1).shape == (1, 1, 16, 24)


def damaged(folder: Path) -> dict[str, str]:
    """Files that cannot be used, with what is to be said of each."""
    whole = video_of(folder, "h264", frames=60).read_bytes()
    fast = video_of(folder, "mjpeg", frames=60, container={"movflags": "faststart"}).read_bytes()
    avi = video_of(folder, "mjpeg", "avi", frames=60).read_bytes()
    (folder / "end-lost.mp4").write_bytes(whole[: len(whole) // 2])  # with it the index
    (folder / "cut.mp4").write_bytes(fast[: len(fast) * 2 // 3])
    (folder / "cut.avi").write_bytes(avi[: len(avi) // 2])
    (folder / "codec.mp4").write_bytes(whole.replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("I am no video\n" * 30)
    (folder / "nothing").mkdir()
    with video._av().open(str(folder / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = video._av().AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        out.mux([*stream.encode(frame), *stream.encode(None)])
    return {
        "end-lost.mp4": "cannot be read as a video",
        "cut.mp4": r"cut off: \d+ of its 60 frames are missing",
        "cut.avi": r"cut off: \d+ of its 60 frames are missing",
        "codec.mp4": "no decoder knows its pictures",
        "empty.mp4": "the file is empty",
        "text.mp4": "cannot be read as a video",
        "nothing": "a folder without images",
        "sound.mp4": "it has no pictures",
        "gone.mp4": "does not exist",
    }


def test_damage_is_one_clear_line_that_names_the_file(tmp_path: Path) -> None:
    for name, message in damaged(tmp_path).items():
        fault = check_clip(str(tmp_path / name))
        assert fault is not None and "\n" not in fault and fault.startswith(str(tmp_path / name)), name
        with pytest.raises(LongtailError, match=message):
            raise LongtailError(fault)
    assert check_clip(str(tmp_path / "h264.mp4"), decode=True) is None


@pytest.mark.parametrize("extension", ["mp4", "avi", "ts"])
def test_a_playlist_is_not_a_video_whatever_its_name(tmp_path: Path, extension: str) -> None:
    """FFmpeg would read the other files that it names."""
    other = video_of(tmp_path, "mpeg4", frames=5)
    for number, text in enumerate(
        (
            f"ffconcat version 1.0\nfile {other.name}\n",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other.name}\n#EXT-X-ENDLIST\n",
        )
    ):
        playlist = tmp_path / f"clip{number}.{extension}"
        playlist.write_text(text)
        with pytest.raises(LongtailError, match=rf"clip{number}.{extension} cannot be read as a video"):
            open_clip(str(playlist))


def test_what_is_left_of_a_clip_that_was_cut_off_can_be_decoded(tmp_path: Path) -> None:
    damaged(tmp_path)
    clip = open_clip(str(tmp_path / "cut.avi"))
    assert 20 < len(clip) < 40 and clip.missing in (60 - len(clip), 59 - len(clip))  # the last one is half there
    assert [number_of(frame) for frame in read_frames(clip, [0, 10, 20])] == [0, 10, 20]


def test_holes_are_found_by_a_full_check_and_named_when_they_are_met(tmp_path: Path) -> None:
    path = video_of(tmp_path, "mjpeg", frames=40)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle - 2500 : middle + 2500] = bytes(5000)
    path.write_bytes(content)
    assert check_clip(str(path)) is None  # the structure and the first frame are whole
    fault = check_clip(str(path), decode=True)
    assert fault is not None and "frames are damaged" in fault
    clip = open_clip(str(path))
    assert number_of(read_frames(clip, [3])[0]) == 3
    with pytest.raises(LongtailError, match=r"mjpeg\.mp4 cannot be read as a video \(frame \d+ of 40 is missing"):
        read_frames(clip, range(40))


# -- the reader and its cache ------------------------------------------------------------------------------------------
@pytest.fixture
def cached(tmp_path: Path) -> tuple[Path, Path]:
    return video_of(tmp_path, "b-frames", frames=70), tmp_path / "cache"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_cache_changes_no_pixel(cached: tuple[Path, Path], channels: int) -> None:
    path, cache = cached
    plain = ClipReader(6, shorter=24, channels=channels)
    kept = ClipReader(6, shorter=24, channels=channels, cache=cache)
    for seed in range(3):
        clips = []
        for reader in (plain, kept, ClipReader(6, shorter=24, channels=channels, cache=cache)):
            torch.manual_seed(seed)
            clips.append(reader(str(path), random=seed > 0))
        assert clips[0].shape == (6, channels, 24, 32)
        assert clips[0].equal(clips[1]) and clips[0].equal(clips[2])
    (file,) = cache.iterdir()
    before = file.stat().st_mtime_ns
    kept(str(path), random=True)
    assert file.stat().st_mtime_ns == before


def test_the_cache_knows_when_a_file_or_the_settings_changed(cached: tuple[Path, Path]) -> None:
    path, cache = cached
    ClipReader(4, shorter=24, cache=cache)(str(path), random=False)
    os.utime(path, ns=(0, 123456789))
    ClipReader(4, shorter=24, cache=cache)(str(path), random=False)
    assert len(list(cache.iterdir())) == 2
    ClipReader(4, shorter=16, cache=cache)(str(path), random=False)
    assert len(list(cache.iterdir())) == 3
    ClipReader(7, shorter=16, cache=cache)(str(path), random=True)  # other frames of the same ones
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "header"])
def test_a_damaged_cache_file_is_made_anew(cached: tuple[Path, Path], damage: str) -> None:
    path, cache = cached
    first = ClipReader(4, shorter=24, cache=cache)(str(path), random=False)
    (file,) = cache.iterdir()
    content = file.read_bytes()
    file.write_bytes({"empty": b"", "cut": content[:-100], "text": b"frames!", "header": content[:50]}[damage])
    assert ClipReader(4, shorter=24, cache=cache)(str(path), random=False).equal(first)
    assert file.read_bytes() == content and len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_one_clear_line(cached: tuple[Path, Path]) -> None:
    path, cache = cached
    cache.write_text("a file")
    with pytest.raises(LongtailError, match=r"frame cache .* cannot be written"):
        ClipReader(4, shorter=24, cache=cache)(str(path), random=False)
