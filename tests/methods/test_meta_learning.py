"""Laws of L2RW, Meta-Weight-Net and Difficulty-Net: their meta-gradients, and what a virtual step leaves alone."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clear import assert_clear
from longtail.data import load_data
from longtail.errors import LongtailError
from longtail.methods import ClassStats, Parts, StepContext, get_method
from longtail.methods._meta import VirtualStep
from longtail.tasks.image import ImageTask
from longtail.training.config import RunConfig
from longtail.training.run import train

STATS = ClassStats(class_counts=[30, 10, 4], seed=3)
PERFORMANCE = torch.tensor([0.9, 0.4, float("nan")], dtype=torch.float64)
METHODS = ("l2rw", "mw-net", "difficulty-net")
every_method = pytest.mark.parametrize("name", METHODS)


def build(name: str, *, double: bool = True, measured: bool = True, **kwargs) -> Parts:
    parts = get_method(name, **kwargs).parts(STATS)
    if double and hasattr(parts.step, "net"):
        parts.step.net.double()
    if double and parts.difficulty is not None:
        for buffer in parts.difficulty.buffers():
            buffer.data = buffer.data.double() if buffer.is_floating_point() else buffer.data
    if measured and parts.difficulty is not None:
        parts.difficulty.step(PERFORMANCE)
    return parts


def network(*, norm: bool = True, drop: float = 0.0) -> nn.Module:
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.Tanh(), nn.Dropout(drop)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 3)).double()


def context(parts: Parts, model: nn.Module, *, size: int = 9, lr: float = 0.3, classes: int = 3) -> StepContext:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(size + 6, 1, 4, 4, generator=generator, dtype=torch.float64)
    target = torch.arange(size + 6) % classes
    batch, meta = (images[:size], target[:size]), (images[size:], target[size:])
    return StepContext(model=model, forward=model, criterion=parts.criterion, batch=batch, meta=meta, lr=lr)


def meta_loss(where: StepContext, weight: Tensor) -> float:
    """What the held-out batch loses after a step on ``mean_i(weight_i * l_i)`` that is really taken, by a copy."""
    model = copy.deepcopy(where.model)
    images, target = where.batch
    with torch.enable_grad():
        (weight * F.cross_entropy(model(images), target, reduction="none")).mean().backward()
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= where.lr * p.grad
    images, target = where.meta
    return float(F.cross_entropy(model(images), target))


def slope(function, values: Tensor, direction: Tensor, *, h: float = 1e-5) -> float:
    """Central difference; ``values`` are moved in place and put back."""
    with torch.no_grad():
        values += h * direction
        above = function()
        values -= 2 * h * direction
        below = function()
        values += h * direction
    return (above - below) / (2 * h)


@pytest.mark.parametrize("norm", [True, False])
def test_l2rw_is_the_derivative_by_weights_that_are_zero(norm):
    """Finite differences, and the formula with explicit gradients of every sample."""
    model = network(norm=norm)
    parts = build("l2rw")
    where = context(parts, model)
    found = -where.lr / 9 * VirtualStep(where).alignment()
    weight = torch.zeros(9, dtype=torch.float64)
    differences = [slope(lambda: meta_loss(where, weight), weight, one) for one in torch.eye(9, dtype=torch.float64)]
    torch.testing.assert_close(found, torch.tensor(differences, dtype=torch.float64), rtol=1e-6, atol=1e-9)

    reference = copy.deepcopy(model)
    parameters = list(reference.parameters())
    meta = F.cross_entropy(reference(where.meta[0]), where.meta[1])
    direction = torch.autograd.grad(meta, parameters)
    dots = []
    for loss in F.cross_entropy(reference(where.batch[0]), where.batch[1], reduction="none"):
        gradient = torch.autograd.grad(loss, parameters, retain_graph=True)
        dots.append(sum(float((g * v).sum()) for g, v in zip(gradient, direction, strict=True)))
    positive = torch.tensor(dots, dtype=torch.float64).clamp(min=0)
    assert 0 < int((positive > 0).sum()) < 9
    torch.testing.assert_close(parts.step.weights(where) / 9, positive / positive.sum(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
def test_finite_differences_agree_with_the_meta_gradient_of_the_weight_net(normalize):
    parts = build("mw-net", hidden=5, normalize=normalize)
    where, step = context(parts, network()), parts.step
    virtual = VirtualStep(where)
    losses = virtual.losses.detach().unsqueeze(1)

    def function() -> float:
        values = step.net(losses).squeeze(1)
        return meta_loss(where, (values / values.mean() if normalize else values).detach())

    check_gradient(step.objective(virtual), step.net, function)


@pytest.mark.parametrize("driver", [0.0, 0.3])
def test_finite_differences_agree_with_the_meta_gradient_of_difficulty_net(driver):
    parts = build("difficulty-net", hidden=5, driver=driver)
    where, step = context(parts, network()), parts.step
    accuracy = torch.tensor([0.9, 0.4, 0.65], dtype=torch.float64)  # the class without samples: mean of the others

    def function() -> float:
        scores = step.net(accuracy).detach()
        toward = float(((scores - (1 - accuracy / accuracy.sum())) ** 2).mean())
        return meta_loss(where, (3 * scores / scores.sum())[where.batch[1]]) + driver * toward

    check_gradient(step.objective(VirtualStep(where)), step.net, function)


def check_gradient(objective: Tensor, net: nn.Module, function) -> None:
    gradients = torch.autograd.grad(objective, list(net.parameters()))
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        direction = torch.randn_like(parameter)
        expected = slope(function, parameter, direction)
        assert abs(expected) > 1e-7
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-4)


@every_method
def test_model_and_generators_are_left_alone(name):
    """Bit for bit: buffers, parameters, gradients; the forward pass that follows is the first to change BatchNorm."""
    model, parts = network(drop=0.5), build(name)
    model[0].bias.requires_grad_(False)
    where = context(parts, model)
    model(where.meta[0])  # statistics that differ from a fresh model's
    before, draws = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    virtual = VirtualStep(where)
    virtual.meta_gradient(torch.ones(9, dtype=torch.float64))
    assert "0.bias" not in virtual.parameters and len(virtual.parameters) == 5
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(draws, torch.get_rng_state())
    plain = copy.deepcopy(model)
    parts.step(where)["loss"].backward()
    assert model[0].bias.grad is None
    torch.set_rng_state(draws)
    plain(where.batch[0])
    assert all(torch.equal(plain.state_dict()[key], value) for key, value in model.state_dict().items())
    assert int(model[1].num_batches_tracked) == 2


def test_the_virtual_step_sees_the_dropout_of_the_real_one():
    model = network(drop=0.5)
    where = context(build("l2rw"), model)
    virtual = VirtualStep(where).losses
    torch.testing.assert_close(virtual, F.cross_entropy(model(where.batch[0]), where.batch[1], reduction="none"))


def equal_weights(name: str) -> tuple[Parts, StepContext]:
    parts, model = build(name, measured=False), network(norm=False)
    where = context(parts, model)
    if name == "mw-net":
        nn.init.zeros_(parts.step.net.layers[-1][0].weight)  # the same value for every loss
        parts.step.net.optimizer.param_groups[0]["lr"] = 0.0
    if name == "l2rw":  # one sample, over and over
        batch = where.batch[0][:1].expand(9, 1, 4, 4), where.batch[1][:1].expand(9)
        where = dataclasses.replace(where, batch=batch, meta=batch)
    return parts, where


@every_method
def test_equal_weights_are_the_plain_mean(name):
    """Difficulty-Net: before the first measurement."""
    parts, where = equal_weights(name)
    parameters = list(where.model.parameters())
    loss = parts.step(where)["loss"]
    plain = F.cross_entropy(where.model(where.batch[0]), where.batch[1])
    torch.testing.assert_close(loss, plain)
    for ours, theirs in zip(*(torch.autograd.grad(value, parameters) for value in (loss, plain)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_l2rw_takes_no_step_when_no_sample_helps():
    parts = build("l2rw")
    where = context(parts, nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double())
    images = torch.ones(4, 1, 4, 4, dtype=torch.float64)
    batch, meta = ((images, torch.full((4,), label)) for label in (0, 1))  # the same image, said to be another class
    output = parts.step(dataclasses.replace(where, batch=batch, meta=meta))
    output["loss"].backward()
    assert float(output["loss"].detach()) == 0
    assert all(not p.grad.any() for p in where.model.parameters())


def test_l2rw_gives_the_rare_class_more_weight():
    generator = torch.Generator().manual_seed(0)
    target = (torch.arange(200) % 20 == 0).long()  # 10 of 200
    images = torch.randn(200, 1, 4, 4, generator=generator, dtype=torch.float64) + target.view(-1, 1, 1, 1)
    held_out = torch.arange(20) % 2
    meta = torch.randn(20, 1, 4, 4, generator=generator, dtype=torch.float64) + held_out.view(-1, 1, 1, 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    parts, totals = build("l2rw"), torch.zeros(2, dtype=torch.float64)
    for _ in range(20):
        where = StepContext(
            model=model, forward=model, criterion=parts.criterion, batch=(images, target), meta=(meta, held_out), lr=0.1
        )
        totals.index_add_(0, target, parts.step.weights(where))
        loss = parts.step(where)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rare, common = totals[1] / 10, totals[0] / 190
    assert rare > 1.5 * common


def test_mixed_precision_finds_nearly_the_same():
    model, parts = network().float(), build("l2rw", double=False)
    where = context(parts, model)
    shares = {k: (getattr(where, k)[0].float(), getattr(where, k)[1]) for k in ("batch", "meta")}
    where = dataclasses.replace(where, **shares)
    exact = VirtualStep(where).alignment()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = VirtualStep(where).alignment()
        for name in METHODS:
            assert parts_finite(name, where)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.02 * float(exact.abs().max()))


def parts_finite(name: str, where: StepContext) -> bool:
    parts = build(name, double=False)
    output = parts.step(dataclasses.replace(where, criterion=parts.criterion))
    return bool(torch.isfinite(output["loss"])) and bool(torch.isfinite(output["logits"]).all())


@every_method
@pytest.mark.parametrize("which", ["batch", "meta"])
def test_a_label_out_of_range_is_one_clear_line(name, which):
    parts = build(name)
    where = context(parts, network())
    images, target = getattr(where, which)
    with pytest.raises(LongtailError, match="label 3 is out of range: 3 classes"):
        parts.step(dataclasses.replace(where, **{which: (images, target + 1)}))


# -- several processes ---------------------------------------------------------------------------------------------
def steps_of(rank: int, world: int, name: str, size: int) -> tuple[list[float], list[list[float]]]:
    """Sum of the loss's gradient over this share's samples, and the network that has learnt, after two steps."""
    torch.manual_seed(1)
    model, parts = network(norm=False), build(name)
    where = context(parts, model, size=size)
    shares = {k: tuple(t[rank::world] for t in getattr(where, k)) for k in ("batch", "meta")}
    where = dataclasses.replace(where, **shares)
    gradient = torch.zeros(())
    for _ in range(2):
        loss = parts.step(where)["loss"] * len(where.batch[1])
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    net = getattr(parts.step, "net", nn.Identity())
    return gradient.tolist(), [p.flatten().tolist() for p in net.parameters()]


def steps_of_both(rank: int, name: str, size: int) -> tuple[list[float], list[list[float]]]:
    return steps_of(rank, 2, name, size)


@every_method
@pytest.mark.parametrize("size", [8, 9])
def test_two_processes_find_what_one_does(run_two, name, size):
    (first, net), (second, same_net) = run_two(steps_of_both, name, size)
    alone, its_net = steps_of(0, 1, name, size)
    torch.testing.assert_close(torch.tensor(first) + torch.tensor(second), torch.tensor(alone), rtol=1e-5, atol=1e-6)
    assert net == same_net
    for ours, theirs in zip(net, its_net, strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-5, atol=1e-6)


# -- in real runs --------------------------------------------------------------------------------------------------
def digits_task(**options) -> ImageTask:
    return ImageTask(load_data("digits"), model="lenet5", image_size=8, device=torch.device("cpu"), seed=1, **options)


def test_meta_batches_are_balanced_and_a_function_of_seed_and_epoch():
    task = digits_task()
    batches = [list(task.meta_batches(20, 5, epoch=epoch)) for epoch in (0, 0, 1)]
    for _, target in batches[0]:
        assert torch.bincount(target, minlength=10).tolist() == [2] * 10
    same, other = ([torch.equal(a[0], b[0]) for a, b in zip(batches[0], batches[k], strict=True)] for k in (1, 2))
    assert all(same) and not any(other)
    shares = [list(digits_task(rank=rank, world=2).meta_batches(20, 5, epoch=0)) for rank in range(2)]
    for (images, target), *parts in zip(batches[0], *shares, strict=True):
        for rank, (x, y) in enumerate(parts):
            assert torch.equal(images[rank::2], x) and torch.equal(target[rank::2], y)
    assert list(task.meta_batches(0, 3, epoch=0)) == [None] * 3
    with pytest.raises(LongtailError, match="meta_batch is 1: 2 processes need"):
        digits_task(rank=1, world=2).meta_batches(1, 5, epoch=0)


def test_a_class_that_the_held_out_split_lacks_is_left_out():
    task = digits_task()
    val = task.data.val
    kept = (val.labels != 4).nonzero().flatten()
    task.data = dataclasses.replace(
        task.data, val=dataclasses.replace(val, images=val.images[kept], labels=val.labels[kept])
    )
    for _, target in task.meta_batches(18, 3, epoch=0):
        assert torch.bincount(target, minlength=10).tolist() == [2, 2, 2, 2, 0, 2, 2, 2, 2, 2]


SMALL = {
    "data": "digits", "model": "resnet20", "image_size": 8, "imbalance": 10.0, "epochs": 4, "batch_size": 64,
    "lr": 0.05, "schedule": "cosine", "warmup_epochs": 0, "device": "cpu", "final": "last",
}  # fmt: skip


@every_method
def test_it_learns(name, tmp_path):
    metrics = train(RunConfig(**SMALL | {"method": name, "method_kwargs": ("meta_batch=20",)}), tmp_path)
    assert metrics["test"]["top1"] > 0.5  # chance: 0.1


@every_method
def test_a_loss_that_is_not_finite_is_one_clear_line(name, tmp_path):
    options = SMALL | {"method": name, "lr": 1e20, "model": "lenet5-classic", "image_size": 16}
    with pytest.raises(LongtailError, match="not finite") as error:
        train(RunConfig(**options), tmp_path)
    assert_clear(error.value)


def test_it_needs_a_held_out_split():
    for name in METHODS:
        assert get_method(name).needs_held_out
    assert get_method("crt", stage1="mw-net").needs_held_out
