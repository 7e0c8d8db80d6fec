"""Laws of the classifiers that are computed instead of trained."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from longtail.errors import LongtailError
from longtail.functional import class_means, tau_normalized
from longtail.methods import ClassStats, get_method

STATS = ClassStats(class_counts=[5, 3, 0])


def test_tau_zero_changes_nothing_and_one_makes_all_equally_long():
    weight = torch.randn(4, 6) * torch.tensor([[1.0], [10], [0.1], [0]])
    assert torch.equal(tau_normalized(weight, tau=0), weight)
    torch.testing.assert_close(tau_normalized(weight, tau=1).norm(dim=1), torch.tensor([1.0, 1, 1, 0]))
    expected = [[float(w) / float(row.norm()) ** 0.3 for w in row] for row in weight[:3]]
    torch.testing.assert_close(tau_normalized(weight, tau=0.3)[:3], torch.tensor(expected))
    with pytest.raises(LongtailError, match="tau is -1"):
        tau_normalized(weight, tau=-1)


def test_class_means_are_those_of_a_loop():
    x, y = torch.randn(20, 3), torch.randint(4, (20,))
    y[y == 2] = 1
    means, count = class_means(x, y, num_classes=5)
    assert count.tolist() == [int((y == c).sum()) for c in range(5)]
    for c in range(5):
        torch.testing.assert_close(means[c], x[y == c].mean(0) if count[c] else torch.zeros(3))
    assert class_means(x.bfloat16(), y, num_classes=4)[0].dtype == torch.float32
    with pytest.raises(LongtailError, match="label 7 is out of range"):
        class_means(x, y + 7 - y, num_classes=4)


def test_tau_norm_at_zero_is_the_classifier_without_bias():
    linear, x = nn.Linear(6, 3), torch.randn(5, 6)
    expected = F.linear(x, linear.weight)
    assert get_method("tau-norm", tau=0).parts(STATS).finish(linear, {}.__getitem__) == {"tau": 0}
    assert torch.equal(linear(x), expected)


def test_tau_is_the_smallest_of_the_best_on_the_held_out_split():
    """Two classes with features along their weights; the first weight is ten times too long."""
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[10.0, 0.0], [0.0, 1.0]]))
    x, y = torch.tensor([[1.0, 0.2], [0.4, 0.9], [0.3, 1.0]]), torch.tensor([0, 1, 1])
    found = get_method("tau-norm").parts(STATS).finish(linear, {"val": (x, y)}.__getitem__)
    right = [t / 10 for t in range(21) if 0.4 * 10 ** (1 - t / 10) < 0.9 and 10 ** (1 - t / 10) > 0.2]
    assert found == {"tau": pytest.approx(min(right))}
    assert linear(x).argmax(1).tolist() == [0, 1, 1]


def test_the_nearest_mean_is_found_by_distance():
    parts = get_method("ncm").parts(STATS)
    linear = nn.Linear(4, 3)
    head, x, y = parts.head(linear), torch.randn(8, 4), torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    assert torch.equal(head(x), linear(x))
    parts.finish(head, {"train": (x, y)}.__getitem__)
    f = F.normalize(x - x.mean(0))
    expected = torch.stack([-(f - f[y == c].mean(0)).square().sum(1) for c in (0, 1)], 1)
    torch.testing.assert_close(head(x)[:, :2], expected)
    new = head(100 * torch.randn(200, 4))
    assert torch.isfinite(new).all()
    assert set(new.argmax(1).tolist()) == {0, 1}  # class 2 has no training sample
