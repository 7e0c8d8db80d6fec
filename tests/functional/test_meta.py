"""Laws of the meta-gradient: naive per-sample gradients, autograd through the normalisation, limits of the mode."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clear import assert_clear
from longtail.errors import LongtailError
from longtail.functional import directional_derivatives, mean_one, mean_one_gradient


def losses_of(model: nn.Module, x: torch.Tensor, target: torch.Tensor):
    return lambda parameters: F.cross_entropy(
        torch.func.functional_call(model, dict(parameters), (x,)), target, reduction="none"
    )


def random_like(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.randn_like(p) for name, p in model.named_parameters()}


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attend(x).mean(1)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Linear(4, 3), (4,)),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten()), (1, 3, 3)),
        (Attention(), (5, 8)),
    ],
    ids=["linear", "batch norm", "attention"],
)
def test_they_are_products_of_each_samples_gradient_with_the_direction(model, shape):
    model = model.double()
    x, target = torch.randn(7, *shape, dtype=torch.float64), torch.arange(7) % 3
    direction = random_like(model)
    parameters = {name: p.detach().requires_grad_() for name, p in model.named_parameters()}
    losses = losses_of(model, x, target)(parameters)
    naive = [
        sum((g * v).sum() for g, v in zip(torch.autograd.grad(loss, list(parameters.values()), retain_graph=True),
                                          direction.values(), strict=True))
        for loss in losses
    ]  # fmt: skip
    found = directional_derivatives(losses_of(model, x, target), dict(model.named_parameters()), direction)
    assert not found.requires_grad
    torch.testing.assert_close(found, torch.stack(naive).detach(), rtol=1e-9, atol=1e-12)


class Doubled(torch.autograd.Function):
    """An operator of somebody's own, with a backward alone."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def test_an_operator_without_forward_mode_is_one_clear_line():
    x = torch.randn(6, 2, 5)

    def losses(parameters):
        return F.ctc_loss(parameters["w"] * x, torch.ones(2, 2, dtype=torch.int64), (6, 6), (2, 2), reduction="none")

    w = {"w": torch.ones(())}
    with pytest.raises(LongtailError, match="cannot be computed for this model") as error:
        directional_derivatives(losses, w, w)
    assert_clear(error.value)
    with pytest.raises(LongtailError, match="cannot be computed for this model"):
        directional_derivatives(lambda p: Doubled.apply(p["w"] * x), w, w)
    with pytest.raises(RuntimeError, match="shape"):  # any other error is what it was
        directional_derivatives(lambda p: p["w"].view(2, 3), w, w)


values = st.lists(st.floats(0, 10), min_size=1, max_size=8).map(lambda v: torch.tensor(v, dtype=torch.float64))


@given(values)
def test_weights_have_mean_one_and_keep_their_ratios(v):
    u = mean_one(v)
    if bool(v.any()) and float(v.max()) > 1e-300:
        assert float(u.mean()) == pytest.approx(1)
        torch.testing.assert_close(u * v.sum(), v * u.sum())
    elif not bool(v.any()):
        assert not u.any()
        assert not mean_one_gradient(v, torch.ones_like(v)).isnan().any()


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(-5, 5)), min_size=1, max_size=8))
def test_the_gradient_passes_through_the_normalisation(pairs):
    v, gradient = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    leaf = v.clone().requires_grad_()
    (expected,) = torch.autograd.grad(leaf * len(v) / leaf.sum(), leaf, gradient)
    torch.testing.assert_close(mean_one_gradient(v, gradient), expected, rtol=1e-9, atol=1e-9)


def test_sums_over_processes_are_asked_for():
    v, g = torch.rand(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    parts, slopes = v.split(2), g.split(2)
    totals = {}  # what all three shares send, summed

    def reduce_of(send):
        sent = [[], [], []]
        for k in range(3):
            send(k, lambda t, k=k: sent[k].append(t) or t)
        return lambda t: sum(s[0] for s in sent)

    totals["u"] = reduce_of(lambda k, reduce: mean_one(parts[k], reduce=reduce))
    totals["g"] = reduce_of(lambda k, reduce: mean_one_gradient(parts[k], slopes[k], reduce=reduce))
    shares = [mean_one(part, reduce=totals["u"]) for part in parts]
    torch.testing.assert_close(torch.cat(shares), mean_one(v))
    shares = [mean_one_gradient(p, s, reduce=totals["g"]) for p, s in zip(parts, slopes, strict=True)]
    torch.testing.assert_close(torch.cat(shares), mean_one_gradient(v, g))
