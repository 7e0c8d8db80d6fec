"""The linear layer on fixed features: it is the minimum, and out of fold nothing is remembered."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from longtail.errors import LongtailError
from longtail.features import fit_linear, folds_of, out_of_fold
from longtail.losses import BalancedSoftmaxLoss, ClassWeightedLoss


def clouds(n=300, d=12, classes=4, *, seed=0, spread=1.5):
    """Overlapping clouds of points, features standardised and divided by the root of their number."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, d, generator=draw)
    y = torch.arange(n) % classes
    x = centres[y] + spread * torch.randn(n, d, generator=draw)
    return (x - x.mean(0)) / x.std(0) / d**0.5, y


@pytest.mark.parametrize("l2", [1e-1, 1e-3, 1e-5])
def test_the_fit_is_scikit_learns_minimum(l2):
    from sklearn.linear_model import LogisticRegression

    x, y = clouds()
    W, b = fit_linear(x, y, F.cross_entropy, num_classes=4, l2=l2)
    theirs = LogisticRegression(C=1 / (l2 * len(y)), tol=1e-8, max_iter=5000).fit(x.double().numpy(), y.numpy())

    def objective(W, b):
        return float(F.cross_entropy(x @ W.T + b, y) + l2 / 2 * W.square().sum())

    least = objective(torch.tensor(theirs.coef_).float(), torch.tensor(theirs.intercept_).float())
    assert objective(W, b) == pytest.approx(least, rel=1e-4)
    agree = (x @ W.T + b).argmax(1).numpy() == theirs.predict(x.numpy())
    assert agree.mean() > 0.98


@pytest.mark.parametrize(
    "criterion", [BalancedSoftmaxLoss([90, 70, 80, 60]), ClassWeightedLoss(torch.tensor([0.5, 2.0, 1.0, 0.5]))]
)
def test_the_gradient_vanishes_for_any_criterion(criterion):
    x, y = clouds()
    W, b = (part.requires_grad_() for part in fit_linear(x, y, criterion, num_classes=4, l2=1e-3))
    (criterion(x @ W.T + b, y) + 1e-3 / 2 * W.square().sum()).backward()
    assert W.grad.abs().max() < 1e-4 and b.grad.abs().max() < 1e-4


def test_any_start_ends_at_the_same_layer_and_the_same_start_bit_for_bit():
    x, y = clouds()
    W, b = fit_linear(x, y, F.cross_entropy, num_classes=4, l2=1e-3)
    again = fit_linear(x, y, F.cross_entropy, num_classes=4, l2=1e-3)
    assert torch.equal(W, again[0]) and torch.equal(b, again[1])
    far = fit_linear(x, y, F.cross_entropy, num_classes=4, l2=1e-3, init=(torch.full_like(W, 3.0), b + 1))
    p, q = ((x @ W.T + b).softmax(1) for W, b in ((W, b), far))
    torch.testing.assert_close(p, q, atol=3e-3, rtol=0)


def test_the_scale_of_the_features_does_not_matter_beside_the_penalty():
    x, y = clouds()
    W, b = fit_linear(x, y, F.cross_entropy, num_classes=4, l2=1e-3)
    U, c = fit_linear(1000 * x, y, F.cross_entropy, num_classes=4, l2=1e3)
    torch.testing.assert_close((x @ W.T + b).softmax(1), (1000 * x @ U.T + c).softmax(1), atol=3e-3, rtol=0)


def test_it_fits_half_precision_and_inference_tensors_under_no_grad():
    x, y = clouds()
    with torch.inference_mode():
        W, _ = fit_linear(x.half().clone(), y.clone(), F.cross_entropy, num_classes=4, l2=1e-2)
    assert W.dtype == torch.float32 and not W.requires_grad
    torch.testing.assert_close(W, fit_linear(x, y, F.cross_entropy, num_classes=4, l2=1e-2)[0], atol=2e-2, rtol=1e-2)


