"""RandAugment, TrivialAugment, mixup, cutmix: functions of seed, epoch and place; the shares of processes are one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from longtail.data import ImageData, Split, load_data, make_loader
from longtail.data.augment import MIXTURES, POLICIES
from longtail.data.mixing import Mixture, mix, places
from longtail.losses import SeesawLoss
from longtail.training import run as training
from longtail.training.config import RunConfig

KINDS = ("memory", "grey", "files", "clips")


def data_of(kind: str, photos: Path, **look: Any) -> ImageData:
    if kind == "files":
        return dataclasses.replace(load_data(f"folder:{photos}"), **look)
    shape = {"memory": (3, 8, 8), "grey": (1, 8, 8), "clips": (4, 3, 8, 8)}[kind]
    images = torch.randint(0, 256, (40, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    split = Split(images, torch.arange(40) % 5)
    own: dict[str, Any] = {"mean": (0.5,) * shape[-3], "std": (0.25,) * shape[-3], "crop_padding": 1, "flip": True}
    return ImageData(name="x", class_names=list("abcde"), train=split, val=None, test=split, **own | look)


def batches(data: ImageData, size: int) -> list[Tensor]:
    order = torch.randperm(min(len(data.train), 3 * size - 1), generator=torch.Generator().manual_seed(1))
    return list(order.split(size))


def drawn(data: ImageData, size: int, *, epoch: int = 0, **options: int) -> list[tuple[Any, ...]]:
    loader = make_loader(data.train, data, image_size=8, train=True, seed=5)
    return list(loader(batches(data, size), epoch=epoch, **options))


def parts(batch: tuple[Any, ...]) -> list[Tensor]:
    """Images, labels, labels mixed in, share."""
    images, labels, *rest = batch
    return [images, labels] + ([rest[0].target, torch.tensor(rest[0].share)] if rest else [])


@pytest.mark.parametrize("augment", [*POLICIES, *MIXTURES])
@pytest.mark.parametrize("kind", KINDS)
def test_seed_epoch_and_place_decide_alone(kind: str, augment: str, photos: Path) -> None:
    look = {"mix": augment} if augment in MIXTURES else {"policy": augment}
    data, before = data_of(kind, photos, **look), torch.get_rng_state()
    whole = drawn(data, 6)
    for batch, again in zip(whole, drawn(data, 6), strict=True):
        assert all(map(torch.equal, parts(batch), parts(again)))
    for batch, again in zip(whole[1:], drawn(data, 6, start=1), strict=True):
        assert all(map(torch.equal, parts(batch), parts(again)))
    assert not torch.equal(whole[0][0], drawn(data, 6, epoch=1)[0][0])
    assert not torch.equal(whole[0][0], drawn(dataclasses.replace(data, mix=None, policy=None), 6)[0][0])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_image_of_a_batch_has_a_draw_of_its_own_and_all_frames_of_a_clip_one(
    kind: str, policy: str, photos: Path
) -> None:
    """The same picture twelve times in a batch: it is changed in many ways, and a clip that stands still stands."""
    data = data_of(kind, photos, policy=policy, crop_padding=0, flip=False, crop_scale=None, color_jitter=0.0)
    same = data.train.subset(torch.zeros(12, dtype=torch.int64))
    if kind == "clips":
        still = same.images[:, :1].expand(-1, 4, -1, -1, -1).contiguous()  # type: ignore[index]
        same = Split(still, same.labels)
    loader = make_loader(same, data, image_size=8, train=True, seed=5)
    ((images, _),) = loader([torch.arange(12)])
    assert len({image.numpy().tobytes() for image in images}) >= 6
    if kind == "clips":
        assert all(image.equal(image[:, :1].expand_as(image)) for image in images)


def test_of_two_ways_to_mix_one_is_drawn_for_each_batch(photos: Path) -> None:
    data = data_of("memory", photos, mix=MIXTURES)
    every = [batch for epoch in range(6) for batch in drawn(data, 6, epoch=epoch)]
    single = {
        kind: [b for e in range(6) for b in drawn(dataclasses.replace(data, mix=kind), 6, epoch=e)] for kind in MIXTURES
    }
    ways = [
        {kind for kind in MIXTURES if all(map(torch.equal, parts(batch), parts(single[kind][k])))}
        for k, batch in enumerate(every)
    ]
    assert all(ways) and {"mixup"} in ways and {"cutmix"} in ways


@pytest.mark.parametrize("augment", [*POLICIES, *MIXTURES])
@pytest.mark.parametrize(("world", "size"), [(2, 8), (2, 7), (3, 8), (4, 5)])
def test_the_shares_of_processes_are_the_batch_of_one(augment: str, world: int, size: int, photos: Path) -> None:
    look = {"mix": augment} if augment in MIXTURES else {"policy": augment}
    for kind in ("memory", "files"):
        data = data_of(kind, photos, **look)
        shares = [drawn(data, size, rank=rank, world=world) for rank in range(world)]
        for number, batch in enumerate(drawn(data, size)):
            for rank in range(world):
                for own, all_of_it in zip(parts(shares[rank][number]), parts(batch), strict=True):
                    assert torch.equal(own, all_of_it[rank::world] if all_of_it.ndim else all_of_it)


@pytest.mark.parametrize("kind", ["memory", "files", "clips"])
@pytest.mark.parametrize("augment", MIXTURES)
def test_a_mixed_image_is_made_of_two_that_would_have_been_there(kind: str, augment: str, photos: Path) -> None:
    """Of itself and the one half a batch further on, most of it of itself, its label its own."""
    data = data_of(kind, photos, mix=augment)
    shares = []
    for mixed, plain in zip(drawn(data, 7), drawn(dataclasses.replace(data, mix=None), 7), strict=True):
        images, labels, mixture = mixed
        size = len(labels)
        other = plain[0].roll(-(size // 2), 0)
        assert torch.equal(labels, plain[1])
        assert torch.equal(mixture.target, plain[1].roll(-(size // 2)))
        assert 0.5 <= mixture.share <= 1
        shares.append(mixture.share)
        if augment == "mixup":
            torch.testing.assert_close(images, mixture.share * plain[0] + (1 - mixture.share) * other)
        else:
            own = images == plain[0]
            assert bool((own | (images == other)).all())
            differ = plain[0] != other
            share = own[differ].float().mean()  # pixels that are equal in both tell nothing
            assert abs(float(share) - mixture.share) < 0.15
    assert len(set(shares)) > 1


def test_places_are_ones_own_and_the_partners_that_others_have() -> None:
    for size in range(1, 13):
        for world in range(1, min(size, 5) + 1):
            for rank in range(world):
                needed, partner = places(size, rank=rank, world=world, mixed=True)
                own = list(range(rank, size, world))
                assert needed[: len(own)].tolist() == own and len(set(needed.tolist())) == len(needed)
                assert needed[partner].tolist() == [(k + size // 2) % size for k in own]
                if (size // 2) % world == 0 and size % 2 == 0:
                    assert len(needed) == len(own)  # nothing is read twice


@pytest.mark.parametrize("augment", MIXTURES)
def test_over_many_batches_all_shares_occur_and_the_first_has_at_least_half(augment: str) -> None:
    images, labels = torch.randn(2, 1, 16, 16), torch.tensor([0, 1])
    shares = [mix(images, labels, torch.tensor([1, 0]), augment, key)[2].share for key in range(300)]
    assert min(shares) >= 0.5 and max(shares) > 0.95 and min(shares) < 0.6


def test_the_loss_is_the_sum_of_both_for_any_criterion_and_seesaw_counts_each() -> None:
    logits, first, other = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 1, 0]), torch.tensor([3, 1, 0, 0, 2, 0])
    mixture = Mixture(other, 0.7)
    soft = 0.7 * F.one_hot(first, 4) + 0.3 * F.one_hot(other, 4)
    torch.testing.assert_close(mixture.loss(F.cross_entropy, logits, first), F.cross_entropy(logits, soft))
    seesaw = SeesawLoss(4)
    mixture.loss(seesaw, logits, first)
    assert seesaw.counts.tolist() == torch.bincount(torch.cat([first, other])).tolist()


def test_difficulty_and_hard_instances_count_the_labels_that_the_images_have(tmp_path: Path) -> None:
    options = {"data": "digits", "model": "lenet5-classic", "epochs": 2, "device": "cpu", "lr": 0.01}
    options |= {"method": "focal", "batch_size": 64}
    counts = {}
    for name in (None, "cutmix"):
        training.train(RunConfig(**options, augment=name), tmp_path / str(name))
        rows = (tmp_path / str(name) / "hard.csv").read_text().splitlines()[1:]
        counts[name] = [row.split(",")[:3] for row in rows]
    assert counts[None] == counts["cutmix"]
