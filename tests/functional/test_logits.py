"""Laws of the losses that scale and shift the logits by class counts: values and gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import longtail
from longtail.errors import LongtailError
from longtail.functional import class_temperatures, log_prior, shifted_cross_entropy
from longtail.losses import BalancedSoftmaxLoss, CDTLoss, LogitAdjustedLoss, VSLoss

COUNTS = [600, 50, 7]
TARGET = torch.tensor([0, 2, 1, 2, 0])


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(5, 3, dtype=torch.float64, requires_grad=True)


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, logits: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(loss.sum(), logits, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def naive(row: list[float], y: int, *, gamma: float, tau: float) -> float:
    """The loss of one sample, written out."""
    powers = []
    for z, n in zip(row, COUNTS, strict=True):
        powers.append((n / sum(COUNTS)) ** tau * math.exp(z / (max(COUNTS) / n) ** gamma))
    return -math.log(powers[y] / sum(powers))


@pytest.mark.parametrize(("gamma", "tau"), [(0.3, 1), (0, 1), (0.2, 1.2), (1, 0), (0, 0)])
def test_vs_is_the_formula(logits, gamma, tau):
    ours = VSLoss(COUNTS, gamma=gamma, tau=tau, reduction="none")(logits, TARGET)
    expected = [naive(row, y, gamma=gamma, tau=tau) for row, y in zip(logits.tolist(), TARGET.tolist(), strict=True)]
    assert ours.tolist() == pytest.approx(expected, rel=1e-6)


def test_special_cases(logits):
    def loss(cls, **options):
        return cls(COUNTS, reduction="none", **options)(logits, TARGET)

    assert_same(loss(VSLoss, gamma=0, tau=0.7), loss(LogitAdjustedLoss, tau=0.7), logits)
    assert_same(loss(VSLoss, gamma=0.4, tau=0), loss(CDTLoss, gamma=0.4), logits)
    assert_same(loss(LogitAdjustedLoss), loss(BalancedSoftmaxLoss), logits)
    assert_same(loss(CDTLoss, gamma=0), F.cross_entropy(logits, TARGET, reduction="none"), logits)
    assert_same(loss(LogitAdjustedLoss, tau=0), F.cross_entropy(logits, TARGET, reduction="none"), logits)


def test_balanced_softmax_adds_the_logarithm_of_the_counts(logits):
    theirs = F.cross_entropy(logits + torch.tensor(COUNTS).double().log(), TARGET, reduction="none")
    assert_same(BalancedSoftmaxLoss(COUNTS, reduction="none")(logits, TARGET), theirs, logits)


def test_equal_counts_are_cross_entropy(logits):
    for cls in (BalancedSoftmaxLoss, LogitAdjustedLoss, CDTLoss, VSLoss):
        assert_same(cls([9, 9, 9])(logits, TARGET), F.cross_entropy(logits, TARGET), logits)


def test_a_class_without_samples_counts_like_the_rarest():
    torch.testing.assert_close(log_prior([6, 0, 2]), torch.tensor([0.6, 0.2, 0.2]).log())
    torch.testing.assert_close(log_prior([0, 0]), torch.tensor([0.5, 0.5]).log())
    assert class_temperatures([6, 0, 2], gamma=1).tolist() == pytest.approx([1, 3, 3])
    assert float(log_prior(COUNTS).exp().sum()) == pytest.approx(1)


def test_class_weights_from_any_source_multiply_the_loss(logits):
    difficulty = longtail.ClassDifficulty(3, tau=1)
    criterion = BalancedSoftmaxLoss(COUNTS, weight=difficulty)
    plain = BalancedSoftmaxLoss(COUNTS, reduction="none")(logits, TARGET)
    torch.testing.assert_close(criterion(logits, TARGET), plain.mean())
    difficulty.step([0.9, 0.5, 0.2])
    torch.testing.assert_close(criterion(logits, TARGET), (difficulty.weight[TARGET] * plain).mean())


def test_mistakes_are_one_clear_line():
    with pytest.raises(LongtailError, match="do not fit 3 classes"):
        BalancedSoftmaxLoss(COUNTS)(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(LongtailError, match="do not fit 1 classes"):  # would broadcast
        shifted_cross_entropy(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), shift=torch.zeros(1))
    with pytest.raises(LongtailError, match="gamma is -1"):
        CDTLoss(COUNTS, gamma=-1)
    with pytest.raises(LongtailError, match="tau is nan"):
        VSLoss(COUNTS, tau=math.nan)
    with pytest.raises(LongtailError, match="class_counts must be"):
        log_prior([3, -1])
