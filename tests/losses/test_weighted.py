"""Laws of ClassWeightedLoss: values, gradients, reductions, ignored targets, live weights."""

from __future__ import annotations

import copy
import functools
import math
import pickle

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

from longtail import functional
from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.losses import ClassWeightedLoss, FocalLoss

WEIGHT = torch.tensor([0.2, 1.0, 1.8, 0.0])
BASES = ("cross_entropy", "focal", "mse", "hinge")
every_base = pytest.mark.parametrize("base", BASES)


def absolute(prediction: Tensor, target: Tensor) -> Tensor:
    """A user's loss: distance of the mean logit to the label."""
    return (prediction.mean(1) - target).abs()


def per_element(prediction: Tensor, target: Tensor) -> Tensor:
    """A user's loss with several terms a sample, ``[N, C]``."""
    return F.binary_cross_entropy_with_logits(prediction, F.one_hot(target, 4).to(prediction), reduction="none")


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(7, 4, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 2, 3, 2, 0, 1])


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits, retain_graph=True)[0]


def assert_same(ours: Tensor, theirs: Tensor, logits: Tensor) -> None:
    """Equal values and equal gradients."""
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits))


# Against a naive loop


@given(
    st.lists(st.sampled_from([0, 1, 2, 3, -100]), min_size=1, max_size=8),
    st.sampled_from(["mean", "weighted_mean", "sum"]),
    st.sampled_from([0.0, 0.1]),
)
def test_a_loop_over_the_samples_gives_the_same(target, reduction, smoothing):
    logits = torch.randn(len(target), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(len(target)))
    total, weights, samples = 0.0, 0.0, 0
    for row, y in zip(logits.tolist(), target, strict=True):
        if y == -100:
            continue
        norm = math.log(sum(math.exp(z) for z in row))
        nll = [norm - z for z in row]
        loss = (1 - smoothing) * nll[y] + smoothing * sum(nll) / 4
        total += float(WEIGHT[y]) * loss
        weights += float(WEIGHT[y])
        samples += 1
    divisor = {"mean": samples, "weighted_mean": weights, "sum": 1}[reduction]
    expected = total / divisor if divisor else 0.0
    criterion = ClassWeightedLoss(WEIGHT, reduction=reduction, label_smoothing=smoothing)
    assert float(criterion(logits, torch.tensor(target))) == pytest.approx(expected, rel=1e-6, abs=1e-12)


# Identities


@pytest.mark.parametrize("weight", [None, torch.ones(4), ClassDifficulty(4)], ids=["none", "ones", "unmeasured"])
@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equal_weights_are_plain_cross_entropy(batch, weight, reduction, smoothing):
    ours = ClassWeightedLoss(weight, reduction=reduction, label_smoothing=smoothing)(*batch)
    theirs = F.cross_entropy(*batch, reduction=reduction.removeprefix("weighted_"), label_smoothing=smoothing)
    assert_same(ours, theirs, batch[0])


def test_tau_zero_is_plain_cross_entropy_whatever_the_difficulty(batch):
    difficulty = ClassDifficulty(4, tau=0, normalize=False)
    difficulty.step([1.0, 0.5, 0.2, 0.0])
    assert_same(ClassWeightedLoss(difficulty)(*batch), F.cross_entropy(*batch), batch[0])


def test_equal_difficulties_are_plain_cross_entropy(batch):
    difficulty = ClassDifficulty(4)
    difficulty.step([0.7] * 4)
    assert_same(ClassWeightedLoss(difficulty)(*batch), F.cross_entropy(*batch), batch[0])


def test_cdb_w_is_the_papers_formula(batch):
    logits, target = batch
    difficulty = ClassDifficulty(4, tau=1.5, normalize=False, momentum=0)
    difficulty.step([0.9, 0.5, 0.2, 0.0])
    p = logits.softmax(1)[range(7), target]
    d = torch.tensor([0.1, 0.5, 0.8, 1.0], dtype=torch.float64)
    assert_same(ClassWeightedLoss(difficulty)(*batch), -(d[target] ** 1.5 * p.log()).mean(), logits)
    focal = -(d[target] ** 1.5 * (1 - p) ** 2 * p.log()).mean()
    assert_same(ClassWeightedLoss(difficulty, base="focal", gamma=2)(*batch), focal, logits)


def test_focal_with_gamma_zero_is_cross_entropy(batch):
    ours = ClassWeightedLoss(WEIGHT, base="focal", gamma=0)(*batch)
    assert_same(ours, ClassWeightedLoss(WEIGHT)(*batch), batch[0])


