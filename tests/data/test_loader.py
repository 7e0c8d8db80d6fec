"""Laws of the loaders: what comes out, and that nothing but seed, epoch and position decides it."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from longtail.data import ImageData, Loader, Split, load_data, make_loader, suggest_workers
from longtail.data.loader import draw_key, of_dead_worker
from longtail.data.photos import read_image
from longtail.errors import LongtailError


def memory_data(channels: int = 3, size: int = 12, count: int = 40, **look: object) -> ImageData:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.arange(count) % 5)
    look = {"mean": (0.4, 0.5, 0.6)[:channels], "std": (0.2, 0.25, 0.3)[:channels]} | look
    return ImageData(name="x", class_names=list("abcde"), train=split, val=split, test=split, **look)  # type: ignore[arg-type]


def normalised(images: Tensor, data: ImageData) -> Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    return (images.float() / 255 - mean) / std


def batches(count: int, size: int = 16, seed: int = 0) -> list[Tensor]:
    return list(torch.randperm(count, generator=torch.Generator().manual_seed(seed)).split(size))


def epoch_of(loader: Loader, order: Iterable[Tensor], epoch: int = 0) -> list[tuple[Tensor, Tensor]]:
    return list(loader(order, epoch=epoch))


def same(one: list, other: list) -> bool:
    return all(a.equal(b) and s.equal(t) for (a, s), (b, t) in zip(one, other, strict=True))


@pytest.fixture
def photo_data(photos: Path) -> ImageData:
    return load_data(f"folder:{photos}")


@pytest.fixture(autouse=True)
def global_generators_are_left_alone():
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    yield
    assert torch.get_rng_state().equal(states[0])
    assert random.getstate() == states[1] and np.random.get_state()[1].tolist() == states[2]


@pytest.mark.parametrize("channels", [1, 3])
def test_evaluation_from_memory_is_the_normalised_image(channels: int) -> None:
    data = memory_data(channels, crop_padding=2, flip=True)
    loader = make_loader(data.test, data, image_size=None, train=False)
    for index, (images, target) in zip(batches(40), loader(batches(40)), strict=True):
        torch.testing.assert_close(images, normalised(data.test.images[index], data))
        assert target.equal(data.test.labels[index]) and images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
    plain = make_loader(data.test, data, image_size=12, train=False, channels_last=False)
    assert next(iter(plain(batches(40))))[0].is_contiguous()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding", [0, 2])
def test_training_from_memory_pads_crops_and_flips_each_image(padding: int, flip: bool) -> None:
    """Each image that comes out, against all crops and mirrors of the padded image that went in."""
    data = memory_data(crop_padding=padding, flip=flip)
    loader = make_loader(data.train, data, image_size=12, train=True, seed=5)
    seen = set()
    for epoch in range(6):
        for index, (images, _) in zip(batches(40), epoch_of(loader, batches(40), epoch), strict=True):
            for row, image in zip(index.tolist(), images, strict=True):
                source = F.pad(data.train.images[row], [padding] * 4)
                crops = {
                    (y, x, mirror): source[:, y : y + 12, x : x + 12].flip([-1] if mirror else [])
                    for y in range(2 * padding + 1)
                    for x in range(2 * padding + 1)
                    for mirror in ((False, True) if flip else (False,))
                }
                found = [k for k, crop in crops.items() if torch.allclose(image, normalised(crop, data), atol=1e-5)]
                assert len(found) == 1
                seen.add(found[0])
    assert len(seen) == (2 * padding + 1) ** 2 * (2 if flip else 1)  # every possible draw turned up


def test_images_are_resized_once_with_antialiasing_and_padding_grows_with_them() -> None:
    data = memory_data(size=8, crop_padding=1, flip=False)
    for size in (24, 4):
        loader = make_loader(data.test, data, image_size=size, train=False)
        images = torch.cat([images for images, _ in loader([torch.arange(40)])])
        expected = F.interpolate(data.test.images.float(), (size, size), mode="bilinear", antialias=True)
        assert images.shape == (40, 3, size, size)
        assert (images - normalised(expected, data)).abs().max() < 1 / (255 * 0.2)
    one = Split(torch.full((200, 3, 8, 8), 255, dtype=torch.uint8), torch.zeros(200, dtype=torch.long))
    images = next(iter(make_loader(one, data, image_size=24, train=True)([torch.arange(200)])))[0]
    black = (images[:, 0] < 0).sum((1, 2))  # padding of 3 pixels: a shift by (3, 3) shows 24 * 24 - 21 * 21 of them
    assert black.max() == 24 * 24 - 21 * 21 and black.min() == 0


@pytest.mark.parametrize("clips", [False, True])
def test_of_enlarged_images_no_more_are_there_than_a_batch(clips: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand images at 100 pixels would be 30 MB; memory grows with the batch, and the batches are the same."""
    data = memory_data(size=8, count=1000, crop_padding=1, flip=True)
    if clips:
        frames = data.train.images.view(250, 4, 3, 8, 8)
        split = Split(frames, torch.arange(250) % 5)
        data = dataclasses.replace(data, train=split, val=split, test=split)
    order = batches(len(data.train))[:4]

    def largest(train: bool) -> tuple[int, list]:
        asked, resize = [0], F.interpolate

        def noted(images: Tensor, **options: object) -> Tensor:
            asked.append(len(images))
            return resize(images, **options)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr("longtail.data.loader.F.interpolate", noted)
            loader = make_loader(data.train, data, image_size=100, train=train)
            found = epoch_of(loader, order)
            return max(asked), found

    for train in (False, True):
        most, small = largest(train)
        assert most > 16 * 4  # a small set is enlarged once
        with monkeypatch.context() as patch:
            patch.setattr("longtail.data.loader.CACHE_BYTES", 1 << 20)
            most, large = largest(train)
            assert most == 16 * (4 if clips else 1) and same(small, large)
            patch.setattr("longtail.data.loader._AT_ONCE", 100_000)
            most, piece = largest(train)
            assert most == 3 and same(small, piece)


