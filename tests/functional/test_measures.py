"""Measures of class performance, and shrinkage: naive loops, scikit-learn, sums that add up, limits."""

from __future__ import annotations

import math
from typing import get_args

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from sklearn.metrics import average_precision_score, precision_recall_fscore_support
from torch import Tensor

from longtail.errors import LongtailError
from longtail.functional import (
    Measure,
    class_performance,
    class_sums,
    correct_counts,
    shrinkage_strength,
    shrunk_performance,
    sums_shape,
)

MEASURES = get_args(Measure)
every_measure = pytest.mark.parametrize("measure", MEASURES)


def batch(samples: int = 200, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that know something of the target; the last class has no sample."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes - 1, (samples,), generator=generator)
    logits = 2 * torch.randn(samples, classes, generator=generator)
    logits[range(samples), target] += 1.5
    return logits, target


def performance(logits: Tensor, target: Tensor, measure: Measure) -> Tensor:
    classes = logits.shape[1]
    found, samples = class_performance(
        class_sums(logits, target, num_classes=classes, measure=measure), measure=measure
    )
    assert samples.tolist() == torch.bincount(target.flatten(), minlength=classes).tolist()
    assert found.dtype == torch.float32
    return found


# What each one is


def test_recall_is_the_accuracy_of_the_class():
    logits, target = batch()
    sums = class_sums(logits, target, num_classes=5)
    assert torch.equal(sums, correct_counts(logits, target, num_classes=5))
    right, total = sums.float()
    assert performance(logits, target, "recall")[:4].tolist() == (right / total)[:4].tolist()


@pytest.mark.parametrize("measure", ["soft", "loss"])
def test_soft_and_loss_are_means_of_the_true_class(measure):
    logits, target = batch()
    p = logits.double().softmax(1)
    found = performance(logits, target, measure)
    for c in range(4):
        own = p[target == c, c].tolist()
        mean = sum(own) / len(own) if measure == "soft" else math.exp(sum(map(math.log, own)) / len(own))
        assert float(found[c]) == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("measure", ["precision", "f1"])
def test_precision_and_f1_are_those_of_scikit_learn(measure):
    logits, target = batch()
    logits[:, 2] = -9  # class 2 is never predicted
    theirs = precision_recall_fscore_support(target, logits.argmax(1), labels=range(4), zero_division=0)
    expected = dict(zip(("precision", "recall", "f1"), theirs, strict=False))[measure]
    assert performance(logits, target, measure)[:4].tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def log_odds(logits: Tensor, c: int) -> Tensor:
    others = [k for k in range(logits.shape[1]) if k != c]
    return logits[:, c].double() - logits[:, others].double().logsumexp(1)


def test_ap_is_that_of_scikit_learn_for_binned_scores():
    logits, target = batch(samples=500)
    found = performance(logits, target, "ap")
    for c in range(4):
        binned = (log_odds(logits, c) * 8).floor() / 8
        assert float(found[c]) == pytest.approx(average_precision_score(target == c, binned), abs=1e-6)


@given(st.integers(0, 1000), st.sampled_from([0.1, 1.0, 10.0]))
def test_ap_is_wrong_by_no_more_than_the_order_within_a_bin(seed, sharpness):
    logits, target = batch(samples=60, seed=seed)
    logits = logits * sharpness
    found = performance(logits, target, "ap")
    for c in set(target.tolist()):
        own = target == c
        bins = (log_odds(logits, c) * 8).floor().clamp(-128, 127)
        own_first, own_last = bins + own / 2, bins - own / 2 - own * torch.arange(60) / 1000
        best, worst = (average_precision_score(own, scores) for scores in (own_first, own_last))
        exact = average_precision_score(own, log_odds(logits, c))
        # The largest and the smallest value that any order within the bins can give hold both.
        assert worst - 1e-6 <= exact <= best + 1e-6
        assert worst - 1e-6 <= float(found[c]) <= best + 1e-6


def test_a_confident_mistake_costs_more_in_loss_than_in_soft():
    logits, target = torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 0])
    assert float(performance(logits, target, "soft")[0]) == pytest.approx(0.5, abs=1e-4)
    assert float(performance(logits, target, "loss")[0]) == pytest.approx(math.exp(-4.5), abs=1e-4)


# What holds for all


@every_measure
def test_sums_add_up_exactly_in_whatever_batches(measure):
    logits, target = batch()
    whole = class_sums(logits, target, num_classes=5, measure=measure)
    assert whole.dtype == torch.int64
    assert whole.shape == sums_shape(measure, 5)
    order = torch.randperm(200)
    parts = [class_sums(logits[i], target[i], num_classes=5, measure=measure) for i in order.split(33)]
    assert torch.equal(sum(parts), whole)


@every_measure
@given(st.integers(0, 1000), st.sampled_from([0.0, 1.0, 1e4]))
def test_performance_is_a_fraction_and_nan_for_an_absent_class(measure, seed, scale):
    logits, target = batch(samples=20, seed=seed)
    found = performance(scale * logits, target, measure)
    present = torch.bincount(target, minlength=5) > 0
    assert torch.equal(found.isnan(), ~present)
    assert bool(((found[present] >= 0) & (found[present] <= 1)).all())


@every_measure
def test_a_perfect_model_has_performance_one(measure):
    target = torch.arange(4).repeat(3)
    assert performance(50 * torch.eye(4)[target], target, measure).tolist() == [1] * 4