def test_weighted_mean_is_torchs_weighted_cross_entropy(batch):
    ours = ClassWeightedLoss(WEIGHT, reduction="weighted_mean")(*batch)
    assert_same(ours, F.cross_entropy(*batch, weight=WEIGHT.double()), batch[0])


def test_mean_and_weighted_mean_agree_iff_the_weights_of_the_batch_sum_to_its_size(batch):
    logits, target = batch
    mean, weighted = (ClassWeightedLoss(WEIGHT, reduction=r) for r in ("mean", "weighted_mean"))
    balanced = torch.tensor([0, 2, 1, 0, 2, 1, 1])
    assert float(WEIGHT[balanced].sum()) == pytest.approx(7)
    torch.testing.assert_close(mean(logits, balanced), weighted(logits, balanced))
    assert not torch.allclose(mean(logits, target), weighted(logits, target))


@pytest.mark.parametrize(
    "base",
    [
        nn.CrossEntropyLoss(reduction="none"),
        F.cross_entropy,
        functools.partial(F.cross_entropy, reduction="none"),
        lambda z, y: F.cross_entropy(z, y, reduction="none"),
    ],
)
def test_a_callable_is_a_base_loss(batch, base):
    assert_same(ClassWeightedLoss(WEIGHT, base=base)(*batch), ClassWeightedLoss(WEIGHT)(*batch), batch[0])


def test_any_users_loss_is_weighted(batch):
    logits, target = batch
    w = WEIGHT.double()[target]
    ours = ClassWeightedLoss(WEIGHT, base=absolute)(*batch)
    assert_same(ours, (w * absolute(*batch)).mean(), logits)
    terms = per_element(*batch)
    assert_same(ClassWeightedLoss(WEIGHT, base=per_element)(*batch), (w[:, None] * terms).mean(), logits)
    weighted = ClassWeightedLoss(WEIGHT, base=per_element, reduction="weighted_mean")(*batch)
    assert_same(weighted, (w[:, None] * terms).sum() / (4 * w.sum()), logits)


def test_a_base_with_parameters_is_trained():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(z * self.scale, y, reduction="none")

    criterion = ClassWeightedLoss(WEIGHT, base=Scaled())
    criterion(torch.randn(3, 4), torch.tensor([0, 1, 2])).backward()
    (scale,) = criterion.parameters()
    assert len(criterion.state_dict()) == 1
    assert float(scale.grad) != 0


@every_base
def test_gradients_are_those_of_finite_differences(batch, base):
    criterion = ClassWeightedLoss(WEIGHT, base=base)
    target = batch[1].clone()
    target[1] = -100
    assert torch.autograd.gradcheck(lambda z: criterion(z, target), (batch[0],))


@pytest.mark.parametrize("name", ["mse", "hinge"])
def test_mse_and_hinge_are_the_pure_functions(batch, name):
    pure = {"mse": functional.mse_loss, "hinge": functional.hinge_loss}[name]
    assert_same(ClassWeightedLoss(None, base=name)(*batch), pure(*batch).mean(), batch[0])


def test_focal_loss_module(batch):
    assert_same(FocalLoss(gamma=2)(*batch), functional.focal_loss(*batch, gamma=2).mean(), batch[0])
    assert_same(FocalLoss(gamma=0, reduction="sum")(*batch), F.cross_entropy(*batch, reduction="sum"), batch[0])


# Shapes, ignored targets, precision


