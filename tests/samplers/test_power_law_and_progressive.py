"""Laws of the two samplers whose class probabilities follow from the class counts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from longtail.errors import LongtailError
from longtail.samplers import ClassWeightedSampler, PowerLawSampler, ProgressiveSampler

COUNTS = [100, 0, 36, 9, 1]
LABELS = torch.arange(5).repeat_interleave(torch.tensor(COUNTS))


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_power_law_probabilities(exponent: float) -> None:
    powers = [n**exponent if n else 0.0 for n in COUNTS]
    naive = torch.tensor([p / sum(powers) for p in powers], dtype=torch.float64)
    torch.testing.assert_close(PowerLawSampler(LABELS, exponent=exponent).probabilities(), naive)


def test_the_default_is_square_root_sampling() -> None:
    naive = torch.tensor([10, 0, 6, 3, 1], dtype=torch.float64) / 20
    sampler = PowerLawSampler(LABELS, num_samples=100_000, seed=1)
    torch.testing.assert_close(sampler.probabilities(), naive)
    drawn = torch.bincount(LABELS[sampler.indices()], minlength=5)
    assert drawn[1] == 0
    assert stats.chisquare(drawn[naive > 0], naive[naive > 0] * 100_000).pvalue > 0.001


def test_exponent_zero_is_class_weighted_sampling_with_equal_weights() -> None:
    assert list(PowerLawSampler(LABELS, exponent=0)) == list(ClassWeightedSampler(LABELS, torch.ones(5)))


def test_exponent_one_draws_every_sample_alike() -> None:
    drawn = torch.bincount(PowerLawSampler(LABELS, exponent=1, num_samples=100_000).indices(), minlength=146)
    assert stats.chisquare(drawn).pvalue > 0.001


@pytest.mark.parametrize("exponent", [float("nan"), float("inf"), "half"])
def test_a_bad_exponent_is_refused(exponent: object) -> None:
    with pytest.raises(LongtailError, match="exponent"):
        PowerLawSampler(LABELS, exponent=exponent)  # type: ignore[arg-type]


@given(st.integers(1, 20), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_progressive_probabilities(epochs: int, epoch: int) -> None:
    sampler = ProgressiveSampler(LABELS, epochs=epochs)
    sampler.set_epoch(epoch)
    t = min(epoch / epochs, 1)
    naive = [(1 - t) * n / 146 + t / 4 if n else 0 for n in COUNTS]
    torch.testing.assert_close(sampler.probabilities(), torch.tensor(naive, dtype=torch.float64))


def test_progressive_goes_from_the_natural_to_the_balanced_distribution() -> None:
    sampler = ProgressiveSampler(LABELS, epochs=10, num_samples=500)
    assert list(sampler) == list(PowerLawSampler(LABELS, exponent=1, num_samples=500))
    balanced = PowerLawSampler(LABELS, exponent=0, num_samples=500)
    rarest = []
    for epoch in (0, 5, 10, 99):
        sampler.set_epoch(epoch)
        balanced.set_epoch(epoch)
        rarest.append(float(sampler.probabilities()[4]))
        assert (list(sampler) == list(balanced)) == (epoch >= 10)
    assert rarest == sorted(rarest)


def test_a_training_of_no_epochs_is_refused() -> None:
    with pytest.raises(LongtailError, match="epochs must be a whole number >= 1"):
        ProgressiveSampler(LABELS, epochs=0)
