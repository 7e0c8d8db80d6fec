"""Features are found by the content of a picture alone, and a file of them is whole or absent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from longtail.data.base import Split
from longtail.errors import LongtailError
from longtail.features.store import FeatureStore, digests_of


def pictures(folder: Path, number: int = 6) -> Split:
    folder.mkdir(exist_ok=True)
    draw = torch.Generator().manual_seed(0)
    files = []
    for i in range(number):
        pixels = torch.randint(256, (8, 8, 3), generator=draw, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / f"{i}.png")
        files.append(str(folder / f"{i}.png"))
    return Split(files, torch.zeros(number, dtype=torch.int64))


def rows_of(store: FeatureStore, split: Split) -> Tensor:
    """Features that tell the file's mean pixel."""

    def compute(missing: Sequence[int]) -> Iterator[tuple[Sequence[int], Tensor]]:
        for place in missing:
            pixels = torch.frombuffer(bytearray(Image.open(str(split.images[place])).tobytes()), dtype=torch.uint8)
            yield [place], pixels.float().mean().reshape(1, 1).expand(1, 3) / 256

    return store.rows(digests_of(split), compute)


def make(folder: Path | None, note: list[str] | None = None, **about: object) -> FeatureStore:
    return FeatureStore(folder, {"network": "mean"} | about, (note if note is not None else []).append)


def test_a_second_store_computes_nothing(tmp_path: Path) -> None:
    split = pictures(tmp_path / "photos")
    first, second = make(tmp_path / "kept"), make(tmp_path / "kept")
    assert torch.equal(rows_of(first, split), rows_of(second, split))
    assert (first.computed, second.computed) == (6, 0)


def test_a_moved_file_is_found_and_an_edited_one_computed(tmp_path: Path) -> None:
    split = pictures(tmp_path / "photos")
    before = rows_of(make(tmp_path / "kept"), split)
    shutil.move(split.images[0], tmp_path / "photos" / "other.png")
    moved = Split([str(tmp_path / "photos" / "other.png"), *split.images[1:]], split.labels)
    assert torch.equal(rows_of(store := make(tmp_path / "kept"), moved), before) and store.computed == 0
    Image.new("RGB", (8, 8), (255, 255, 255)).save(split.images[1])
    rows = rows_of(store := make(tmp_path / "kept"), moved)
    assert store.computed == 1 and rows[1, 0] > 0.99 and torch.equal(rows[2:], before[2:])


def test_an_edited_file_of_equal_size_and_time_is_computed_by_another_process(tmp_path: Path) -> None:
    split = pictures(tmp_path / "photos", 2)
    first, second = (Path(str(file)) for file in split.images)
    for file in (first, second):
        file.write_bytes(file.read_bytes().ljust(400, b"\0"))
    before = digests_of(split)
    about = first.stat()
    first.write_bytes(second.read_bytes())
    os.utime(first, ns=(about.st_atime_ns, about.st_mtime_ns))
    code = (
        "import sys, torch; from longtail.data.base import Split; from longtail.features.store import digests_of; "
        "print(digests_of(Split(sys.argv[1:], torch.zeros(2, dtype=torch.int64)))[0].hex())"
    )
    told = subprocess.run([sys.executable, "-c", code, first, second], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == before[1].hex() != before[0].hex()


def test_other_weights_or_another_size_are_other_features(tmp_path: Path) -> None:
    split = pictures(tmp_path / "photos")
    rows_of(make(tmp_path / "kept", weights="a", image_size=64), split)
    for about in ({"weights": "b", "image_size": 64}, {"weights": "a", "image_size": 96}):
        rows_of(store := make(tmp_path / "kept", **about), split)
        assert store.computed == 6


@pytest.mark.parametrize("place", [20, -18])
def test_a_damaged_file_is_told_and_computed_anew(tmp_path: Path, place: int) -> None:
    split = pictures(tmp_path / "photos")
    wanted = rows_of(make(tmp_path / "kept"), split)
    file = next((tmp_path / "kept").glob("*/rows/*.safetensors"))
    content = bytearray(file.read_bytes())
    content[place] ^= 0xFF
    file.write_bytes(content)
    rows = rows_of(store := make(tmp_path / "kept", told := []), split)
    assert torch.equal(rows, wanted)
    assert store.computed == 1 and "is damaged" in told[0] and file.name in told[0]


def test_the_same_picture_twice_is_computed_once(tmp_path: Path) -> None:
    split = pictures(tmp_path / "photos", 2)
    shutil.copy(str(split.images[0]), tmp_path / "photos" / "copy.png")
    twice = Split([*split.images, str(tmp_path / "photos" / "copy.png")], torch.zeros(3, dtype=torch.int64))
    rows = rows_of(store := make(tmp_path / "kept"), twice)
    assert torch.equal(rows[0], rows[2]) and store.computed == 2


def test_where_nothing_can_be_written_features_are_computed_all_the_same(tmp_path: Path) -> None:
    split = pictures(tmp_path / "photos")
    (tmp_path / "file").write_text("no folder")
    rows = rows_of(make(tmp_path / "file" / "kept", told := []), split)
    assert rows.shape == (6, 3) and "are not kept" in told[0]


def test_two_processes_share_one_folder(tmp_path: Path) -> None:
    split = pictures(tmp_path / "photos", 24)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_store import *; "
        "from pathlib import Path; p = Path(sys.argv[2]); "
        "split = Split(sorted(map(str, (p / 'photos').glob('*.png'))), torch.zeros(24, dtype=torch.int64)); "
        "store = make(p / 'kept'); print(store.computed, rows_of(store, split).float().sum().item(), store.computed)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate()[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert told[0][1] == told[1][1] and sorted(line[2] for line in told) == ["0", "24"]
    assert not list((tmp_path / "kept").rglob("*.tmp")) and len(split) == 24


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(LongtailError, match=r"gone\.png cannot be read"):
        digests_of(Split([str(tmp_path / "gone.png")], torch.zeros(1, dtype=torch.int64)))
