"""Laws of the per-sample losses: values and gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from longtail.errors import LongtailError
from longtail.functional import focal_loss, hinge_loss, mse_loss, sigmoid_focal_loss

TARGET = torch.tensor([0, 2, 1, 2, 0])


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(5, 3, dtype=torch.float64, requires_grad=True)


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(z - max(row)) for z in row]
    return [power / sum(powers) for power in powers]


def gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss.sum(), logits)[0]


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 5])
def test_focal_is_the_formula(logits, gamma):
    expected = []
    for row, y in zip(logits.tolist(), TARGET.tolist(), strict=True):
        p = softmax(row)[y]
        expected.append(-((1 - p) ** gamma) * math.log(p))
    assert focal_loss(logits, TARGET, gamma=gamma).tolist() == pytest.approx(expected)


def test_focal_with_gamma_zero_is_cross_entropy(logits):
    ours, theirs = focal_loss(logits, TARGET, gamma=0), F.cross_entropy(logits, TARGET, reduction="none")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits), rtol=0, atol=0)


def test_the_modulator_takes_part_in_the_gradient(logits):
    cross_entropy = F.cross_entropy(logits, TARGET, reduction="none")
    detached = (1 - torch.exp(-cross_entropy)).detach() * cross_entropy
    ours = gradient(focal_loss(logits, TARGET), logits)
    assert not torch.allclose(ours, gradient(detached, logits))


def test_sigmoid_focal_is_the_formula(logits):
    gamma, alpha = 2.0, 0.25
    expected = []
    for row, y in zip(logits.tolist(), TARGET.tolist(), strict=True):
        total = 0.0
        for c, z in enumerate(row):
            p = 1 / (1 + math.exp(-z))
            p_true, share = (p, alpha) if c == y else (1 - p, 1 - alpha)
            total -= share * (1 - p_true) ** gamma * math.log(p_true)
        expected.append(total)
    assert sigmoid_focal_loss(logits, TARGET, gamma=gamma, alpha=alpha).tolist() == pytest.approx(expected)


def test_sigmoid_focal_with_gamma_zero_is_binary_cross_entropy(logits):
    truth = F.one_hot(TARGET, 3).double()
    theirs = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)
    torch.testing.assert_close(sigmoid_focal_loss(logits, TARGET, gamma=0), theirs)


def test_mse_is_the_brier_score(logits):
    expected = []
    for row, y in zip(logits.tolist(), TARGET.tolist(), strict=True):
        expected.append(sum((p - (c == y)) ** 2 for c, p in enumerate(softmax(row))))
    assert mse_loss(logits, TARGET).tolist() == pytest.approx(expected)


def test_hinge_is_the_formula(logits):
    expected = []
    for row, y in zip(logits.tolist(), TARGET.tolist(), strict=True):
        expected.append(sum(max(0, 0.7 - row[y] + z) for c, z in enumerate(row) if c != y) / len(row))
    assert hinge_loss(logits, TARGET, margin=0.7).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [focal_loss, sigmoid_focal_loss, mse_loss, hinge_loss])
def test_one_class(loss):
    logits = torch.zeros(2, 1, requires_grad=True)
    value = loss(logits, torch.zeros(2, dtype=torch.int64))
    assert bool(torch.isfinite(gradient(value, logits)).all())


def test_hyperparameters_are_checked():
    with pytest.raises(LongtailError, match="gamma is -1"):
        focal_loss(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), gamma=-1)
    with pytest.raises(LongtailError, match="alpha is 2"):
        sigmoid_focal_loss(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), alpha=2)
