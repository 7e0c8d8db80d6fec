"""Laws of the equalisation and seesaw losses: values and gradients, the modules' draws and counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from longtail.errors import LongtailError
from longtail.functional import seesaw_loss, sigmoid_equalization_loss, softmax_equalization_loss
from longtail.losses import EqualizationLoss, SeesawLoss

TARGET = torch.tensor([0, 2, 1, 2, 0])
IGNORED = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]]).bool()
COUNTS = torch.tensor([600, 50, 7])


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(5, 3, dtype=torch.float64, requires_grad=True)


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, logits: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss.sum(), logits, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def rows(logits: torch.Tensor) -> list[tuple[list[float], int]]:
    return list(zip(logits.tolist(), TARGET.tolist(), strict=True))


def test_softmax_equalization_is_the_formula(logits):
    expected = []
    for (row, y), ignored in zip(rows(logits), IGNORED.tolist(), strict=True):
        kept = [math.exp(z) for k, z in enumerate(row) if k == y or not ignored[k]]
        expected.append(math.log(sum(kept)) - row[y])
    assert softmax_equalization_loss(logits, TARGET, IGNORED).tolist() == pytest.approx(expected)


def test_sigmoid_equalization_is_the_formula(logits):
    expected = []
    for (row, y), ignored in zip(rows(logits), IGNORED.tolist(), strict=True):
        p = [1 / (1 + math.exp(-z)) for z in row]
        expected.append(-sum(math.log(p[k] if k == y else 1 - p[k]) for k in range(3) if k == y or not ignored[k]))
    assert sigmoid_equalization_loss(logits, TARGET, IGNORED).tolist() == pytest.approx(expected)


def test_nothing_ignored_and_all_ignored(logits):
    nothing, everything = torch.zeros(5, 3, dtype=torch.bool), torch.ones(5, 3, dtype=torch.bool)
    ours = softmax_equalization_loss(logits, TARGET, nothing)
    assert_same(ours, F.cross_entropy(logits, TARGET, reduction="none"), logits)
    assert softmax_equalization_loss(logits, TARGET, everything).tolist() == [0] * 5


def test_an_ignored_class_gets_no_gradient(logits):
    for form in (softmax_equalization_loss, sigmoid_equalization_loss):
        (gradient,) = torch.autograd.grad(form(logits, TARGET, IGNORED).sum(), logits)
        wrong = IGNORED & ~F.one_hot(TARGET, 3).bool()
        assert bool((gradient[wrong] == 0).all())
        assert float(gradient[~wrong].abs().sum()) > 0


def test_the_module_ignores_rare_classes_with_probability_gamma():
    counts = [890, 100, 10]  # shares .89, .1, .01: below 1/6 are the last two, below .05 the last
    logits, target = torch.zeros(4000, 3), torch.zeros(4000, dtype=torch.int64)
    for threshold, rare in ((None, 2), (0.05, 1), (0, 0)):
        losses = EqualizationLoss(counts, threshold=threshold, gamma=0.7, reduction="none")(logits, target)
        left = losses.exp().round()  # 1 + classes not ignored
        assert int(left.min()) == 3 - rare
        assert float(left.mean()) == pytest.approx(3 - 0.7 * rare, abs=0.05)


def test_the_draws_are_new_in_every_step_and_follow_the_global_generator():
    criterion = EqualizationLoss([90, 5, 5], gamma=0.5, reduction="none")
    logits, target = torch.randn(64, 3), torch.zeros(64, dtype=torch.int64)
    torch.manual_seed(1)
    first, second = criterion(logits, target), criterion(logits, target)
    torch.manual_seed(1)
    assert torch.equal(criterion(logits, target), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("p", "q"), [(0.8, 2.0), (0.8, 0), (0, 2.0), (1.5, 0.3)])
def test_seesaw_is_the_formula(logits, p, q):
    expected = []
    for row, y in rows(3 * logits):
        s = [math.exp(z) / sum(map(math.exp, row)) for z in row]
        total = 0.0
        for j, z in enumerate(row):
            mitigation = min(1, (COUNTS.tolist()[j] / COUNTS.tolist()[y]) ** p)
            compensation = max(1, (s[j] / max(s[y], 0.01)) ** q)
            total += math.exp(z) * (1 if j == y else mitigation * compensation)
        expected.append(math.log(total) - row[y])
    assert seesaw_loss(3 * logits, TARGET, COUNTS, p=p, q=q).tolist() == pytest.approx(expected)


def test_seesaw_with_both_exponents_zero_is_cross_entropy(logits):
    ours = seesaw_loss(logits, TARGET, COUNTS, p=0, q=0)
    assert_same(ours, F.cross_entropy(logits, TARGET, reduction="none"), logits)


def test_seesaw_counts_the_labels_of_training_once_and_saves_them():
    criterion = SeesawLoss(3)
    logits = torch.randn(5, 3)
    criterion(logits, TARGET)
    criterion(logits, torch.tensor([0, -100, -100, 1, 0]))
    assert criterion.counts.tolist() == [4, 2, 2]
    torch.testing.assert_close(criterion.eval()(logits, TARGET), seesaw_loss(logits, TARGET, criterion.counts).mean())
    assert criterion.counts.tolist() == [4, 2, 2]
    again = SeesawLoss(3)
    again.load_state_dict(criterion.state_dict())
    assert again.counts.tolist() == [4, 2, 2]


def count_labels(rank: int) -> list[int]:
    criterion = SeesawLoss(3)
    criterion(torch.randn(2, 3), torch.tensor([[0, 1], [2, 2]][rank]))
    return criterion.counts.tolist()


def test_seesaw_counts_the_labels_of_all_processes(run_two):
    assert run_two(count_labels) == [[1, 1, 2], [1, 1, 2]]


def test_the_probabilities_of_seesaw_are_constants_to_its_gradient(logits):
    (gradient,) = torch.autograd.grad(seesaw_loss(logits, TARGET, COUNTS).sum(), logits)
    torch.testing.assert_close(gradient.sum(1), torch.zeros(5, dtype=torch.float64))


def test_ignored_classes_of_dense_predictions_are_the_same_as_those_of_a_list_of_pixels():
    logits, target = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randint(3, (2, 4, 5))
    flat, ignored = logits.movedim(1, -1).reshape(-1, 3), torch.rand(2, 3, 4, 5) < 0.5
    pixels = ignored.movedim(1, -1).reshape(-1, 3)
    for form in (softmax_equalization_loss, sigmoid_equalization_loss):
        dense = form(logits, target, ignored)
        torch.testing.assert_close(dense.flatten(), form(flat, target.flatten(), pixels))


def test_classes_never_seen_are_finite():
    logits = torch.randn(5, 3, requires_grad=True)
    value = seesaw_loss(logits, TARGET, torch.tensor([9, 0, 0]))
    assert torch.isfinite(value).all()
    assert torch.isfinite(EqualizationLoss([9, 0, 0])(logits, TARGET))


def test_mistakes_are_one_clear_line():
    with pytest.raises(LongtailError, match="do not fit 3 classes"):
        seesaw_loss(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), COUNTS)
    with pytest.raises(LongtailError, match="num_classes is 0"):
        SeesawLoss(0)
    with pytest.raises(LongtailError, match="label 3 is out of range"):
        SeesawLoss(3, weight=torch.ones(3))(torch.zeros(1, 3), torch.tensor([3]))
    with pytest.raises(LongtailError, match="threshold is 2"):
        EqualizationLoss([1, 2], threshold=2)
