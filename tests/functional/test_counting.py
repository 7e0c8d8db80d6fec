"""Counting of right answers, top-k hits and per-class scores."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

from longtail.errors import LongtailError
from longtail.functional import correct_counts, per_class_scores, predicted_classes, top_k_hits


def test_counts_are_those_of_a_loop():
    prediction, target = torch.randint(5, (200,)), torch.randint(5, (200,))
    right, total = [0] * 5, [0] * 5
    for p, y in zip(prediction.tolist(), target.tolist(), strict=True):
        total[y] += 1
        right[y] += p == y
    assert correct_counts(prediction, target, num_classes=5).tolist() == [right, total]


def test_logits_and_indices_count_alike_also_when_dense():
    logits, target = torch.randn(3, 4, 5, 6), torch.randint(4, (3, 5, 6))
    counts = correct_counts(logits, target, num_classes=4)
    assert torch.equal(counts, correct_counts(logits.argmax(1), target, num_classes=4))
    assert int(counts[1].sum()) == target.numel()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64])
def test_any_integer_type(dtype):
    labels = torch.tensor([0, 1, 1]).to(dtype)
    assert correct_counts(labels, labels, num_classes=2).tolist() == [[1, 2], [1, 2]]
    assert top_k_hits(torch.eye(3), labels, k=1).tolist() == [True, True, False]


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2, 9, 255]), st.integers(0, 3)), max_size=8),
    st.sampled_from([0, 2, 9, 255, -100]),
)
def test_ignored_samples_are_as_if_they_were_not_there(pairs, ignored):
    """Also where the ignored index is a class; any other index that is no class is refused."""
    target = torch.tensor([y for y, _ in pairs], dtype=torch.int64)
    prediction = torch.tensor([p for _, p in pairs], dtype=torch.int64)
    kept = target != ignored
    if bool((target[kept] > 2).any()):
        with pytest.raises(LongtailError, match=r"label (9|255) is out of range"):
            correct_counts(prediction, target, num_classes=3, ignore_index=ignored)
        return
    expected = correct_counts(prediction[kept], target[kept], num_classes=3)
    for dtype in (torch.int64, torch.uint8):
        counts = correct_counts(prediction, target.to(dtype), num_classes=3, ignore_index=ignored)
        assert torch.equal(counts, expected)


def test_an_ignored_index_below_zero_is_no_label_of_a_type_without_a_sign():
    """-100 and 156 are the same byte."""
    with pytest.raises(LongtailError, match="label 156 is out of range"):
        correct_counts(torch.tensor([0]), torch.tensor([156], dtype=torch.uint8), num_classes=3)


def test_nan_logits_of_ignored_samples_do_not_matter():
    logits, target = torch.tensor([[1.0, 0.0], [math.nan, 0.0]]), torch.tensor([0, 255])
    assert correct_counts(logits, target, num_classes=2, ignore_index=255).tolist() == [[1, 0], [1, 0]]


def test_a_predicted_index_that_is_no_class_is_a_wrong_answer():
    counts = correct_counts(torch.tensor([2, -1, 1]), torch.tensor([0, 0, 1]), num_classes=2)
    assert counts.tolist() == [[0, 1], [2, 1]]


def test_an_empty_batch_counts_nothing():
    assert correct_counts(torch.empty(0, 3), torch.empty(0, dtype=torch.int64), num_classes=3).sum() == 0


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 3]), "label 3 is out of range: 3 classes have labels 0 to 2"),
        (torch.zeros(2, 3), torch.tensor([-1, 0]), "label -1 is out of range"),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), "targets must be class indices"),
        (torch.zeros(2, 4), torch.tensor([0, 1]), r"logits \[B, 3\]"),
        (torch.zeros(3, 3), torch.tensor([0, 1]), r"shape \[3, 3\]"),
        (torch.zeros(2), torch.tensor([0, 1]), "type float32"),
        (torch.tensor([[0.0, math.nan, 1], [0, 0, 0]]), torch.tensor([0, 1]), "1 of 2 predictions have NaN logits"),
    ],
)
def test_a_mistake_is_one_clear_line(prediction, target, message):
    with pytest.raises(LongtailError, match=message):
        predicted_classes(prediction, target, num_classes=3)


def test_infinite_logits_are_logits():
    logits = torch.tensor([[-math.inf, 0.0], [math.inf, 0.0]])
    assert predicted_classes(logits, torch.tensor([0, 0]), num_classes=2).tolist() == [1, 0]


def test_per_class_scores_agree_with_scikit_learn():
    prediction, target = torch.randint(6, (100,)), torch.randint(5, (100,))  # class 5 has no sample
    prediction[prediction == 2] = 3  # class 2 is never predicted
    confusion = torch.zeros(6, 6, dtype=torch.int64)
    for p, y in zip(prediction.tolist(), target.tolist(), strict=True):
        confusion[y, p] += 1
    scores = per_class_scores(confusion)
    precision, recall, f1, _ = precision_recall_fscore_support(target, prediction, labels=range(5), zero_division=0)
    for name, theirs in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert scores[name][:5].tolist() == pytest.approx(theirs.tolist())
        assert math.isnan(scores[name][5])
    assert scores["precision"][2] == scores["f1"][2] == 0


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k_agrees_with_scikit_learn(k):
    logits, target = torch.randn(50, 6), torch.randint(6, (50,))
    ours = float(top_k_hits(logits, target, k=k).double().mean())
    assert ours == pytest.approx(top_k_accuracy_score(target, logits, k=k, labels=range(6)))


def test_top_k_with_fewer_classes_than_k_is_always_hit():
    assert bool(top_k_hits(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]), k=5).all())
