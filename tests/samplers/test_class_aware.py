"""Laws of class-aware sampling: turns of classes and of samples, both without replacement."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from longtail.errors import LongtailError
from longtail.samplers import ClassAwareSampler

small_counts = st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any)


def labels_of(counts: list[int]) -> torch.Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


@given(small_counts, st.integers(1, 5), st.integers(1, 300), st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_cycles(counts: list[int], in_a_row: int, num_samples: int, seed: int) -> None:
    labels = labels_of(counts)
    sampler = ClassAwareSampler(labels, num_samples=num_samples, samples_per_class=in_a_row, seed=seed)
    indices = list(sampler)
    present = {c for c, n in enumerate(counts) if n}
    assert len(indices) == num_samples

    turns = [labels[i].item() for i in indices]
    runs = [turns[k : k + in_a_row] for k in range(0, num_samples, in_a_row)]
    assert all(len(set(run)) == 1 for run in runs)  # a class has its samples in a row
    visits = [run[0] for run in runs]
    for first in range(0, len(visits), len(present)):
        cycle = visits[first : first + len(present)]
        assert len(set(cycle)) == len(cycle)  # each class once a cycle
        assert set(cycle) <= present

    for c in present:  # a class hands out all its samples before any comes again
        handed_out = [i for i in indices if labels[i] == c]
        for first in range(0, len(handed_out), counts[c]):
            part = handed_out[first : first + counts[c]]
            assert len(set(part)) == len(part)


def test_every_class_appears_equally_often() -> None:
    labels = labels_of([500, 30, 2, 68])
    assert torch.bincount(labels[ClassAwareSampler(labels).indices()]).tolist() == [150] * 4


def test_cycles_are_shuffled_anew_and_without_bias() -> None:
    labels = labels_of([40, 5, 3])
    classes = labels[ClassAwareSampler(labels, num_samples=30_000).indices()].view(-1, 3)
    orders = torch.bincount(classes @ torch.tensor([9, 3, 1]))
    orders = orders[orders > 0]
    assert len(orders) == 6  # all orders of three classes
    assert stats.chisquare(orders).pvalue > 0.001


def test_samples_of_a_class_are_shuffled_anew_and_without_bias() -> None:
    labels = labels_of([6, 4])
    drawn = ClassAwareSampler(labels, num_samples=2 * 3 * 4000, seed=2).indices()
    tail = drawn[labels[drawn] == 1].view(-1, 4)[:, 0]  # the first of every round
    assert stats.chisquare(torch.bincount(tail - 6)).pvalue > 0.001
    head = torch.bincount(drawn[labels[drawn] == 0])
    assert head.tolist() == [2000] * 6


def test_the_head_class_is_covered_over_the_epochs() -> None:
    labels = labels_of([60, 2])
    sampler = ClassAwareSampler(labels)
    seen: set[int] = set()
    for epoch in range(30):
        sampler.set_epoch(epoch)
        seen |= set(sampler)
    assert seen == set(range(62))


def test_bad_number_of_samples_in_a_row_is_refused() -> None:
    with pytest.raises(LongtailError, match="samples_per_class must be a whole number >= 1"):
        ClassAwareSampler([0, 1], samples_per_class=0)