def test_what_is_drawn_for_an_image_does_not_depend_on_those_beside_it(photo_data: ImageData) -> None:
    """Where a number is given for each image, as for views that are kept: in memory as in files."""
    for data in (memory_data(size=8, crop_padding=2, flip=True, policy="randaugment"), photo_data):
        count = min(20, len(data.train))
        numbers = [1000 + k for k in range(count)]
        options = {"image_size": 8, "train": True, "seed": 0}
        every = make_loader(data.train.subset(torch.arange(count)), data, draws=numbers, **options)
        images = torch.cat([images for images, _ in every([torch.arange(count)], epoch=2)])
        few = torch.tensor([3, 11, 7])
        some = make_loader(data.train.subset(few), data, draws=[numbers[k] for k in few], **options)
        assert images[few].equal(next(iter(some([torch.arange(3)], epoch=2)))[0])
        assert not images[few].equal(next(iter(some([torch.arange(3)], epoch=1)))[0])


def test_grey_images_are_repeated_for_a_model_of_colour(tmp_path: Path) -> None:
    data = memory_data(1)
    images, _ = next(iter(make_loader(data.test, data, image_size=12, train=False, channels=3)(batches(40))))
    assert images.shape == (16, 3, 12, 12) and images[:, 0].equal(images[:, 2])
    Image.new("RGB", (30, 20), (255, 0, 0)).save(tmp_path / "a.png")
    split = Split([str(tmp_path / "a.png")], torch.zeros(1, dtype=torch.long))
    images, _ = next(iter(make_loader(split, data, image_size=12, train=False)([torch.arange(1)])))
    assert images.shape == (1, 1, 12, 12)  # a file shown to a model of grey images becomes grey
    torch.testing.assert_close(images, normalised(torch.full((1, 1, 12, 12), 76), data))
    with pytest.raises(LongtailError, match="3 channels cannot be given as 1"):
        make_loader(memory_data(3).test, memory_data(3), image_size=12, train=False, channels=1)


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_only_seed_epoch_and_position_decide(kind: str, photo_data: ImageData) -> None:
    data = photo_data if kind == "files" else memory_data(crop_padding=2, flip=True)
    order = batches(40)

    def run(seed: int, epoch: int, before: int = 0) -> list:
        loader = make_loader(data.train, data, image_size=12, train=True, seed=seed)
        for _ in range(before):
            next(iter(loader(order, epoch=7)))  # abandoned in the middle
        return epoch_of(loader, order, epoch)

    first = run(0, 1)
    assert same(first, run(0, 1)) and same(first, run(0, 1, before=3))
    assert not same(first, run(1, 1)) and not same(first, run(0, 2))
    torch.manual_seed(99)
    assert same(first, run(0, 1))
    torch.manual_seed(0)