@every_measure
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dense_half_precision_and_infinite_logits(measure, dtype):
    logits, target = torch.randn(3, 4, 5, 2).to(dtype), torch.randint(4, (3, 5, 2))
    logits[0, 1], logits[1, 0, 0] = -math.inf, math.inf
    flat = logits.movedim(1, -1).reshape(-1, 4)
    ours = class_sums(logits, target, num_classes=4, measure=measure)
    assert torch.equal(ours, class_sums(flat, target.flatten(), num_classes=4, measure=measure))
    found, _ = class_performance(ours, measure=measure)
    assert bool(torch.isfinite(found).all())


@every_measure
def test_an_empty_batch_counts_nothing(measure):
    empty = torch.empty(0, 3), torch.empty(0, dtype=torch.int64)
    assert not class_sums(*empty, num_classes=3, measure=measure).any()


@every_measure
def test_class_indices_are_enough_or_are_refused_in_one_line(measure):
    logits, target = batch()
    indices = logits.argmax(1)
    if measure in ("recall", "precision", "f1"):
        ours = class_sums(indices, target, num_classes=5, measure=measure)
        assert torch.equal(ours, class_sums(logits, target, num_classes=5, measure=measure))
        no_class = class_sums(torch.tensor([-1, 7, 1]), torch.tensor([1, 1, 1]), num_classes=5, measure=measure)
        assert no_class.sum(1).tolist() == [1, 3, 1][: len(no_class)]
    else:
        with pytest.raises(LongtailError, match=f"measure '{measure}' needs logits"):
            class_sums(indices, target, num_classes=5, measure=measure)


def test_labels_are_checked_on_the_cpu_and_nan_where_asked():
    logits = torch.tensor([[0.0, math.nan]])
    with pytest.raises(LongtailError, match="NaN logits"):
        class_sums(logits, torch.tensor([0]), num_classes=2)
    class_sums(logits, torch.tensor([0]), num_classes=2, check=False)
    for check in (True, False):
        with pytest.raises(LongtailError, match="label 2 is out of range"):
            class_sums(torch.zeros(1, 2), torch.tensor([2]), num_classes=2, check=check)
    with pytest.raises(LongtailError, match="unknown measure 'accuracy': known are recall, precision, f1"):
        class_sums(torch.zeros(1, 2), torch.tensor([0]), num_classes=2, measure="accuracy")


# Shrinkage

classes = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 60)).map(lambda c: (c[0], min(c) / c[0])), min_size=1, max_size=8
)


def tensors(rows: list[tuple[int, float]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([a for _, a in rows], dtype=torch.float64), torch.tensor([n for n, _ in rows])


@given(classes, st.floats(0, 1e6))
def test_shrinkage_is_the_posterior_mean(rows, strength):
    mean = sum(n * a for n, a in rows) / sum(n for n, _ in rows)
    expected = [(n * a + strength * mean) / (n + strength) for n, a in rows]
    assert shrunk_performance(*tensors(rows), strength=strength).tolist() == pytest.approx(expected, abs=1e-9)


@given(classes, st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_strength_is_nearer_to_the_pooled_mean_and_never_beyond(rows, one, other):
    weak, strong = sorted((one, other))
    a, n = tensors(rows)
    mean = (n * a).sum() / n.sum()
    before, weakly, strongly = (shrunk_performance(a, n, strength=s) - mean for s in (0, weak, strong))
    assert bool((strongly.abs() <= weakly.abs() + 1e-12).all())
    assert bool((weakly.abs() <= before.abs() + 1e-12).all())
    assert bool((before * strongly >= -1e-12).all())


@given(classes)
def test_the_estimated_strength_is_defined_for_whatever_was_counted(rows):
    a, n = tensors(rows)
    assert float(shrinkage_strength(a, n)) >= 0
    drawn = shrunk_performance(a, n, strength="auto")
    assert bool(((drawn >= 0) & (drawn <= 1)).all())


@pytest.mark.parametrize("accuracy", [[0.0, 0.0, 0.0], [1.0, 1.0], [0.4, 0.4, 0.4], [0.3]])
def test_all_zero_all_equal_and_one_class_stay_as_they_are(accuracy):
    a = torch.tensor(accuracy)
    for strength in (0, 5, "auto"):
        drawn = shrunk_performance(a, torch.arange(5, 5 + len(a)), strength=strength)
        assert drawn.tolist() == pytest.approx(a.tolist())


def test_without_shrinkage_nothing_is_touched_and_an_absent_class_stays_absent():
    a, n = torch.tensor([0.2, math.nan, 0.7]), torch.tensor([10, 0, 30])
    assert shrunk_performance(a, n, strength=0) is a
    drawn = shrunk_performance(a, n, strength=10)
    assert drawn.isnan().tolist() == [False, True, False]
    assert drawn[0] == pytest.approx((0.2 * 10 + 0.575 * 10) / 20)


@pytest.mark.parametrize("strength", [2.0, 20.0])
def test_the_estimate_finds_the_prior_that_the_accuracies_come_from(strength):
    torch.manual_seed(0)
    prior = torch.distributions.Beta(0.3 * strength, 0.7 * strength)
    n = torch.randint(5, 60, (4000,))
    a = torch.distributions.Binomial(n.float(), prior.sample((4000,))).sample() / n
    assert float(shrinkage_strength(a, n)) == pytest.approx(strength, rel=0.1)


def test_differences_that_are_chance_alone_vanish():
    torch.manual_seed(1)
    n = torch.full((2000,), 20)
    a = torch.distributions.Binomial(n.float(), torch.tensor(0.5)).sample() / n
    before, after = a.std(), shrunk_performance(a, n, strength="auto").std()
    assert after < 0.25 * before


@pytest.mark.parametrize("strength", [-1, "some", math.inf, None, True])
def test_another_strength_is_refused(strength):
    with pytest.raises(LongtailError, match="shrinkage is"):
        shrunk_performance(torch.tensor([0.5]), torch.tensor([3]), strength=strength)
