"""Precision and recall of the most frequent classes and of the rest, as in Table 8 of the paper."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longtail.errors import LongtailError
from longtail.metrics import Classification, head_and_tail

EGTEA = [429, 779, 1421, 822, 129, 1335, 130, 308, 223, 249, 54, 54, 139, 42, 78, 117, 26, 15, 22]


def test_the_head_of_egtea_is_take_put_open_cut_and_read() -> None:
    groups = head_and_tail(EGTEA, head=5)
    assert groups["head"].nonzero().flatten().tolist() == [0, 1, 2, 3, 5]
    assert groups["tail"].sum() == 14


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(1, 40))
def test_no_class_of_the_tail_is_more_frequent_than_one_of_the_head(counts: list[int], head: int) -> None:
    groups = head_and_tail(counts, head=head)
    assert groups["head"].equal(~groups["tail"]) and int(groups["head"].sum()) == min(head, len(counts))
    first, rest = (torch.tensor(counts)[groups[name]] for name in ("head", "tail"))
    assert not len(rest) or first.min() >= rest.max()
    if len(rest) and first.min() == rest.max():  # of equals the first ones
        tied = torch.tensor(counts) == first.min()
        assert (groups["head"] & tied).nonzero().max() < (groups["tail"] & tied).nonzero().min()


def test_scores_of_the_groups_are_means_over_their_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(300) % 6
    predicted = torch.where(torch.rand(300, generator=generator) < 0.5, target, torch.randint(5, (300,)))  # 5: seldom
    predicted[target == 5] = 0  # class 5 is never predicted
    metric = Classification([10, 50, 40, 30, 20, 5], head=2)
    metric.update(predicted, target)
    result = metric.compute()
    recall = [float((predicted[target == c] == c).float().mean()) for c in range(6)]
    precision = [float((target[predicted == c] == c).float().mean()) for c in range(5)] + [0.0]
    assert result["head_recall"] == pytest.approx((recall[1] + recall[2]) / 2)
    assert result["head_precision"] == pytest.approx((precision[1] + precision[2]) / 2)
    assert result["tail_recall"] == pytest.approx(sum(recall[c] for c in (0, 3, 4, 5)) / 4)
    assert result["tail_precision"] == pytest.approx(sum(precision[c] for c in (0, 3, 4, 5)) / 4)
    both = (2 * result["head_precision"] + 4 * result["tail_precision"]) / 6
    assert both == pytest.approx(result["precision"])


def test_there_are_no_groups_unless_asked_for_and_none_without_samples() -> None:
    metric = Classification([3, 2, 1])
    metric.update(torch.tensor([0]), torch.tensor([0]))
    assert not any("head" in key or "tail" in key for key in metric.compute())
    metric = Classification([3, 2, 1], head=2)
    metric.update(torch.tensor([0, 1]), torch.tensor([0, 1]))
    result = metric.compute()
    assert result["head_recall"] == 1.0 and result["tail_recall"] is None and result["tail_precision"] is None
    with pytest.raises(LongtailError, match="head=0"):
        head_and_tail([1, 2], head=0)