def test_keys_are_distinct_and_frozen() -> None:
    keys = {
        draw_key(seed, epoch, batch, i)
        for seed in range(4)
        for epoch in range(4)
        for batch in range(9)
        for i in range(99)
    }
    assert len(keys) == 4 * 4 * 9 * 99 and all(0 <= key < 2**63 for key in keys)
    assert draw_key(0, 1, 2, 3) == 8479124504904169328


@pytest.mark.parametrize("train", [True, False])
def test_the_cache_changes_no_number(photo_data: ImageData, monkeypatch: pytest.MonkeyPatch, train: bool) -> None:
    order = batches(len(photo_data.test))
    cached = make_loader(photo_data.test, photo_data, image_size=16, train=train)
    monkeypatch.setattr("longtail.data.loader.CACHE_BYTES", 0)
    uncached = make_loader(photo_data.test, photo_data, image_size=16, train=train)
    assert suggest_workers(photo_data.test, 16, cpus=99) == 8 and suggest_workers(photo_data.test, 16, cpus=1) == 1
    for epoch in (0, 1):
        assert same(epoch_of(cached, order, epoch), epoch_of(uncached, order, epoch))
    assert cached.loader.dataset.cache and uncached.loader.dataset.cache is None  # type: ignore[attr-defined]


def test_workers_give_the_same_batches_and_end_with_the_loader(photo_data: ImageData) -> None:
    order, before = batches(48), set(multiprocessing.active_children())  # of other tests
    alone = make_loader(photo_data.train, photo_data, image_size=16, train=True)
    loader = make_loader(photo_data.train, photo_data, image_size=16, train=True, workers=2)
    assert same(epoch_of(alone, order, 0), epoch_of(loader, order, 0))
    next(iter(loader(order, epoch=3)))
    assert same(epoch_of(alone, order, 1), epoch_of(loader, order, 1))
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) >= 2
    bad = Split([*photo_data.train.images[:5], "gone.jpg"], torch.zeros(6, dtype=torch.long))
    loader.plan.paths = bad.images  # type: ignore[attr-defined]
    with pytest.raises(LongtailError, match=r"^gone\.jpg does not exist$"):
        epoch_of(loader, [torch.arange(6)])
    loader.close()
    for process in workers:
        process.join(600)
        assert not process.is_alive()
    with pytest.raises(LongtailError, match="closed"):
        epoch_of(loader, order)


def test_a_worker_that_dies_is_one_clear_line_with_its_file(photo_data: ImageData, tmp_path: Path) -> None:
    """It opens a pipe that nobody writes into, and is killed while it waits there."""
    before = set(multiprocessing.active_children())
    os.mkfifo(tmp_path / "stuck.jpg")
    split = Split([str(photo_data.train.images[0]), str(tmp_path / "stuck.jpg")], torch.zeros(2, dtype=torch.long))
    loader = make_loader(split, photo_data, image_size=16, train=True, workers=1)

    def kill_while_reading() -> None:
        for _ in loader([torch.tensor([0]), torch.tensor([1])]):
            (worker,) = set(multiprocessing.active_children()) - before
            with open(tmp_path / "stuck.jpg", "wb"):  # waits until the worker has it open
                worker.kill()
                worker.join()

    # torch's signal handler may also raise in the consumer's own code, wherever the signal meets it
    with pytest.raises((LongtailError, RuntimeError)) as caught:
        kill_while_reading()
    error = caught.value if isinstance(caught.value, LongtailError) else of_dead_worker(caught.value)
    assert "has died while it read" in str(error) and "stuck.jpg: if" in str(error) and "--workers" in str(error)


def test_other_errors_are_of_no_worker() -> None:
    assert of_dead_worker(RuntimeError("shapes do not fit")) is None
    assert "(pid 1, 2) has died: " in str(of_dead_worker(RuntimeError("DataLoader worker (pid(s) 1, 2) exited")))


