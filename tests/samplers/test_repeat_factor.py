"""Laws of repeat-factor sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from longtail.errors import LongtailError
from longtail.samplers import RepeatFactorSampler, repeat_factors

images = st.lists(st.lists(st.integers(0, 12), max_size=6), min_size=1, max_size=40)


def naive_factors(labels_per_image: list[list[int]], threshold: float) -> list[float]:
    factors = []
    for labels in labels_per_image:
        factor = 1.0
        for c in labels:
            fraction = sum(c in other for other in labels_per_image) / len(labels_per_image)
            factor = max(factor, math.sqrt(threshold / fraction))
        factors.append(factor)
    return factors


@given(images, st.floats(0, 2))
@settings(max_examples=100, deadline=None)
def test_factors_are_those_of_a_naive_loop(labels_per_image: list[list[int]], threshold: float) -> None:
    factors = repeat_factors(labels_per_image, threshold=threshold)
    torch.testing.assert_close(factors, torch.tensor(naive_factors(labels_per_image, threshold), dtype=torch.float64))


@given(images)
@settings(max_examples=30, deadline=None)
def test_threshold_zero_repeats_nothing(labels_per_image: list[list[int]]) -> None:
    sampler = RepeatFactorSampler(labels_per_image, threshold=0)
    assert sorted(sampler) == list(range(len(labels_per_image)))


def test_frequent_classes_and_empty_images_have_factor_one() -> None:
    labels = [[0]] * 99 + [[0, 1]] + [[]] * 10
    factors = repeat_factors(labels, threshold=0.5)
    assert factors[:99].tolist() == [1.0] * 99
    assert factors[99] == pytest.approx(math.sqrt(0.5 * 110))
    assert factors[100:].tolist() == [1.0] * 10


def test_several_boxes_of_a_class_count_once() -> None:
    torch.testing.assert_close(
        repeat_factors([[1, 1, 1], [0], [0]], threshold=0.9), repeat_factors([[1], [0], [0]], threshold=0.9)
    )


def test_the_default_threshold_is_that_of_the_publication() -> None:
    labels = [[0]] * 3999 + [[1]]
    torch.testing.assert_close(repeat_factors(labels)[-1], torch.tensor(2.0, dtype=torch.float64))


def test_labels_may_be_tensors_arrays_or_sets() -> None:
    expected = repeat_factors([[0, 5], [5], []], threshold=1)
    mixed = [torch.tensor([0, 5]), np.array([5]), set()]
    torch.testing.assert_close(repeat_factors(mixed, threshold=1), expected)


def test_an_image_comes_as_often_as_its_factor_says() -> None:
    labels = [[0]] * 16 + [[1]] * 4 + [[0, 2]]
    sampler = RepeatFactorSampler(labels, threshold=0.7)
    total = torch.zeros(len(labels))
    lengths = []
    for epoch in range(2000):
        sampler.set_epoch(epoch)
        times = torch.bincount(sampler.indices(), minlength=len(labels))
        assert bool((times >= sampler.factors.floor()).all())
        assert bool((times <= sampler.factors.ceil()).all())
        assert len(sampler) == int(times.sum())
        lengths.append(len(sampler))
        total += times
    torch.testing.assert_close((total / 2000).double(), sampler.factors, rtol=0, atol=0.05)
    assert len(set(lengths)) > 1  # the fractional parts are drawn anew
    assert sum(lengths) / 2000 == pytest.approx(float(sampler.factors.sum()), abs=0.2)


def test_the_order_is_shuffled() -> None:
    sampler = RepeatFactorSampler([[0]] * 5, threshold=0)
    first = []
    for epoch in range(3000):
        sampler.set_epoch(epoch)
        first.append(next(iter(sampler)))
    assert stats.chisquare(np.bincount(first)).pvalue > 0.001


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf")])
def test_bad_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(LongtailError, match="threshold"):
        RepeatFactorSampler([[0]], threshold=threshold)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "at least one image"),
        ([[0], 3], "image 1 needs a list of class indices"),
        ([[0], ["cat"]], "image 1 needs a list of class indices"),
        ([[0], [1, -2]], "label -2 is out of range"),
    ],
)
def test_bad_labels_are_refused(labels: list, message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        RepeatFactorSampler(labels)
