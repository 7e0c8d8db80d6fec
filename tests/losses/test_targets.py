"""Targets of every integer type, and soft targets."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from longtail.errors import LongtailError
from longtail.functional import hinge_loss
from longtail.losses import ClassWeightedLoss, FocalLoss
from losses.every import BOXES, CLASSES, FUNCTIONS, MODULES, box_logits, difficulty

TARGET = torch.tensor([0, 1, 2, 3, 1, 0])
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 3.0])
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32]
SOFT = {name: build for name, build in MODULES.items() if name != "seesaw"}
SOFT_FUNCTIONS = {name: loss for name, loss in FUNCTIONS.items() if name != "seesaw_loss"}
ALL = MODULES | BOXES | {name: lambda loss=loss: loss for name, loss in FUNCTIONS.items()}


def mixed(*shape: int) -> torch.Tensor:
    """Soft targets of two or more classes."""
    return torch.rand(6, CLASSES, *shape, dtype=torch.float64).softmax(1)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ALL)
def test_every_integer_type_is_as_good_as_int64(name, dtype):
    loss = ALL[name]()
    logits = torch.randn(6, box_logits(loss) if name in BOXES else CLASSES)
    expected = ALL[name]()(logits, TARGET)
    assert torch.equal(loss(logits, TARGET.to(dtype)), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_ignored_targets_of_every_integer_type(dtype):
    logits, target = torch.randn(2, 4, 3, 3), torch.randint(4, (2, 3, 3))
    target[0, 0] = 255 if dtype == torch.uint8 else -100
    loss = ClassWeightedLoss(WEIGHT, ignore_index=int(target[0, 0, 0]))
    assert torch.equal(loss(logits, target.to(dtype)), loss(logits, target))
    with pytest.raises(LongtailError, match="label 156 is out of range"):  # -100 is the same byte
        ClassWeightedLoss(WEIGHT)(logits, torch.full((2, 3, 3), 156, dtype=torch.uint8))


@pytest.mark.parametrize("name", SOFT)
def test_one_class_with_probability_one_is_its_index(name):
    loss, logits = SOFT[name](), torch.randn(6, CLASSES, dtype=torch.float64, requires_grad=True)
    hard, soft = loss(logits, TARGET), loss(logits, F.one_hot(TARGET, CLASSES).double())
    torch.testing.assert_close(soft, hard)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (soft, hard)))


@pytest.mark.parametrize("name", SOFT_FUNCTIONS)
def test_one_class_with_probability_one_is_its_index_for_the_pure_functions(name):
    loss, logits = SOFT_FUNCTIONS[name], torch.randn(6, CLASSES, 5, dtype=torch.float64)
    if "equalization" in name:
        logits = logits[..., 0]
    target = torch.randint(CLASSES, (6, *logits.shape[2:]))
    one_hot = F.one_hot(target, CLASSES).movedim(-1, 1).double()
    torch.testing.assert_close(loss(logits, one_hot), loss(logits, target))


@pytest.mark.parametrize("name", ["focal_loss", "hinge_loss", "shifted_cross_entropy", "ldam_loss"])
def test_a_soft_target_is_the_expected_loss_of_its_classes(name):
    loss, logits, target = FUNCTIONS[name], torch.randn(6, CLASSES, 5, dtype=torch.float64), mixed(5)
    each = torch.stack([loss(logits, torch.full((6, 5), c)) for c in range(CLASSES)], dim=1)
    torch.testing.assert_close(loss(logits, target), (target * each).sum(1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("margin", [1.0, 0.0, 3.5])
def test_soft_hinge_is_right_where_logits_are_equal(margin):
    logits = torch.randint(3, (6, CLASSES)).double()
    each = torch.stack([hinge_loss(logits, torch.full((6,), c), margin=margin) for c in range(CLASSES)], dim=1)
    target = mixed()
    torch.testing.assert_close(hinge_loss(logits, target, margin=margin), (target * each).sum(1))


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum", "none"])
def test_the_weight_of_a_soft_target_is_the_mean_weight_of_its_classes(reduction):
    logits, target = torch.randn(6, CLASSES, dtype=torch.float64), mixed()
    w, losses = target @ WEIGHT.double(), F.cross_entropy(logits, target, reduction="none")
    found = ClassWeightedLoss(WEIGHT, reduction=reduction)(logits, target)
    divisor = {"mean": 6, "weighted_mean": w.sum(), "sum": 1, "none": 1}[reduction]
    expected = w * losses / divisor
    torch.testing.assert_close(found, expected if reduction == "none" else expected.sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_weights_a_soft_target_is_torchs_cross_entropy(smoothing):
    logits, target = torch.randn(6, CLASSES, 3, dtype=torch.float64), mixed(3)
    ours = ClassWeightedLoss(None, label_smoothing=smoothing)(logits, target)
    torch.testing.assert_close(
        ours, F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="none").mean()
    )
    for base in (F.cross_entropy, torch.nn.CrossEntropyLoss(reduction="none")):
        unweighted = ClassWeightedLoss(None, base=base)(logits, target)
        torch.testing.assert_close(unweighted, ClassWeightedLoss(torch.ones(CLASSES), base=base)(logits, target))
        torch.testing.assert_close(unweighted, F.cross_entropy(logits, target, reduction="none").mean())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_soft_targets(dtype):
    logits, target = torch.randn(6, CLASSES), mixed().to(dtype)
    loss = ClassWeightedLoss(difficulty())
    assert loss(logits.to(dtype), target).dtype == torch.float32
    w, losses = target.float() @ loss.weight, F.cross_entropy(logits, target.float(), reduction="none")
    torch.testing.assert_close(loss(logits, target), (w * losses).mean())


def test_the_instance_weight_of_a_soft_target_is_expected_over_its_classes():
    logits, target = torch.randn(6, CLASSES, dtype=torch.float64), mixed()
    loss = FocalLoss(gamma=2.0)
    each = torch.stack([loss.instance_weight(logits, torch.full((6,), c)) for c in range(CLASSES)], dim=1)
    torch.testing.assert_close(loss.instance_weight(logits, target), (target * each).sum(1))


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf])
def test_soft_targets_that_are_no_probabilities_are_told(wrong):
    target = mixed()
    target[2, 1] = wrong
    with pytest.raises(LongtailError, match="soft targets must be finite numbers >= 0"):
        ClassWeightedLoss(WEIGHT)(torch.randn(6, CLASSES), target)


def test_seesaw_says_what_to_do_with_mixed_images():
    with pytest.raises(LongtailError, match=r"give class indices \(of mixed images: share \* loss\(z, y_a\)"):
        MODULES["seesaw"]()(torch.randn(6, CLASSES), mixed())


@pytest.mark.parametrize("name", [*BOXES, "seesaw_loss"])
def test_other_losses_refuse_soft_targets(name):
    loss = ALL[name]()
    columns = box_logits(loss) if name in BOXES else CLASSES
    if name == "cross-entropy of boxes":
        return  # a ClassWeightedLoss like the others
    with pytest.raises(LongtailError, match="targets must be class indices"):
        loss(torch.randn(6, columns), torch.rand(6, columns))


def test_hinge_refuses_nan_logits_that_count():
    """torch's own hinge takes a NaN for a wrong class that is far behind."""
    logits, target = torch.randn(3, CLASSES), torch.tensor([0, 1, -100])
    logits[2, 0] = math.nan
    loss = ClassWeightedLoss(None, base="hinge")
    assert bool(loss(logits, target).isfinite())
    logits[1, 3] = math.nan
    with pytest.raises(LongtailError, match="the logits hold NaN"):
        loss(logits, target)
    assert bool(FUNCTIONS["hinge_loss"](logits, torch.tensor([0, 1, 2]))[1:].isnan().all())