def test_a_file_that_breaks_while_training_is_named(photo_data: ImageData, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    split = Split([*photo_data.train.images[:3], str(tmp_path / "bad.jpg")], torch.zeros(4, dtype=torch.long))
    loader = make_loader(split, photo_data, image_size=16, train=True)
    with pytest.raises(LongtailError, match=r"bad\.jpg cannot be read as an image"):
        epoch_of(loader, [torch.tensor([0, 1]), torch.tensor([2, 3])])


def test_evaluation_of_files_sees_the_centre(tmp_path: Path, photo_data: ImageData) -> None:
    """Resize the shorter side to S / center_crop and cut the S x S centre: here in one step, with the same pixels."""
    from torchvision.transforms import v2

    path = str(sorted(photo_data.train.images, key=lambda file: -Path(file).stat().st_size)[0])
    loader = make_loader(
        Split([path], torch.zeros(1, dtype=torch.long)), photo_data, image_size=28, train=False, channels_last=False
    )
    images, _ = next(iter(loader([torch.arange(1)])))
    usual = v2.Compose([v2.Resize(32, antialias=True), v2.CenterCrop(28)])(read_image(path))
    assert (images[0] - normalised(usual, photo_data)).abs().mean() < 0.15


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1), (7, 300)])
@pytest.mark.parametrize("train", [True, False])
def test_images_of_any_shape_pass(tmp_path: Path, photo_data: ImageData, shape: tuple[int, int], train: bool) -> None:
    Image.new("L", shape, 100).save(tmp_path / "a.png")
    split = Split([str(tmp_path / "a.png")], torch.zeros(1, dtype=torch.long))
    images, target = next(
        iter(make_loader(split, photo_data, image_size=32, train=train)([torch.zeros(3, dtype=torch.long)]))
    )
    assert images.shape == (3, 3, 32, 32) and images.isfinite().all() and target.tolist() == [0, 0, 0]


def test_training_on_files_crops_flips_and_jitters(tmp_path: Path) -> None:
    """A picture that is dark on the left and bright on the right shows what was done to it."""
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None].repeat(64, 0).repeat(3, 2)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    split = Split([str(tmp_path / "a.png")], torch.zeros(1, dtype=torch.long))
    look = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "crop_scale": (0.25, 1.0)}
    order = [torch.zeros(200, dtype=torch.long)]

    def run(**more: object) -> Tensor:
        data = ImageData(name="x", class_names=["a"], train=split, val=split, test=split, **look, **more)  # type: ignore[arg-type]
        return next(iter(make_loader(split, data, image_size=16, train=True)(order)))[0]

    plain = run()
    rising = plain[:, 0, 8, -1] - plain[:, 0, 8, 0]
    assert (rising > 0.3).all() and rising.std() > 0.05 and rising.max() < 1  # crops of many widths, none mirrored
    mirrored = (run(flip=True)[:, 0, 8, -1] < plain[:, 0, 8, 8]).float().mean()
    assert 0.35 < mirrored < 0.65
    assert (run(color_jitter=0.4).mean((1, 2, 3)).std()) > plain.mean((1, 2, 3)).std() + 0.02


def test_empty_and_uneven_batches(photo_data: ImageData) -> None:
    data = memory_data(crop_padding=1, flip=True)
    for source, size in ((data, 12), (photo_data, 16)):
        loader = make_loader(source.train, source, image_size=size, train=True)
        shapes = [images.shape[0] for images, _ in loader([torch.arange(3), torch.arange(0), torch.arange(1)])]
        assert shapes == [3, 0, 1]
        assert epoch_of(loader, []) == []


def test_sizes_that_are_missing_or_wrong_are_told(photo_data: ImageData) -> None:
    with pytest.raises(LongtailError, match="give --image-size"):
        make_loader(photo_data.train, photo_data, image_size=None, train=True)
    with pytest.raises(LongtailError, match="image size 0"):
        make_loader(photo_data.train, photo_data, image_size=0, train=True)


def test_the_cache_is_bounded(photo_data: ImageData) -> None:
    assert suggest_workers(memory_data().train, 32, cpus=8) == 0
    assert suggest_workers(photo_data.train, 64, cpus=8) == 0
    million = Split([""] * 100_000, torch.zeros(100_000, dtype=torch.long))
    assert suggest_workers(million, 224, cpus=4) == 4
