"""Losses for the boxes of detectors: laws, and naive loops beside them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from longtail import ClassWeightedLoss, FocalLoss, LongtailError
from longtail.functional import difficulty_shift
from longtail.losses import BalancedBoxesLoss, SeesawLoss, class_weighted, with_background
from longtail.losses.box_equalization import BoxEqualizationLoss
from longtail.losses.box_seesaw import BoxSeesawLoss
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


def test_the_background_weighs_one_and_is_not_shifted() -> None:
    weight = torch.tensor([0.5, 2.0, 0.0, 1.5], dtype=torch.float64)
    logits, labels = torch.randn(9, 5, dtype=torch.float64), torch.arange(9) % 5
    own = torch.cat([torch.ones(1, dtype=torch.float64), weight])
    naive = sum(own[y] * F.cross_entropy(z[None], y[None]) for z, y in zip(logits, labels, strict=True)) / 9
    torch.testing.assert_close(with_background(ClassWeightedLoss(weight), 4)(logits, labels), naive)
    focal = with_background(class_weighted(FocalLoss(gamma=2), weight), 4)
    assert torch.equal(focal(logits, labels), class_weighted(FocalLoss(gamma=2), own)(logits, labels))
    shift = torch.cat([torch.zeros(1, dtype=torch.float64), difficulty_shift(weight)])
    moved = with_background(class_weighted(ClassWeightedLoss(None), weight, form="logit"), 4)
    torch.testing.assert_close(moved(logits, labels), F.cross_entropy(logits + shift, labels))


def test_the_criterion_itself_is_left_alone_and_sees_new_weights() -> None:
    weight = torch.ones(4)
    criterion = ClassWeightedLoss(weight)
    padded = with_background(criterion, 4)
    logits, labels = torch.randn(6, 5), torch.full((6,), 2)
    before = padded(logits, labels)
    weight[1] = 3.0
    torch.testing.assert_close(padded(logits, labels), 3 * before)
    assert criterion.source is weight and len(padded.weight) == 5  # type: ignore[union-attr]
    assert with_background(F.cross_entropy, 4) is F.cross_entropy
    with pytest.raises(LongtailError, match="3 class weights for a detector of 4 classes and the background"):
        with_background(ClassWeightedLoss(torch.ones(3)), 4)


def test_seesaw_of_boxes_is_seesaw_of_the_foreground_and_a_softmax_for_the_background() -> None:
    loss, plain = BoxSeesawLoss(3), SeesawLoss(3, reduction="sum")
    for seed in range(2):  # the counts of the first batch act on the second
        logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(seed))
        labels = torch.tensor([0, 1, 2, 1, 0, 3, 1, 0])
        found = labels > 0
        objects = F.cross_entropy(torch.stack([logits[:, 0], logits[:, 4]], 1), found.long(), reduction="sum")
        expected = (plain(logits[found, 1:4], labels[found] - 1) + objects) / 8
        torch.testing.assert_close(loss(logits, labels), expected)
    assert loss.classes.counts.tolist() == [6, 2, 2]
    scores = loss.scores(logits)
    torch.testing.assert_close(scores.sum(1), torch.ones(8))
    torch.testing.assert_close(scores[:, 0], logits[:, [0, 4]].softmax(1)[:, 0])
    torch.testing.assert_close(scores[:, 1:] / scores[:, 1:].sum(1, keepdim=True), logits[:, 1:4].softmax(1))
    empty = loss(torch.randn(4, 5), torch.zeros(4, dtype=torch.int64))
    assert torch.isfinite(empty)
    with pytest.raises(LongtailError, match=r"3 classes take C \+ 2"):
        loss(torch.randn(4, 4), torch.zeros(4, dtype=torch.int64))


def test_balanced_boxes_are_those_of_the_class_that_an_image_was_drawn_for() -> None:
    """The weights are the shares with which boxes are kept when a class is drawn, then an image, then its boxes."""
    shown = [[0, 0, 1], [0], [0, 2], [1]]  # the classes of the boxes of four images; each has ten of the background
    image_counts = [sum(c in own for own in shown) for c in range(3)]
    loss = BalancedBoxesLoss(image_counts, [9, 9, 9])
    kept = {row: [0.0] * 4 for row in range(len(shown))}
    drawn = [0.0] * len(shown)
    for c in range(3):
        for row in (row for row, own in enumerate(shown) if c in own):
            chance = 1 / 3 / image_counts[c]
            drawn[row] += chance
            kept[row][c + 1] += chance
            kept[row][0] += chance * shown[row].count(c) / 10
    labels = torch.tensor([label for own in shown for label in [*(c + 1 for c in own), *[0] * 10]])
    image = torch.tensor([row for row, own in enumerate(shown) for _ in range(len(own) + 10)])
    expected = [kept[row][label] / drawn[row] for label, row in zip(labels.tolist(), image.tolist(), strict=True)]
    assert loss.weights(labels, image).tolist() == pytest.approx(expected)
    logits = torch.randn(len(labels), 4)
    weight = torch.tensor(expected)
    mean = float((F.cross_entropy(logits, labels, reduction="none") * weight).sum() / weight.sum())
    assert float(loss(logits, labels, image)) == pytest.approx(mean, rel=1e-5)


def test_an_image_of_one_class_keeps_as_much_background_as_boxes_and_one_of_none_keeps_nothing() -> None:
    loss = BalancedBoxesLoss([5, 5], [5, 5])
    assert loss.weights(torch.tensor([2, 2, 0, 0, 0, 0])).tolist() == [1, 1, 0.5, 0.5, 0.5, 0.5]
    assert loss.weights(torch.tensor([2, 2, 0])).tolist() == [1, 1, 1]  # no more than there is
    logits = torch.randn(3, 3, requires_grad=True)
    nothing = loss(logits, torch.zeros(3, dtype=torch.int64))
    nothing.backward()
    assert nothing.item() == 0 and not logits.grad.any()  # type: ignore[union-attr]
    assert loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)).item() == 0


def test_classes_of_few_instances_have_the_second_classifiers_scores() -> None:
    loss = BalancedBoxesLoss([50, 5, 9], [100, 99, 9])
    first, second = torch.randn(2, 6, 4)
    scores = loss.scores(torch.cat([first, second], dim=1))
    assert torch.equal(scores[:, :2], first.softmax(1)[:, :2])  # the background and the frequent class
    assert torch.equal(scores[:, 2:], second.softmax(1)[:, 2:])
    assert torch.equal(loss.scores(second), second.softmax(1))
    with pytest.raises(LongtailError, match="it takes \\[N, 4\\], once or twice side by side"):
        loss.scores(torch.randn(2, 5))
