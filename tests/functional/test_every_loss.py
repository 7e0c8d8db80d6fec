"""What every per-sample loss keeps: gradients, half precision, extreme logits, dense predictions."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from longtail import functional as f
from longtail.losses import BalancedSoftmaxLoss, CDTLoss, LogitAdjustedLoss, VSLoss

TARGET = torch.tensor([0, 2, 1, 2, 0])
COUNTS = torch.tensor([600, 50, 7])
IGNORED = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]]).bool()
BY_ROW = {
    "softmax-equalization": lambda z, y: f.softmax_equalization_loss(z, y, IGNORED[: len(z)]),
    "sigmoid-equalization": lambda z, y: f.sigmoid_equalization_loss(z, y, IGNORED[: len(z)]),
}
DENSE = {
    "focal": f.focal_loss,
    "focal-0.5": lambda z, y: f.focal_loss(z, y, gamma=0.5),
    "focal-2": lambda z, y: f.focal_loss(z, y, gamma=2),
    "sigmoid-focal": f.sigmoid_focal_loss,
    "sigmoid-focal-alpha": lambda z, y: f.sigmoid_focal_loss(z, y, alpha=0.25),
    "mse": f.mse_loss,
    "hinge": f.hinge_loss,
    "seesaw": lambda z, y: f.seesaw_loss(z, y, COUNTS),
    "balanced-softmax": BalancedSoftmaxLoss(COUNTS, reduction="none"),
    "logit-adjusted": LogitAdjustedLoss(COUNTS, tau=1.5, reduction="none"),
    "cdt": CDTLoss(COUNTS, gamma=0.5, reduction="none"),
    "vs": VSLoss(COUNTS, reduction="none"),
}
SMOOTH = {name: loss for name, loss in (DENSE | BY_ROW).items() if name != "seesaw"} | {
    "seesaw": lambda z, y: f.seesaw_loss(z, y, COUNTS, q=0)  # with q its probabilities are constants to the gradient
}
every_loss = pytest.mark.parametrize("loss", (DENSE | BY_ROW).values(), ids=DENSE | BY_ROW)


@pytest.mark.parametrize("loss", SMOOTH.values(), ids=SMOOTH)
def test_gradients_are_those_of_finite_differences(loss):
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda z: loss(z, TARGET), (logits,))


@pytest.mark.parametrize("loss", DENSE.values(), ids=DENSE)
def test_dense_predictions_are_the_same_as_a_list_of_pixels(loss):
    logits, target = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randint(3, (2, 4, 5))
    rows = logits.movedim(1, -1).reshape(-1, 3)
    dense = loss(logits, target)
    assert dense.shape == target.shape
    torch.testing.assert_close(dense.flatten(), loss(rows, target.flatten()))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, dtype):
    logits = torch.randn(5, 3).to(dtype)
    half = loss(logits, TARGET)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(logits.float(), TARGET))


@every_loss
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_have_finite_values_and_gradients(loss, size):
    logits = torch.tensor([[size, 0, -size], [0, 0, size]], requires_grad=True)
    value = loss(logits, torch.tensor([0, 1]))
    assert torch.isfinite(value).all()
    assert torch.isfinite(torch.autograd.grad(value.sum(), logits)[0]).all()
