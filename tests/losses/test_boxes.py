"""Losses for the boxes of detectors: laws, and naive loops beside them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from longtail import LongtailError
from longtail.losses.box_equalization import BoxEqualizationLoss
from longtail.losses.group_softmax import GroupSoftmaxLoss

COUNTS = [2000, 5, 50, 9, 10, 99, 100]  # groups of 1, 2, 2, 1 and again 1 class: [5, 9], [50, 10, 99], [100], [2000]


def example(columns: int, *, boxes: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(boxes, columns, dtype=torch.float64), torch.randint(0, len(COUNTS) + 1, (boxes,))


def test_a_single_group_is_the_plain_softmax() -> None:
    loss = GroupSoftmaxLoss(COUNTS, bins=())
    logits, labels = example(8)
    assert loss.num_logits == 8
    assert torch.equal(loss(logits, labels), F.cross_entropy(logits, labels))
    assert torch.equal(loss.scores(logits), logits.softmax(1))


def test_groups_follow_the_instances() -> None:
    loss = GroupSoftmaxLoss(COUNTS)
    assert loss.group.tolist() == [0, 4, 1, 2, 1, 2, 2, 3]
    assert (loss.num_groups, loss.num_logits) == (5, 13)
    lvis = GroupSoftmaxLoss([5] * 300 + [50] * 400 + [500] * 430 + [5000] * 100)
    assert lvis.num_logits == 1236  # as published
    assert GroupSoftmaxLoss([5, 2000]).num_groups == 3  # a group without a class has no logit


def test_the_loss_is_the_sum_of_the_groups_mean_cross_entropies() -> None:
    loss = GroupSoftmaxLoss(COUNTS, beta=100)  # all others are kept
    logits, labels = example(13)
    expected = 0.0
    for group in range(5):
        members = [c for c, g in enumerate(loss.group.tolist()) if g == group]
        own = []
        for z, y in zip(logits, labels.tolist(), strict=True):
            z_group = [z[c] for c in members] + [z[8 + group]]
            place = members.index(y) if y in members else len(members)
            own.append(math.log(sum(math.exp(v) for v in z_group)) - float(z_group[place]))
        if any(y in members for y in labels.tolist()) or group == 0:
            expected += sum(own) / len(own)
    assert float(loss(logits, labels)) == pytest.approx(expected, rel=1e-9)


def test_others_are_beta_times_the_groups_own_boxes() -> None:
    loss = GroupSoftmaxLoss([5, 5000], beta=3)
    labels = torch.tensor([1] * 2 + [2] * 0 + [0] * 50)
    logits = torch.randn(52, loss.num_logits, requires_grad=True)
    loss(logits, labels).backward()
    assert logits.grad is not None
    seen = logits.grad[:, [1, 4]].abs().sum(1) > 0  # the group of class 1 and its others
    assert bool(seen[:2].all()) and int(seen[2:].sum()) == 6
    assert not bool(logits.grad[:, [2, 5]].any())  # class 2 has no box in the batch: its group has no loss
    assert bool((logits.grad[:, [0, 3]].abs().sum(1) > 0).all())  # background against foreground: all boxes
    none = GroupSoftmaxLoss([5, 5000], beta=0)
    logits.grad = None
    none(logits, labels).backward()
    assert int((logits.grad[:, [1, 4]].abs().sum(1) > 0).sum()) == 2


def test_group_scores_are_foreground_times_the_softmax_of_the_group() -> None:
    loss = GroupSoftmaxLoss(COUNTS)
    logits, _ = example(13)
    scores = loss.scores(logits)
    assert scores.shape == (40, 8) and float(scores.min()) >= 0 and float(scores.max()) <= 1
    group0, group2 = logits[:, [0, 8]].softmax(1), logits[:, [3, 5, 6, 10]].softmax(1)
    assert torch.allclose(scores[:, 0], group0[:, 0])
    assert torch.allclose(scores[:, 5], group0[:, 1] * group2[:, 1])


def test_gradients_of_the_group_softmax() -> None:
    loss = GroupSoftmaxLoss(COUNTS, beta=100)
    logits, labels = example(13, boxes=6)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_())


def test_box_equalisation_leaves_rare_classes_alone_unless_the_box_is_background_or_theirs() -> None:
    loss = BoxEqualizationLoss([500, 1, 3], 1000, threshold=2e-3)
    assert loss.tail.tolist() == [False, True, False]
    logits, labels = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])
    expected = 0.0
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        for c in (1, 2, 3):
            if c == 2 and y not in (0, 2):
                continue
            p = 1 / (1 + math.exp(-z[c]))
            expected -= math.log(p if y == c else 1 - p)
    assert float(loss(logits, labels)) == pytest.approx(expected / 5, rel=1e-9)


def test_box_equalisation_without_rare_classes_is_binary_cross_entropy() -> None:
    logits, labels = torch.randn(9, 4), torch.randint(0, 4, (9,))
    truth = F.one_hot(labels, 4)[:, 1:].float()
    expected = F.binary_cross_entropy_with_logits(logits[:, 1:], truth, reduction="sum") / 9
    assert torch.allclose(BoxEqualizationLoss([5, 5, 5], 10, threshold=0)(logits, labels), expected)
    scores = BoxEqualizationLoss([5, 5, 5], 10).scores(logits)
    assert torch.equal(scores[:, 1:], logits[:, 1:].sigmoid())
    assert torch.allclose(scores[:, 0], 1 - scores[:, 1:].amax(1))


def test_wrong_arguments_are_one_clear_line() -> None:
    with pytest.raises(LongtailError, match=r"logits have shape \[2, 8\]: 7 classes in 5 groups"):
        GroupSoftmaxLoss(COUNTS)(torch.zeros(2, 8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(LongtailError, match=r"bins are .*: they must increase"):
        GroupSoftmaxLoss(COUNTS, bins=(10, 10))
    with pytest.raises(LongtailError, match="beta is -1"):
        GroupSoftmaxLoss(COUNTS, beta=-1)
    with pytest.raises(LongtailError, match="threshold is 2"):
        BoxEqualizationLoss([1], 1, threshold=2)


def test_a_batch_without_boxes_has_no_loss() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    assert float(GroupSoftmaxLoss(COUNTS)(torch.zeros(0, 13), empty)) == 0
    assert float(BoxEqualizationLoss(COUNTS, 9)(torch.zeros(0, 8), empty)) == 0
