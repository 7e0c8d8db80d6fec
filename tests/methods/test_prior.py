"""What the methods that know the class prior are, told by identities of their criteria and heads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from longtail.functional import log_prior
from longtail.methods import ClassStats, get_method

COUNTS = [600, 200, 50, 0]
STATS = ClassStats(class_counts=COUNTS)


@pytest.mark.parametrize(
    ("name", "kwargs", "other", "its"),
    [
        ("vs", {"gamma": 0, "tau": 0.6}, "logit-adjust", {"tau": 0.6}),
        ("vs", {"gamma": 0.4, "tau": 0}, "cdt", {"gamma": 0.4}),
        ("logit-adjust", {"tau": 1}, "balanced-softmax", {}),
        ("logit-adjust", {"tau": 0}, "ce", {}),
        ("logit-adjust", {"post_hoc": True}, "ce", {}),
        ("cdt", {"gamma": 0}, "ce", {}),
    ],
)
def test_is_another(name, kwargs, other, its):
    logits, target = torch.randn(12, 4, dtype=torch.float64, requires_grad=True), torch.arange(4).repeat(3)
    losses = [get_method(n, **k).parts(STATS).criterion(logits, target) for n, k in ((name, kwargs), (other, its))]
    torch.testing.assert_close(*losses, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in losses]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def test_post_hoc_adjustment_shifts_the_logits_in_evaluation_only():
    linear, x = nn.Linear(5, 4), torch.randn(8, 5)
    head = get_method("logit-adjust", post_hoc=True, tau=1.5).parts(STATS).head(linear)
    assert torch.equal(head(x), linear(x))
    torch.testing.assert_close(head.eval()(x), linear(x) - 1.5 * log_prior(COUNTS))


def test_post_hoc_adjustment_undoes_what_the_trained_one_teaches():
    """With logits that minimise both losses on the same data, the two forms predict alike."""
    posterior = torch.tensor([[0.7, 0.2, 0.1, 0.0001], [0.5, 0.1, 0.1, 0.3]])
    plain = posterior.log()
    shift = get_method("logit-adjust", post_hoc=True).parts(STATS).head(nn.Linear(4, 4)).shift
    trained = plain + shift  # balanced-softmax logits: adding the log prior gives the posterior back
    for y in range(4):
        target = torch.full((2,), y)
        ours = get_method("logit-adjust").parts(STATS).criterion(trained, target)
        torch.testing.assert_close(ours, F.cross_entropy(plain, target))