@pytest.mark.parametrize("base", [*BASES, nn.CrossEntropyLoss(reduction="none")])
@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum", "none"])
def test_dense_targets_with_ignored_pixels_are_the_list_of_the_others(base, reduction):
    logits = torch.randn(2, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randint(4, (2, 3, 5))
    target[torch.rand(target.shape) < 0.3] = 255
    kept = target != 255
    criterion = ClassWeightedLoss(WEIGHT, base=base, reduction=reduction, ignore_index=255)
    dense = criterion(logits, target)
    rows = criterion(logits.movedim(1, -1)[kept], target[kept])
    if reduction == "none":
        assert dense.shape == target.shape
        assert bool((dense[~kept] == 0).all())
        dense, rows = dense[kept].sum(), rows.sum()
    assert_same(dense, rows, logits)
    assert float(gradient(dense, logits).movedim(1, -1)[~kept].abs().sum()) == 0


@every_base
@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum"])
@pytest.mark.parametrize("target", [[-100, -100], [3, 3]], ids=["all ignored", "all of weight zero"])
def test_a_batch_that_counts_nothing_has_loss_and_gradient_zero(base, reduction, target):
    logits = torch.randn(2, 4, requires_grad=True)
    loss = ClassWeightedLoss(WEIGHT, base=base, reduction=reduction)(logits, torch.tensor(target))
    assert loss.item() == 0
    assert float(gradient(loss, logits).abs().sum()) == 0


@every_base
def test_an_ignored_sample_may_hold_infinite_logits(base):
    logits = torch.randn(3, 4)
    expected = ClassWeightedLoss(WEIGHT, base=base)(logits[:2], torch.tensor([1, 2]))
    logits[2, 0] = -math.inf
    logits.requires_grad_()
    loss = ClassWeightedLoss(WEIGHT, base=base)(logits, torch.tensor([1, 2, -100]))
    torch.testing.assert_close(loss, expected)
    assert bool(torch.isfinite(gradient(loss, logits)[:2]).all())


@every_base
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_have_a_float32_loss(base, dtype):
    logits, target = torch.randn(7, 4).to(dtype).requires_grad_(), torch.tensor([0, 1, 2, 3, 2, 0, 1])
    loss = ClassWeightedLoss(WEIGHT, base=base)(logits, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, ClassWeightedLoss(WEIGHT, base=base)(logits.float(), target))
    assert gradient(loss, logits).dtype == dtype


def test_a_users_half_precision_losses_are_weighted_in_float32():
    logits, target = torch.randn(7, 4).bfloat16(), torch.tensor([0, 1, 2, 3, 2, 0, 1])
    loss = ClassWeightedLoss(WEIGHT, base=absolute, reduction="none")(logits, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, WEIGHT[target] * absolute(logits, target).float())


def test_tiny_weights_survive_half_precision_logits():
    difficulty = ClassDifficulty(2, tau=5, normalize=False, momentum=0)
    difficulty.step([0.98, 0.0])
    logits = torch.zeros(1, 2).half()
    assert float(ClassWeightedLoss(difficulty)(logits, torch.tensor([0]))) == pytest.approx(
        0.02**5 * math.log(2), rel=1e-3
    )


def test_under_autocast():
    model, criterion = nn.Linear(5, 4), ClassWeightedLoss(WEIGHT)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = criterion(model(torch.randn(6, 5)), torch.tensor([0, 1, 2, 3, 0, 1]))
    assert loss.dtype == torch.float32
    loss.backward()
    assert bool(torch.isfinite(model.weight.grad).all())


def test_half_of_the_module_does_not_touch_the_weights(batch):
    difficulty = ClassDifficulty(4)
    difficulty.step([0.9, 0.8, 0.1, 0.3])
    before = difficulty.weight.clone()
    ClassWeightedLoss(difficulty).half()
    assert torch.equal(difficulty.weight, before)


# The source of the weights


def test_the_loss_reads_the_source_in_every_forward_pass(batch):
    difficulty = ClassDifficulty(4)
    criterion = ClassWeightedLoss(difficulty)
    plain = criterion(*batch).item()
    difficulty.step([0.9, 0.1, 0.5, 0.7])
    expected = ClassWeightedLoss(difficulty.weight.clone())(*batch)
    assert criterion(*batch).item() == expected.item() != plain
    difficulty.double().float()  # .to() puts new tensors in place of the old ones
    difficulty.step([0.1, 0.9, 0.5, 0.7])
    assert criterion(*batch).item() == ClassWeightedLoss(difficulty.weight.clone())(*batch).item()


def test_a_tensor_is_held_not_copied(batch):
    weight = torch.ones(4)
    criterion = ClassWeightedLoss(weight)
    weight.zero_()
    assert criterion(*batch).item() == 0


def test_the_difficulty_is_not_part_of_the_loss_module():
    difficulty = ClassDifficulty(4)
    criterion = ClassWeightedLoss(difficulty)
    assert not criterion.state_dict()
    assert list(criterion.modules()) == [criterion]
    owner = nn.ModuleDict({"difficulty": difficulty, "criterion": criterion})
    assert {name.partition(".")[0] for name in owner.state_dict()} == {"difficulty"}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_of_both_stays_connected(copied, batch):
    difficulty = ClassDifficulty(4)
    twin, criterion = copied((difficulty, ClassWeightedLoss(difficulty)))
    twin.step([0.9, 0.1, 0.5, 0.7])
    assert torch.equal(criterion.weight, twin.weight)
    assert difficulty.weight.tolist() == [1] * 4


def test_gradients_reach_weights_that_are_learnt(batch):
    weight = torch.ones(4, requires_grad=True)
    ClassWeightedLoss(weight)(*batch).backward()
    assert bool((weight.grad > 0).all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_weights_are_brought_to_the_device_of_the_logits(batch):
    logits, target = (t.cuda() for t in batch)
    for source in (WEIGHT, ClassDifficulty(4)):
        criterion = ClassWeightedLoss(source)
        torch.testing.assert_close(criterion(logits, target).cpu(), criterion(*batch))


# Mistakes


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (torch.zeros(2, 4), torch.tensor([0, 4]), "label 4 is out of range: 4 classes"),
        (torch.zeros(2, 4), torch.tensor([0, -1]), "label -1 is out of range"),
        (torch.zeros(2, 4), torch.tensor([0.0, 1.0]), "class indices"),
        (torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.int64), r"logits of shape \[2, 4\] do not fit targets"),
        (torch.zeros(3, 4), torch.tensor([0, 1]), "do not fit"),
        (torch.zeros(2, 4, 5), torch.zeros(2, 6, dtype=torch.int64), "do not fit"),
        (torch.zeros(4), torch.tensor(0), "do not fit"),
        (torch.zeros(2, 3), torch.tensor([0, 1]), "4 class weights for logits of 3 classes"),
    ],
)
@every_base
def test_a_bad_batch_is_one_clear_line(base, prediction, target, message):
    with pytest.raises(LongtailError, match=message):
        ClassWeightedLoss(WEIGHT, base=base)(prediction, target)


