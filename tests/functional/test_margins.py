"""Laws of LDAM: margins, values, gradients, and the cosine classifier that belongs to it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck

from longtail.errors import LongtailError
from longtail.functional import effective_number_weights, ldam_loss, ldam_margins
from longtail.losses import LDAMLoss
from longtail.methods import ClassStats, get_method

COUNTS = [600, 50, 7]
TARGET = torch.tensor([0, 2, 1, 2, 0])


@pytest.fixture
def cosines() -> torch.Tensor:
    return (2 * torch.rand(5, 3, dtype=torch.float64) - 1).requires_grad_()


def test_margins_are_the_fourth_root():
    assert ldam_margins(COUNTS).tolist() == pytest.approx([0.5 * (7 / n) ** 0.25 for n in COUNTS])
    assert ldam_margins([9, 0, 3], max_margin=0.3).tolist() == pytest.approx([0.3 * (1 / 3) ** 0.25, 0.3, 0.3])
    assert ldam_margins([0, 0]).tolist() == [0.5, 0.5]


def test_it_is_the_formula(cosines):
    margins, expected = ldam_margins(COUNTS).tolist(), []
    for row, y in zip(cosines.tolist(), TARGET.tolist(), strict=True):
        powers = [math.exp(30 * (c - (margins[j] if j == y else 0))) for j, c in enumerate(row)]
        expected.append(-math.log(powers[y] / sum(powers)))
    ours = ldam_loss(30 * cosines, TARGET, ldam_margins(COUNTS))
    assert ours.tolist() == pytest.approx(expected, rel=1e-5)
    assert LDAMLoss(COUNTS)(30 * cosines, TARGET).item() == pytest.approx(sum(expected) / 5, rel=1e-5)


def test_without_margin_it_is_cross_entropy_of_scaled_cosines(cosines):
    ours = LDAMLoss(COUNTS, max_margin=0, scale=16)(16 * cosines, TARGET)
    theirs = F.cross_entropy(16 * cosines, TARGET)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss, cosines, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_gradients_are_those_of_finite_differences(cosines):
    assert gradcheck(lambda c: ldam_loss(5 * c, TARGET, ldam_margins(COUNTS), scale=5), (cosines,))


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_have_finite_values_and_gradients(size):
    logits = torch.tensor([[size, 0, -size], [0, 0, size]], requires_grad=True)
    value = ldam_loss(logits, torch.tensor([0, 1]), ldam_margins(COUNTS))
    assert torch.isfinite(value).all()
    assert torch.isfinite(torch.autograd.grad(value.sum(), logits)[0]).all()


def test_half_precision_and_dense_predictions(cosines):
    margins, half = ldam_margins(COUNTS), (30 * cosines).detach().bfloat16()
    assert ldam_loss(half, TARGET, margins).dtype == torch.float32
    torch.testing.assert_close(ldam_loss(half, TARGET, margins), ldam_loss(half.float(), TARGET, margins))
    dense, target = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    rows = dense.movedim(1, -1).reshape(-1, 3)
    torch.testing.assert_close(ldam_loss(dense, target, margins).flatten(), ldam_loss(rows, target.flatten(), margins))


def test_the_method_defers_its_weights_and_divides_by_their_sum(cosines):
    parts = get_method("ldam-drw", beta=0.99).parts(ClassStats(class_counts=COUNTS, epochs=200))
    plain, late = parts.stages
    assert (plain.epochs, late.epochs) == pytest.approx((0.8, 0.2))
    assert not plain.parts and not late.restart
    losses = ldam_loss(30 * cosines, TARGET, ldam_margins(COUNTS))
    torch.testing.assert_close(parts.criterion(30 * cosines, TARGET), losses.mean())
    weight = effective_number_weights(COUNTS, beta=0.99).double()[TARGET]
    torch.testing.assert_close(late.parts["criterion"](30 * cosines, TARGET), (weight * losses).sum() / weight.sum())


def test_the_head_gives_scaled_cosines():
    head = get_method("ldam-drw", scale=20).parts(ClassStats(class_counts=COUNTS)).head(nn.Linear(6, 3))
    x = torch.randn(4, 6)
    expected = [[20 * float(F.cosine_similarity(row, w, dim=0)) for w in head.weight.detach()] for row in x]
    torch.testing.assert_close(head(x), torch.tensor(expected))
    torch.testing.assert_close(head(7 * x), head(x))
    torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(3))
    assert torch.isfinite(head(torch.zeros(1, 6))).all()


def test_mistakes_are_one_clear_line():
    with pytest.raises(LongtailError, match="do not fit 3 classes"):
        ldam_loss(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), ldam_margins(COUNTS))
    with pytest.raises(LongtailError, match="max_margin is -1"):
        LDAMLoss(COUNTS, max_margin=-1)
    with pytest.raises(LongtailError, match="scale is 0"):
        ldam_loss(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), ldam_margins(COUNTS), scale=0)
