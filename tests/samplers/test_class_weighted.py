"""Laws of the class-weighted sampler: class first, then uniform within the class, from the weights as they are now."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.samplers import ClassWeightedSampler
from longtail.samplers.two_level import alias_table

COUNTS = [60, 1, 0, 25, 7]
LABELS = torch.arange(5).repeat_interleave(torch.tensor(COUNTS))[torch.randperm(93, generator=torch.Generator())]


class Weights(nn.Module):
    """A live source of weights, as ClassDifficulty is: a buffer that ``.to`` replaces by a new tensor."""

    weight: torch.Tensor

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(values))


def drawn_classes(sampler: ClassWeightedSampler) -> torch.Tensor:
    return torch.bincount(LABELS[sampler.indices()], minlength=5)


def test_classes_come_in_proportion_to_their_weights() -> None:
    weight = torch.tensor([0.1, 2.0, 3.0, 0.5, 1.4])  # class 2 has no samples
    drawn = drawn_classes(ClassWeightedSampler(LABELS, weight, num_samples=100_000, seed=3))
    present = torch.tensor([0, 1, 3, 4])
    expected = weight[present].double() / weight[present].double().sum() * 100_000
    assert drawn[2] == 0
    assert stats.chisquare(drawn[present], expected).pvalue > 0.001


def test_a_sample_has_the_probability_of_its_class_over_the_size_of_its_class() -> None:
    weight = [0.3, 0.02, 0.0, 1.0, 0.6]
    drawn = torch.bincount(ClassWeightedSampler(LABELS, weight, num_samples=200_000).indices(), minlength=93)
    expected = [weight[c] / COUNTS[c] / sum(weight) * 200_000 for c in LABELS.tolist()]  # naive: a loop over samples
    assert stats.chisquare(drawn, expected).pvalue > 0.001


def test_consecutive_draws_are_independent() -> None:
    label = LABELS[ClassWeightedSampler(LABELS, torch.ones(5), num_samples=100_001).indices()]
    pairs = torch.bincount(label[:-1] * 5 + label[1:], minlength=25)
    pairs = pairs[pairs > 0]
    assert len(pairs) == 16  # all pairs of the 4 classes with samples
    assert stats.chisquare(pairs).pvalue > 0.001


def test_equal_weights_balance_the_classes() -> None:
    sampler = ClassWeightedSampler(LABELS, torch.ones(5))
    torch.testing.assert_close(sampler.probabilities(), torch.tensor([0.25, 0.25, 0, 0.25, 0.25]).double())


def test_the_scale_of_the_weights_does_not_matter() -> None:
    weight = torch.tensor([0.5, 1, 2, 4, 8])
    assert list(ClassWeightedSampler(LABELS, weight)) == list(ClassWeightedSampler(LABELS, weight * 1024))


def test_a_class_of_weight_zero_is_never_drawn() -> None:
    drawn = drawn_classes(ClassWeightedSampler(LABELS, [1, 0, 5, 1, 0], num_samples=50_000))
    assert drawn[1] == drawn[4] == 0


def test_when_all_weights_are_zero_the_classes_are_drawn_alike() -> None:
    zeros, ones = ClassWeightedSampler(LABELS, torch.zeros(5)), ClassWeightedSampler(LABELS, torch.ones(5))
    assert zeros.indices().tolist() == ones.indices().tolist()
    only_the_absent_class_counts = ClassWeightedSampler(LABELS, [0, 0, 1, 0, 0])
    assert only_the_absent_class_counts.indices().tolist() == ones.indices().tolist()


def test_weights_are_read_from_the_object_at_every_iteration() -> None:
    source = Weights([1.0, 0, 0, 0, 0])
    sampler = ClassWeightedSampler(LABELS, source)
    assert drawn_classes(sampler).tolist() == [93, 0, 0, 0, 0]
    source.to(torch.float64)  # a new tensor takes the buffer's place, as when a module moves to another device
    source.weight.copy_(torch.tensor([0, 0, 0, 1, 0]))
    assert drawn_classes(sampler).tolist() == [0, 0, 0, 93, 0]
    source.weight = torch.tensor([0.0, 1, 0, 0, 0])
    assert drawn_classes(sampler).tolist() == [0, 93, 0, 0, 0]


def test_difficulty_drives_the_sampler_and_a_checkpoint_repeats_the_next_epoch() -> None:
    difficulty = ClassDifficulty(5)
    sampler = ClassWeightedSampler(LABELS, difficulty)
    assert list(sampler) == list(ClassWeightedSampler(LABELS, torch.ones(5)))  # nothing is measured yet
    difficulty.step(torch.tensor([0.9, 0.1, 0.5, 0.5, 0.5]))
    drawn = drawn_classes(sampler)
    assert drawn[1] > drawn[3] > drawn[0]
    resumed = ClassDifficulty(5)
    resumed.load_state_dict(difficulty.state_dict())
    assert ClassWeightedSampler(LABELS, resumed).indices().tolist() == sampler.indices().tolist()


def test_a_tensor_changed_in_place_is_seen() -> None:
    weight = torch.tensor([1.0, 0, 0, 0, 0])
    sampler = ClassWeightedSampler(LABELS, weight)
    weight.copy_(torch.tensor([0.0, 0, 0, 0, 1]))
    assert drawn_classes(sampler).tolist() == [0, 0, 0, 0, 93]


def test_the_weights_of_an_iteration_are_those_of_its_start() -> None:
    weight = torch.tensor([1.0, 0, 0, 0, 0])
    iterator = iter(ClassWeightedSampler(LABELS, weight))
    weight.copy_(torch.tensor([0.0, 0, 0, 0, 1]))
    assert {int(LABELS[i]) for i in iterator} == {0}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_weights_of_any_number_type(dtype: torch.dtype) -> None:
    like = ClassWeightedSampler(LABELS, torch.tensor([4.0, 2, 1, 0, 1]))
    assert list(ClassWeightedSampler(LABELS, torch.tensor([4, 2, 1, 0, 1], dtype=dtype))) == list(like)


def test_parameters_with_gradients_serve_as_weights() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2, 3, 4, 5]))
    assert list(ClassWeightedSampler(LABELS, weight)) == list(ClassWeightedSampler(LABELS, weight.detach()))


def test_more_samples_than_single_precision_can_count() -> None:
    """One long class beyond 2^24 samples, where torch's own weighted sampler stops, and a short one after it."""
    size = 2**24 + 5
    labels = torch.zeros(size, dtype=torch.uint8)
    labels[-3:] = 1
    drawn = ClassWeightedSampler(labels, [1, 1], num_samples=40_000).indices()
    head = drawn[drawn < size - 3]
    assert len(drawn) - len(head) == pytest.approx(20_000, abs=400)
    assert torch.bincount(drawn[drawn >= size - 3] - (size - 3)).min() > 6_000
    assert stats.kstest(head.double() / size, "uniform").pvalue > 0.001
    assert (head % 2 == 1).double().mean() == pytest.approx(0.5, abs=0.02)