def test_a_class_without_samples_is_answered_by_nobody():
    x, y = clouds()
    W, b = fit_linear(x, y, F.cross_entropy, num_classes=6, l2=1e-3)
    assert torch.isfinite(b).all() and (x @ W.T + b).argmax(1).max() < 4


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"y": torch.tensor([0, 1, 7])}, "7"),
        ({"x": torch.full((3, 2), float("nan"))}, "finite"),
        ({"x": torch.zeros(4, 2)}, "shape|not"),
        ({"l2": -1.0}, "l2"),
        ({"criterion": lambda z, y: z.sum() * float("nan")}, "criterion"),
        ({"init": (torch.zeros(2, 3), torch.zeros(2))}, "init"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(change, told):
    given = {"x": torch.eye(3)[:, :2], "y": torch.tensor([0, 1, 1]), "criterion": F.cross_entropy, "l2": 1e-3} | change
    with pytest.raises(LongtailError, match=told) as error:
        fit_linear(given.pop("x"), given.pop("y"), given.pop("criterion"), num_classes=2, **given)
    assert "\n" not in str(error.value)


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(0, 23), min_size=1, max_size=7).filter(lambda c: sum(c) >= 7),
    folds=st.integers(2, 7),
    seed=st.integers(0, 9),
)
def test_folds_hold_equally_many_of_every_class(counts, folds, seed):
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    fold = folds_of(y, folds=folds, seed=seed)
    for c, n in enumerate(counts):
        own = torch.bincount(fold[y == c], minlength=folds)
        assert own.max() - own.min() <= 1 and own.sum() == n
        assert int((own > 0).sum()) == min(n, folds)  # spread as far as it goes
    size = torch.bincount(fold, minlength=folds)
    assert size.max() - size.min() <= 1
    assert torch.equal(fold, folds_of(y, folds=folds, seed=seed))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 25)), min_size=30, max_size=80), st.integers(0, 5))
def test_groups_are_never_parted(samples, seed):
    y, groups = (torch.tensor(part) for part in zip(*samples, strict=True))
    if len(groups.unique()) < 5:
        return
    fold = folds_of(y, groups=groups * 1000 - 7, seed=seed)
    assert all(len(fold[groups == g].unique()) == 1 for g in groups.unique())
    assert fold.min() >= 0 and fold.max() < 5


def test_groups_of_one_class_are_spread_evenly():
    y = torch.arange(4).repeat_interleave(60)
    groups = torch.arange(240) // 3
    fold = folds_of(y, groups=groups)
    for c in range(4):
        assert torch.bincount(fold[y == c], minlength=5).tolist() == [12] * 5


def test_out_of_fold_nothing_is_remembered():
    """Labels by chance: in the fold they are learned by heart, out of it the answers are chance."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(200, 300, generator=draw) / 300**0.5
    y = torch.randint(4, (200,), generator=draw)
    W, b = fit_linear(x, y, F.cross_entropy, num_classes=4, l2=1e-6)
    assert ((x @ W.T + b).argmax(1) == y).all()
    logits = out_of_fold(x, y, F.cross_entropy, num_classes=4, folds=folds_of(y), l2=1e-6)
    assert (logits.argmax(1) == y).float().mean() < 0.4


def test_each_row_is_answered_by_the_layer_fitted_without_its_fold():
    x, y = clouds()
    folds = folds_of(y, folds=3)
    logits = out_of_fold(x, y, F.cross_entropy, num_classes=4, folds=folds, l2=1e-3)
    changed = y.clone()
    changed[folds == 1] = (y[folds == 1] + 1) % 4
    other = out_of_fold(x, changed, F.cross_entropy, num_classes=4, folds=folds, l2=1e-3)
    assert torch.equal(logits[folds == 1], other[folds == 1])  # its own labels do not matter
    assert not torch.equal(logits[folds == 0], other[folds == 0])
    W, b = fit_linear(x[folds != 2], y[folds != 2], F.cross_entropy, num_classes=4, l2=1e-3)
    torch.testing.assert_close(logits[folds == 2], x[folds == 2] @ W.T + b)


def test_folds_that_leave_nothing_are_refused():
    x, y = clouds(20)
    with pytest.raises(LongtailError, match="one fold"):
        out_of_fold(x, y, F.cross_entropy, num_classes=4, folds=torch.zeros(20, dtype=torch.int64), l2=1e-3)
    with pytest.raises(LongtailError, match="fewer folds"):
        folds_of(y, folds=5, groups=torch.arange(20) // 8)
    with pytest.raises(LongtailError, match="at least 2"):
        folds_of(y, folds=1)


def test_a_start_from_another_criterion_ends_where_zeros_do():
    x, y = clouds()
    folds, options = folds_of(y, folds=3), {"num_classes": 4, "l2": 1e-2}
    layers: dict = {}
    out_of_fold(x, y, F.cross_entropy, folds=folds, **options, layers=layers)
    assert sorted(layers) == [0, 1, 2]
    weighted = ClassWeightedLoss(torch.tensor([0.5, 2.0, 1.0, 0.5]))
    warm = out_of_fold(x, y, weighted, folds=folds, **options, layers=layers)
    cold = out_of_fold(x, y, weighted, folds=folds, **options)
    torch.testing.assert_close(warm.softmax(1), cold.softmax(1), atol=5e-3, rtol=0)