@pytest.mark.parametrize("label", [4, -1])
def test_a_bad_label_is_named_for_a_users_loss_too(label):
    with pytest.raises(LongtailError, match=f"label {label} is out of range"):
        ClassWeightedLoss(WEIGHT, base=absolute)(torch.zeros(1, 4), torch.tensor([label]))


@pytest.mark.parametrize("base", [lambda z, y: z.mean(), lambda z, y: z.mean(0)])
def test_a_users_loss_that_reduces_is_told(base):
    with pytest.raises(LongtailError, match="must return one loss a sample"):
        ClassWeightedLoss(WEIGHT, base=base)(torch.zeros(3, 4), torch.tensor([0, 1, 2]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base": "l1"}, "unknown base loss 'l1': known are cross_entropy, focal, mse, hinge"),
        ({"base": nn.CrossEntropyLoss()}, "reduces by 'mean': build it with reduction='none'"),
        ({"reduction": "average"}, "unknown reduction 'average'"),
        ({"gamma": -1}, "gamma is -1"),
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5"),
        ({"label_smoothing": 0.1, "base": "focal"}, "label_smoothing belongs to the base loss 'cross_entropy'"),
        ({"gamma": 2}, "gamma belongs to the base loss 'focal'"),
        ({"margin": 2, "base": absolute}, "margin belongs to the base loss 'hinge'"),
        ({"weight": [1.0, -1.0]}, "class weights must be"),
        ({"weight": [1.0, math.nan]}, "class weights must be"),
        ({"weight": torch.ones(2, 2)}, "class weights must be"),
    ],
)
def test_options_are_checked_when_it_is_built(arguments, message):
    with pytest.raises(LongtailError, match=message):
        ClassWeightedLoss(arguments.pop("weight", WEIGHT), **arguments)


# Two processes


def one_step(rank: int | None) -> list:
    """Gradient of a CDB-W step: averaged over two halves of the batch, or of the whole."""
    torch.manual_seed(0)
    model, difficulty = nn.Linear(3, 4), ClassDifficulty(4)
    x, y = torch.randn(16, 3), torch.arange(16) % 4
    mine = slice(None) if rank is None else slice(rank * 8, rank * 8 + 8)
    difficulty.update(model(x[mine]), y[mine])
    difficulty.step()
    if rank is not None:
        model = nn.parallel.DistributedDataParallel(model)
    ClassWeightedLoss(difficulty)(model(x[mine]), y[mine]).backward()
    return [p.grad.tolist() for p in model.parameters()]


def test_the_gradient_of_two_processes_is_that_of_one(run_two):
    first, second = run_two(one_step)
    assert first == second
    for ours, alone in zip(first, one_step(None), strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(alone))