class Allocations(TorchDispatchMode):
    """Bytes of every tensor that operations return, apart from views of the labels."""

    def __init__(self, labels: torch.Tensor) -> None:
        super().__init__()
        self.known, self.sizes = labels.untyped_storage().data_ptr(), []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() != self.known:
                self.sizes.append(tensor.untyped_storage().nbytes())
        return result


def test_memory_is_four_bytes_a_sample_and_one_chunk() -> None:
    size = 2_000_000
    labels = torch.arange(size) % 7
    with Allocations(labels) as building:
        sampler = ClassWeightedSampler(labels, torch.ones(7))
    assert sampler.index.order.dtype == torch.int32
    largest = [n for n in building.sizes if n > 8 * 2**16]  # the labels are read in chunks of 2^16
    assert set(largest) == {4 * size}
    with Allocations(sampler.index.order) as drawing:
        assert sum(1 for _ in sampler) == size
    assert max(drawing.sizes) == 2 * 8 * 2**14  # a chunk: two random numbers an index


def test_more_classes_than_samples() -> None:
    sampler = ClassWeightedSampler([7, 9_000], torch.ones(10_000), num_samples=1000)
    assert torch.bincount(sampler.indices()).tolist() == pytest.approx([500, 500], abs=60)


@given(
    st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=40),
    st.lists(st.integers(0, 39), min_size=1, max_size=60),
    st.integers(0, 2**40),
)
@settings(max_examples=60, deadline=None)
def test_only_what_can_be_drawn_is_drawn(weight: list[float], labels: list[int], seed: int) -> None:
    labels = [c % len(weight) for c in labels]
    sampler = ClassWeightedSampler(labels, weight, num_samples=200, seed=seed)
    possible = {c for c in labels if weight[c] > 0} or set(labels)
    indices = list(sampler)
    assert len(indices) == 200
    assert all(0 <= i < len(labels) and labels[i] in possible for i in indices)
    assert float(sampler.probabilities().sum()) == pytest.approx(1)


@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=50))
@settings(max_examples=100, deadline=None)
def test_the_cells_of_the_alias_table_add_up_to_the_probabilities(raw: list[float]) -> None:
    wanted = torch.tensor(raw, dtype=torch.float64)
    wanted /= wanted.sum()
    keep, other = alias_table(wanted)
    total = keep.clamp(max=1) / len(raw)
    total.index_add_(0, other, (1 - keep.clamp(max=1)) / len(raw))
    torch.testing.assert_close(total, wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, float("nan"), 1, 1, 1], "finite"),
        ([1.0, -1, 1, 1, 1], ">= 0"),
        ([float("inf"), 1, 1, 1, 1], "finite"),
        ([1.0, 1.0], "label 4 is out of range"),
        ([], "one number per class"),
        (torch.ones(5, 2), "one number per class"),
        (torch.tensor(1.0), "one number per class"),
        (nn.Linear(3, 5), "one number per class"),
        (["a", "b"], "give a list of numbers"),
        (None, "give a list of numbers"),
    ],
)
def test_bad_weights_are_refused_at_once(weight: object, message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        ClassWeightedSampler(LABELS, weight)  # type: ignore[arg-type]


def test_weights_that_turn_bad_are_refused_when_the_iteration_starts() -> None:
    source = Weights([1.0] * 5)
    sampler = ClassWeightedSampler(LABELS, source)
    source.weight[3] = float("nan")
    with pytest.raises(LongtailError, match="finite"):
        iter(sampler)
    source.weight = torch.ones(6)
    with pytest.raises(LongtailError, match="built for 5 class weights and now finds 6"):
        iter(sampler)


def test_a_sample_of_several_classes_is_drawn_by_each_of_them() -> None:
    classes = [[0, 1], [0], [], [2, 1], [0]]
    weight = torch.tensor([1.0, 2.0, 5.0, 9.0])  # no sample has class 3
    sampler = ClassWeightedSampler(classes, weight, num_samples=80_000, seed=1)
    found = torch.bincount(sampler.indices(), minlength=5) / 80_000
    expected = torch.zeros(5)
    for c in range(3):
        holders = [row for row, own in enumerate(classes) if c in own]
        for row in holders:
            expected[row] += weight[c] / weight[:3].sum() / len(holders)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert found[2] == 0 and len(ClassWeightedSampler(classes, weight)) == 5
