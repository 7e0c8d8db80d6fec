"""Laws of class weights and sampling probabilities from class counts."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from longtail.errors import LongtailError
from longtail.functional import (
    difficulty_probabilities,
    effective_number_weights,
    power_law_probabilities,
    power_law_weights,
    progressive_probabilities,
)

counts_with_zeros = st.lists(st.integers(0, 5000), min_size=1, max_size=12).filter(any)
betas = st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.999999, 1 - 1e-12, 1.0])
exponents = st.sampled_from([-1.0, 0.0, 0.5, 0.75, 1.0, 2.0, 400.0, -400.0])


def naive_effective_number(counts: list[int], beta: float) -> list[float]:
    raw = []
    for n in counts:
        effective = sum(beta**i for i in range(n))  # 1 + beta + ... + beta^(n-1) = (1 - beta^n) / (1 - beta)
        raw.append(1 / effective if n else None)
    present = [r for r in raw if r is not None]
    return [1.0 if r is None else r / sum(present) * len(present) for r in raw]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6).filter(any), betas)
def test_effective_number_is_the_geometric_sum(counts, beta):
    weights = effective_number_weights(counts, beta=beta)
    assert weights.tolist() == pytest.approx(naive_effective_number(counts, beta), rel=1e-5)


@given(counts_with_zeros, betas)
def test_weights_are_finite_positive_and_sum_to_the_number_of_classes(counts, beta):
    for weights in (effective_number_weights(counts, beta=beta), power_law_weights(counts, exponent=beta)):
        assert bool(torch.isfinite(weights).all())
        assert bool((weights > 0).all())
        assert float(weights.double().sum()) == pytest.approx(len(counts), rel=1e-5)


@given(counts_with_zeros, betas)
def test_a_rarer_class_is_never_lighter(counts, beta):
    present = [n for n in counts if n]
    order = torch.tensor(present).argsort(descending=True)
    for weights in (effective_number_weights(present, beta=beta), power_law_weights(present, exponent=beta)):
        assert bool((weights[order].diff() >= -1e-6).all())


def test_beta_zero_is_uniform_and_beta_one_is_inverse_frequency():
    counts = [500, 50, 5]
    assert effective_number_weights(counts, beta=0).tolist() == [1, 1, 1]
    inverse = power_law_weights(counts)
    torch.testing.assert_close(effective_number_weights(counts, beta=1), inverse)
    torch.testing.assert_close(effective_number_weights(counts, beta=1 - 1e-13), inverse)


def test_beta_near_one_keeps_its_digits():
    # 1 - beta ** n in float32 would be 0 or a few units of 6e-8 here.
    counts, beta = [1, 2, 3], 1 - 1e-9
    torch.testing.assert_close(effective_number_weights(counts, beta=beta), power_law_weights(counts))


@pytest.mark.parametrize("weights", [effective_number_weights, power_law_weights])
def test_equal_counts_weigh_one_exactly(weights):
    assert weights([7] * 30).unique().tolist() == [1]


@pytest.mark.parametrize("weights", [effective_number_weights, power_law_weights])
def test_a_class_without_samples_weighs_one_and_does_not_shift_the_others(weights):
    with_zero = weights([100, 0, 10])
    assert float(with_zero[1]) == 1
    torch.testing.assert_close(with_zero[[0, 2]], weights([100, 10]))
    assert weights([0, 0]).tolist() == [1, 1]


def test_power_law_weights_are_the_formula():
    raw = [n**-0.5 for n in (400, 100, 25)]
    expected = [r / sum(raw) * 3 for r in raw]
    assert power_law_weights([400, 100, 25], exponent=0.5).tolist() == pytest.approx(expected)


@given(counts_with_zeros, exponents)
def test_probabilities_are_the_power_law(counts, exponent):
    p = power_law_probabilities(counts, exponent=exponent)
    assert float(p.sum()) == pytest.approx(1)
    assert bool((p[torch.tensor(counts) == 0] == 0).all())
    if abs(exponent) <= 2:
        raw = [n**exponent if n else 0 for n in counts]
        assert p.tolist() == pytest.approx([r / sum(raw) for r in raw], rel=1e-9)


def test_exponent_zero_leaves_out_classes_without_samples():
    assert power_law_probabilities([3, 0, 9], exponent=0).tolist() == [0.5, 0, 0.5]


def test_square_root_sampling():
    assert power_law_probabilities([100, 25, 0]).tolist() == pytest.approx([2 / 3, 1 / 3, 0])


def test_progressive_goes_from_instances_to_classes():
    counts = [90, 10, 0]
    at = [progressive_probabilities(counts, epoch=t, epochs=4) for t in (0, 1, 4, 9)]
    assert at[0].tolist() == pytest.approx([0.9, 0.1, 0])
    assert at[1].tolist() == pytest.approx([0.75 * 0.9 + 0.25 * 0.5, 0.75 * 0.1 + 0.25 * 0.5, 0])
    assert at[2].tolist() == at[3].tolist() == pytest.approx([0.5, 0.5, 0])


@given(st.lists(st.floats(0, 10), min_size=3, max_size=3), st.floats(0.1, 10))
def test_difficulty_probabilities_are_eq_15_whatever_the_scale(weights, scale):
    expected = [w / sum(weights) for w in weights] if sum(weights) > 1e-300 else [1 / 3] * 3
    p = difficulty_probabilities(torch.tensor(weights, dtype=torch.float64) * scale, [5, 1, 1])
    assert p.tolist() == pytest.approx(expected, abs=1e-9)


def test_difficulty_probabilities_skip_classes_without_samples():
    assert difficulty_probabilities([1.0, 3.0, 6.0], [5, 5, 0]).tolist() == [0.25, 0.75, 0]
    # Only a class that cannot be drawn has weight: the others are drawn alike.
    assert difficulty_probabilities([0.0, 0.0, 2.0], [9, 1, 0]).tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effective_number_weights([1, -1]), "class_counts must be"),
        (lambda: effective_number_weights([]), "class_counts must be"),
        (lambda: effective_number_weights([1, 2], beta=1.1), "beta is 1.1"),
        (lambda: effective_number_weights([1, 2], beta=math.nan), "beta is nan"),
        (lambda: power_law_weights([1, math.inf]), "class_counts must be"),
        (lambda: power_law_weights([1, 2], exponent=math.inf), "exponent is inf"),
        (lambda: power_law_probabilities([0, 0]), "no class has a training sample"),
        (lambda: progressive_probabilities([1, 2], epoch=-1, epochs=2), "epoch -1 of 2"),
        (lambda: difficulty_probabilities([1.0], [1, 2]), r"\[1\] weights for 2 classes"),
        (lambda: difficulty_probabilities([1.0, -1.0], [1, 2]), "class weights must be"),
        (lambda: difficulty_probabilities([1.0, math.nan], [1, 2]), "class weights must be"),
    ],
)
def test_a_mistake_is_one_clear_line(call, message):
    with pytest.raises(LongtailError, match=message):
        call()
