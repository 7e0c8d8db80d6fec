"""The order of an epoch and its batches: the same on all processes, another one every epoch, nothing lost."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from longtail.data import make_loader
from longtail.data.base import ImageData, Split
from longtail.errors import LongtailError
from longtail.samplers import ClassWeightedSampler
from longtail.training.order import cut_batches, epoch_order, seed_of


@given(size=st.integers(1, 500), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000))
def test_without_a_sampler_every_sample_comes_once(size, seed, epoch):
    order = epoch_order(None, size, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(size))
    assert torch.equal(order, epoch_order(None, size, seed=seed, epoch=epoch))


def test_epochs_and_seeds_differ():
    orders = {(s, e): tuple(epoch_order(None, 50, seed=s, epoch=e).tolist()) for s in range(5) for e in range(5)}
    assert len(set(orders.values())) == 25


def test_the_global_generator_has_no_say():
    first = epoch_order(None, 100, seed=1, epoch=2)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(first, epoch_order(None, 100, seed=1, epoch=2))
    assert torch.equal(state, torch.get_rng_state())


def test_a_sampler_is_told_the_epoch_and_gives_its_own_order():
    sampler = ClassWeightedSampler([0] * 90 + [1] * 10, torch.tensor([1.0, 1.0]), seed=3)
    first, second = (epoch_order(sampler, 100, seed=0, epoch=e) for e in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, epoch_order(sampler, 100, seed=0, epoch=0))
    assert epoch_order([4, 2, 2], 100, seed=0, epoch=5).tolist() == [4, 2, 2]


@given(size=st.integers(1, 300), batch=st.integers(1, 64), world=st.integers(1, 4))
def test_batches_are_the_order_and_their_strides_are_the_batches(size, batch, world):
    assume(min(size, batch) >= world)
    order = torch.randperm(size)
    batches = cut_batches(order, batch, world=world)
    kept = torch.cat(batches)
    assert torch.equal(kept, order[: len(kept)])
    assert size - len(kept) < 2 * world  # only a last batch of less than two samples a process is left out
    assert size - len(kept) < batch
    for one in batches:
        shares = [one[rank::world] for rank in range(world)]
        assert min(map(len, shares)) >= 1
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert sorted(torch.cat(shares).tolist()) == sorted(one.tolist())
        assert [int(shares[i % world][i // world]) for i in range(len(one))] == one.tolist()


@pytest.mark.parametrize(("size", "batch"), [(1, 8), (100, 1)])
def test_too_few_for_all_processes(size, batch):
    with pytest.raises(LongtailError, match="cannot be shared by 2 processes"):
        cut_batches(torch.arange(size), batch, world=2)


def test_seeds_depend_on_every_part():
    parts = [("a",), ("a", 0), ("a", 1), ("a", 0, 1), ("a", 1, 0), ("b", 0), ("a", 10), ("a", 1, 0, 0)]
    seeds = [seed_of(*p) for p in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= s < 2**63 for s in seeds)


def images(in_memory: bool, folder) -> ImageData:
    pixels = torch.randint(0, 256, (30, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source: torch.Tensor | list[str] = pixels
    if not in_memory:
        source = [str(folder / f"{i}.png") for i in range(30)]
        for path, image in zip(source, pixels, strict=True):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    split = Split(source, torch.arange(30) % 3)
    return ImageData(
        name="x", class_names=["a", "b", "c"], train=split, val=split, test=split, crop_padding=2, flip=True
    )


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_augment_their_shares_as_one_does_the_whole(in_memory, world, tmp_path):
    data = images(in_memory, tmp_path)
    batches = cut_batches(epoch_order(None, 30, seed=0, epoch=4), 11, world=world)

    def load(rank: int, world: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        loader = make_loader(data.train, data, image_size=12, train=True, seed=5)
        return list(loader(batches, epoch=4, rank=rank, world=world))

    whole = load(0, 1)
    shares = [load(rank, world) for rank in range(world)]
    for i, (pixels, labels) in enumerate(whole):
        for rank in range(world):
            assert torch.equal(shares[rank][i][0], pixels[rank::world])
            assert torch.equal(shares[rank][i][1], labels[rank::world])
