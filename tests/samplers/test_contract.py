"""What every sampler keeps to: lengths, seeds, epochs, shards, loaders, clear errors."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from longtail.errors import LongtailError
from longtail.samplers import (
    ClassAwareSampler,
    ClassWeightedSampler,
    EpochSampler,
    PowerLawSampler,
    ProgressiveSampler,
    RepeatFactorSampler,
)

LABELS = torch.tensor([0] * 40 + [2] * 9 + [3] * 2 + [0] * 20)
WITH_LABELS: dict[str, Callable[..., EpochSampler]] = {
    "class-weighted": lambda labels=LABELS, **kw: ClassWeightedSampler(labels, [1, 1, 4, 2], **kw),
    "power-law": lambda labels=LABELS, **kw: PowerLawSampler(labels, **kw),
    "progressive": lambda labels=LABELS, **kw: ProgressiveSampler(labels, epochs=5, **kw),
    "class-aware": lambda labels=LABELS, **kw: ClassAwareSampler(labels, **kw),
    "class-aware-4": lambda labels=LABELS, **kw: ClassAwareSampler(labels, samples_per_class=4, **kw),
}
ALL = WITH_LABELS | {"repeat-factor": lambda **kw: RepeatFactorSampler([[int(c)] for c in LABELS], threshold=0.3, **kw)}
every_sampler = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())
every_sampler_with_labels = pytest.mark.parametrize("make", WITH_LABELS.values(), ids=WITH_LABELS.keys())


@every_sampler
def test_yields_as_many_python_ints_as_its_length(make: Callable[..., EpochSampler]) -> None:
    indices = list(make())
    assert len(indices) == len(make())
    assert all(type(i) is int and 0 <= i < len(LABELS) for i in indices)


@every_sampler
def test_tensors_and_iteration_agree(make: Callable[..., EpochSampler]) -> None:
    sampler = make(seed=5)
    assert sampler.indices().dtype == torch.int64
    assert sampler.indices().tolist() == list(sampler) == torch.cat(list(sampler.iter_chunks())).tolist()


@every_sampler
def test_seed_and_epoch_decide_the_order(make: Callable[..., EpochSampler]) -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        sampler = make(seed=seed)
        sampler.set_epoch(epoch)
        torch.rand(3)  # the global generator plays no part
        return tuple(sampler)

    grid = [(seed, epoch) for seed in (0, 1, 2, -7, 2**40) for epoch in (0, 1, 2)]
    assert order(1, 2) == order(1, 2)
    assert len({order(*pair) for pair in grid}) == len(
        grid
    )  # nor do (0, 1) and (1, 0) share one, as seed + epoch would


@every_sampler
def test_iterations_are_epochs_until_one_is_told(make: Callable[..., EpochSampler]) -> None:
    """Whoever forgets set_epoch gets another order each time, and the same ones as somebody who does not forget it."""

    def told(epoch: int) -> list[int]:
        sampler = make(seed=3)
        sampler.set_epoch(epoch)
        return list(sampler)

    sampler = make(seed=3)
    sampler.indices()  # looking at an order is no iteration
    assert [list(sampler) for _ in range(3)] == [told(0), told(1), told(2)]
    assert list(copy.deepcopy(sampler)) == told(3)
    sampler.set_epoch(1)
    assert list(sampler) == list(sampler) == told(1)


def count(rank: int, samplers: str) -> list[str]:
    """The warnings of an epoch in one of two processes."""
    make = ALL["class-weighted"]
    sampler = {
        "whole": lambda: make(),
        "share": lambda: make(num_replicas=2, rank=rank),
    }[samplers]()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        list(DataLoader(TensorDataset(LABELS), batch_size=8, sampler=sampler))
        list(sampler)  # whoever takes the order itself may share it out
    return [str(one.message) for one in seen]


def test_a_sampler_that_no_one_shares_out_warns_in_a_group(run_two: Callable[..., list[list[str]]]) -> None:
    for told in run_two(count, "whole"):
        assert len(told) == 1
        assert "each of 2 processes draws the whole epoch of this ClassWeightedSampler: give it num_replicas" in told[0]
    assert run_two(count, "share") == [[], []]


@every_sampler
@pytest.mark.parametrize("replicas", [2, 3, 7, 100])
def test_interleaved_shards_are_the_global_order(make: Callable[..., EpochSampler], replicas: int) -> None:
    whole = make(seed=1)
    shards = [make(seed=1, num_replicas=replicas, rank=rank) for rank in range(replicas)]
    for sampler in [whole, *shards]:
        sampler.set_epoch(4)
    assert {len(shard) for shard in shards} == {-(-len(whole) // replicas)}
    union = torch.stack([shard.indices() for shard in shards], dim=1).flatten()
    order = whole.indices()
    assert torch.equal(union[: len(order)], order)
    filling = order.repeat(replicas)[: len(union) - len(order)]  # the first indices once more
    assert torch.equal(union[len(order) :], filling)


@pytest.mark.parametrize("make", [WITH_LABELS["class-weighted"]])
def test_shards_of_many_chunks(make: Callable[..., EpochSampler]) -> None:
    shards = [make(num_samples=50_000, num_replicas=3, rank=rank).indices() for rank in range(3)]
    order = make(num_samples=50_000).indices()
    assert torch.equal(torch.stack(shards, dim=1).flatten()[:50_000], order)


@every_sampler_with_labels
def test_epoch_length_is_the_number_of_samples_unless_told(make: Callable[..., EpochSampler]) -> None:
    assert len(make()) == len(LABELS)
    assert len(make(num_samples=13)) == len(list(make(num_samples=13))) == 13
    assert len(make(num_samples=1000)) == len(list(make(num_samples=1000))) == 1000


@every_sampler_with_labels
def test_labels_may_be_a_list_an_array_or_any_integer_tensor(make: Callable[..., EpochSampler]) -> None:
    order = list(make(LABELS))
    assert list(make(LABELS.tolist())) == order
    assert list(make(LABELS.numpy().astype(np.int32))) == order
    assert list(make(LABELS.to(torch.uint8))) == order


@every_sampler_with_labels
def test_classes_without_samples_do_no_harm(make: Callable[..., EpochSampler]) -> None:
    assert set(LABELS[make(num_samples=2000).indices()].tolist()) == {0, 2, 3}


@every_sampler_with_labels
def test_one_sample_is_enough(make: Callable[..., EpochSampler]) -> None:
    assert list(make([2], num_samples=5)) == [0] * 5


@every_sampler
def test_survives_pickling_and_copying(make: Callable[..., EpochSampler]) -> None:
    sampler = make(seed=3)
    sampler.set_epoch(2)
    order = list(sampler)
    assert list(pickle.loads(pickle.dumps(sampler))) == order
    assert list(copy.deepcopy(sampler)) == order


@every_sampler
def test_two_iterations_at_once_do_not_disturb_each_other(make: Callable[..., EpochSampler]) -> None:
    sampler = make()
    sampler.set_epoch(0)
    pairs = list(zip(sampler, sampler, strict=True))
    assert all(a == b for a, b in pairs)


@every_sampler
def test_feeds_a_data_loader(make: Callable[..., EpochSampler]) -> None:
    sampler = make()
    loader = DataLoader(TensorDataset(LABELS, torch.arange(len(LABELS))), batch_size=8, sampler=sampler)
    assert len(loader) == -(-len(sampler) // 8)
    assert torch.cat([index for _, index in loader]).tolist() == sampler.indices().tolist()


def test_persistent_workers_see_new_weights_and_a_new_epoch() -> None:
    weight = torch.tensor([1.0, 0, 0, 0])
    sampler = ClassWeightedSampler(LABELS, weight, num_samples=64)
    loader = DataLoader(
        TensorDataset(LABELS, torch.arange(len(LABELS))),
        batch_size=16,
        sampler=sampler,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="spawn",
    )
    first = [torch.cat(column) for column in zip(*loader, strict=True)]
    assert set(first[0].tolist()) == {0}
    sampler.set_epoch(1)
    second = [torch.cat(column) for column in zip(*loader, strict=True)]
    assert set(second[0].tolist()) == {0}
    assert not torch.equal(first[1], second[1])
    weight.copy_(torch.tensor([0.0, 0, 1, 0]))
    third = [torch.cat(column) for column in zip(*loader, strict=True)]
    assert set(third[0].tolist()) == {2}


@every_sampler
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_replicas": 0}, "num_replicas must be a whole number >= 1"),
        ({"num_replicas": 2, "rank": 2}, "rank must be below num_replicas = 2"),
        ({"rank": -1}, "rank must be a whole number >= 0"),
        ({"rank": 1}, "rank must be below"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"seed": None}, "seed must be a whole number"),
    ],
)
def test_bad_numbers_are_refused(make: Callable[..., EpochSampler], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        make(**arguments)


@every_sampler_with_labels
@pytest.mark.parametrize("num_samples", [0, -3, 2.5, True, "10"])
def test_bad_lengths_are_refused(make: Callable[..., EpochSampler], num_samples: Any) -> None:
    with pytest.raises(LongtailError, match="num_samples must be a whole number >= 1"):
        make(num_samples=num_samples)


@every_sampler
@pytest.mark.parametrize("epoch", [-1, 0.5, None])
def test_bad_epochs_are_refused(make: Callable[..., EpochSampler], epoch: Any) -> None:
    with pytest.raises(LongtailError, match="epoch must be a whole number >= 0"):
        make().set_epoch(epoch)


@every_sampler_with_labels
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "labels"),
        ([0, -1, 2], "label -1 is out of range"),
        ([0.0, 1.0], "one whole number per sample"),
        (torch.tensor([[0, 1], [1, 0]]), "one whole number per sample"),
        ([[0, 1, 0], [0, 0, 1]], "sample 0 names a class twice"),
        ([[0], [-1, 1]], "label -1 is out of range"),
        ([[], []], "labels is empty"),
        ([0, 10**12], "label 1000000000000 is out of range"),
        ([0, [1]], "labels cannot be read"),
        (["cat", "dog"], "labels cannot be read"),
        (torch.tensor(3), "one whole number per sample"),
    ],
)
def test_bad_labels_are_refused(make: Callable[..., EpochSampler], labels: Any, message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        make(labels)


def test_numbers_from_numpy_are_numbers() -> None:
    sampler = PowerLawSampler(LABELS, num_samples=np.int64(10), seed=np.int32(1))
    sampler.set_epoch(np.int64(2))
    assert len(list(sampler)) == 10
