"""Laws of `class_weighted`: class weights on top of any loss, as a factor or as a shift of the logits."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.losses import (
    BalancedSoftmaxLoss,
    CDTLoss,
    ClassWeightedLoss,
    EqualizationLoss,
    FocalLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    SeesawLoss,
    VSLoss,
    class_weighted,
)

COUNTS = [50, 20, 6, 0]
OWN = torch.tensor([0.5, 1.0, 2.0, 0.3])
LOSSES = {
    "cross-entropy": lambda: ClassWeightedLoss(None),
    "smoothed": lambda: ClassWeightedLoss(None, label_smoothing=0.1, reduction="weighted_mean"),
    "weighted": lambda: ClassWeightedLoss(OWN),
    "hinge": lambda: ClassWeightedLoss(None, base="hinge"),
    "brier": lambda: ClassWeightedLoss(None, base="mse"),
    "focal": lambda: FocalLoss(gamma=2.0),
    "balanced softmax": lambda: BalancedSoftmaxLoss(COUNTS),
    "logit adjustment": lambda: LogitAdjustedLoss(COUNTS, tau=0.5),
    "vs": lambda: VSLoss(COUNTS),
    "cdt": lambda: CDTLoss(COUNTS),
    "ldam, weighted": lambda: LDAMLoss(COUNTS, weight=OWN, reduction="weighted_mean"),
    "eql": lambda: EqualizationLoss(COUNTS, threshold=0.2),
    "sigmoid eql": lambda: EqualizationLoss(COUNTS, threshold=0.2, form="sigmoid"),
    "seesaw": lambda: SeesawLoss(4),
}
every_loss = pytest.mark.parametrize("build", LOSSES.values(), ids=LOSSES)
every_form = pytest.mark.parametrize("form", ["weight", "logit"])


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(9, 4, requires_grad=True), torch.tensor([0, 1, 2, 3, 2, 0, 1, -100, 0])


def outcome(criterion: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Loss and gradient, with the same random draws each time."""
    torch.manual_seed(5)
    loss = criterion(*batch)
    return loss.detach(), torch.autograd.grad(loss, batch[0])[0]


def difficulty(tau: float = 2.0) -> ClassDifficulty:
    measured = ClassDifficulty(4, tau=tau, momentum=0)
    measured.step([0.9, 0.5, 0.2, 0.0])
    return measured


@every_loss
@every_form
def test_weights_of_one_change_nothing_to_the_last_bit(build, form, batch):
    for source in (difficulty(tau=0), ClassDifficulty(4), torch.ones(4)):
        plain, weighted = outcome(build(), batch), outcome(class_weighted(build(), source, form=form), batch)
        assert torch.equal(weighted[0], plain[0])
        assert torch.equal(weighted[1], plain[1])


@every_loss
def test_weights_multiply_the_loss_of_a_sample_and_the_weights_that_it_has(build, batch):
    source = difficulty()
    plain, weighted = build(), class_weighted(build(), source)
    plain.reduction = weighted.reduction = "none"
    torch.manual_seed(5)
    losses = plain(*batch)
    torch.manual_seed(5)
    expected = losses * source.weight[batch[1].clamp(min=0)]
    torch.testing.assert_close(weighted(*batch), expected)


@every_loss
def test_a_shift_is_the_loss_of_shifted_logits(build, batch):
    source = difficulty()
    shift = -0.7 * (source.weight / source.weight.max()).clamp(min=1e-3).log()
    torch.manual_seed(5)
    expected = build()(batch[0] + shift, batch[1])
    torch.manual_seed(5)
    torch.testing.assert_close(class_weighted(build(), source, form="logit", strength=0.7)(*batch), expected)


def test_the_sign_of_the_shift_demands_a_larger_margin_of_the_harder_class():
    """The loss of each class is that of margins log(w_y / w_j); where it is equal, the harder class leads by more."""
    weight = torch.tensor([2.0, 0.5])
    loss = class_weighted(ClassWeightedLoss(None, reduction="none"), weight, form="logit")
    for y, other in ((0, 1), (1, 0)):
        lead = torch.randn(5)
        logits = torch.zeros(5, 2)
        logits[:, y] = lead
        expected = F.softplus(-lead + math.log(weight[y] / weight[other]))
        torch.testing.assert_close(loss(logits, torch.full((5,), y)), expected)


@every_form
def test_the_source_is_read_anew_in_every_forward_pass(form, batch):
    source = ClassDifficulty(4, momentum=0)
    criterion = class_weighted(BalancedSoftmaxLoss(COUNTS), source, form=form)
    before = criterion(*batch)
    source.step([0.9, 0.5, 0.2, 0.0])
    after = criterion(*batch)
    assert not torch.equal(before, after)
    assert torch.equal(after, class_weighted(BalancedSoftmaxLoss(COUNTS), difficulty(), form=form)(*batch))


@every_form
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_keeps_loss_and_difficulty_together(form, copied, batch):
    source = difficulty()
    twin, twin_source = copied((class_weighted(LDAMLoss(COUNTS, weight=OWN), source, form=form), source))
    twin_source.step([0.0, 0.9, 0.9, 0.9])
    original = class_weighted(LDAMLoss(COUNTS, weight=OWN), source, form=form)
    assert not torch.equal(twin(*batch), original(*batch))
    source.step([0.0, 0.9, 0.9, 0.9])
    assert torch.equal(twin(*batch), original(*batch))
    assert twin.state_dict() == {}


def test_torchs_cross_entropy_is_taken_over_with_its_options(batch):
    theirs = nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=-100)
    torch.testing.assert_close(class_weighted(theirs, torch.ones(4))(*batch), theirs(*batch))


def test_another_reduction_takes_the_place_of_the_losss_own(batch):
    ours = class_weighted(FocalLoss(gamma=0), OWN, reduction="weighted_mean")
    torch.testing.assert_close(ours(*batch), F.cross_entropy(*batch, weight=OWN))
    assert class_weighted(LDAMLoss(COUNTS, reduction="weighted_mean"), OWN).reduction == "weighted_mean"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.MSELoss(), OWN), "the loss MSELoss takes no class weights"),
        ((nn.CrossEntropyLoss(weight=OWN), OWN), "the loss CrossEntropyLoss takes no class weights"),
        ((F.cross_entropy, OWN), "the loss function takes no class weights"),
        ((FocalLoss(), torch.tensor([1.0, -1.0])), "class weights must be finite numbers >= 0"),
    ],
)
def test_what_cannot_be_weighted_is_told(arguments, message):
    with pytest.raises(LongtailError, match=message):
        class_weighted(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "margin"}, "unknown form 'margin': known are weight, logit"),
        ({"form": "logit", "strength": -1}, "strength is -1"),
        ({"reduction": "median"}, "unknown reduction 'median'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(LongtailError, match=message):
        class_weighted(FocalLoss(), OWN, **options)
    with pytest.raises(LongtailError, match="class weights must be finite numbers >= 0"):
        class_weighted(FocalLoss(), torch.tensor([1.0, -1.0]), form="logit")


@every_form
def test_weights_that_do_not_fit_the_logits_are_told(form):
    with pytest.raises(LongtailError, match="4 class"):
        class_weighted(ClassWeightedLoss(None), OWN, form=form)(torch.zeros(2, 3), torch.tensor([0, 1]))
