"""Every loss passes through torch.compile, torch.export and torch.func, and gives there what it gives without them."""

from __future__ import annotations

import shutil
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from longtail.errors import LongtailError
from losses.every import BOXES, CLASSES, FUNCTIONS, MODULES, box_logits

EVERY = MODULES | BOXES | {name: lambda loss=loss: loss for name, loss in FUNCTIONS.items()}
every_loss = pytest.mark.parametrize("name", EVERY)
TARGET = torch.tensor([0, 1, 2, 3, 1, 0])


class Called(nn.Module):
    """A module that calls a loss: what torch.export takes."""

    def __init__(self, loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.loss(logits, target)


def built(name: str) -> tuple:
    """A fresh loss and logits for it."""
    loss = EVERY[name]()
    columns = box_logits(loss) if name in BOXES else CLASSES
    return loss, torch.randn(6, columns, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _own_graphs():
    """Each test compiles anew, and torch may call its own functions deprecated."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


@every_loss
def test_compiled_without_a_graph_break_it_is_the_same(name):
    loss, logits = built(name)
    expected = loss(logits, TARGET)
    compiled = torch.compile(built(name)[0], fullgraph=True, backend="aot_eager")
    logits.requires_grad_()
    value = compiled(logits, TARGET)
    torch.testing.assert_close(value, expected)
    found = torch.autograd.grad(value.sum(), logits)[0]
    again = torch.autograd.grad(built(name)[0](logits, TARGET).sum(), logits)[0]
    torch.testing.assert_close(found, again)


@pytest.mark.skipif(not shutil.which("g++"), reason="no compiler of C++")
def test_compiled_to_machine_code_it_is_the_same():
    (loss, logits), (fresh, _) = built("cross-entropy"), built("cross-entropy")
    compiled = torch.compile(fresh, fullgraph=True)
    torch.testing.assert_close(compiled(logits, TARGET), loss(logits, TARGET))


def test_a_compiled_loss_sees_new_weights():
    source = torch.ones(CLASSES)
    loss = MODULES["cross-entropy"]()
    loss.set_weight(source)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    logits = torch.randn(6, CLASSES)
    before = compiled(logits, TARGET)
    source.mul_(2)
    torch.testing.assert_close(compiled(logits, TARGET), 2 * before)


@every_loss
def test_exported_for_any_batch_it_is_the_same(name):
    loss, logits = built(name)
    batch = torch.export.Dim("batch", min=2)
    dynamic = {"logits": {0: batch}, "target": {0: batch}}
    program = torch.export.export(Called(loss), (logits, TARGET), dynamic_shapes=dynamic)
    torch.testing.assert_close(program.module()(logits[:4], TARGET[:4]), built(name)[0](logits[:4], TARGET[:4]))


@every_loss
def test_vmap_over_the_samples_is_a_loop_over_them(name):
    loss, logits = built(name)
    if isinstance(loss, nn.Module):
        loss.eval()  # seesaw counts in training
    alone = [loss(z.unsqueeze(0), y.unsqueeze(0)).sum() for z, y in zip(logits, TARGET, strict=True)]
    mapped = vmap(lambda z, y: loss(z.unsqueeze(0), y.unsqueeze(0)).sum(), randomness="different")(logits, TARGET)
    torch.testing.assert_close(mapped, torch.stack(alone))


@every_loss
def test_the_gradients_of_each_sample_are_those_of_a_loop(name):
    loss, logits = built(name)
    if isinstance(loss, nn.Module):
        loss.eval()
    x, weight = torch.randn(6, 5), torch.randn(5, logits.shape[1])

    def of_one(w: Tensor, sample: Tensor, label: Tensor) -> Tensor:
        return loss((sample @ w).unsqueeze(0), label.unsqueeze(0)).sum()

    mapped = vmap(grad(of_one), in_dims=(None, 0, 0), randomness="different")(weight, x, TARGET)
    weight.requires_grad_()
    alone = [torch.autograd.grad(of_one(weight, *pair), weight)[0] for pair in zip(x, TARGET, strict=True)]
    torch.testing.assert_close(mapped, torch.stack(alone))


def test_seesaw_reads_its_counts_inside_vmap_and_changes_them_outside():
    loss, logits = built("seesaw")
    loss.count(TARGET)
    before = loss.counts.clone()
    assert before.tolist() == [2, 2, 1, 1]
    vmap(lambda z, y: loss(z.unsqueeze(0), y.unsqueeze(0)))(logits, TARGET)
    assert torch.equal(loss.counts, before)
    loss(logits, TARGET)
    assert torch.equal(loss.counts, 2 * before)


@pytest.mark.parametrize("name", MODULES)
def test_without_a_transform_a_mistake_is_still_one_clear_line(name):
    loss, logits = built(name)
    with pytest.raises(LongtailError, match="label 4 is out of range: 4 classes have labels 0 to 3"):
        loss(logits, torch.full((6,), 4))


@pytest.mark.parametrize("name", [name for name in MODULES if name != "seesaw"])
def test_soft_targets_pass_too(name):
    loss, logits = built(name)
    target = torch.rand(6, CLASSES).softmax(1)
    expected = loss(logits, target)
    torch.testing.assert_close(torch.compile(loss, fullgraph=True, backend="eager")(logits, target), expected)
    alone = [loss(z.unsqueeze(0), t.unsqueeze(0)).sum() for z, t in zip(logits, target, strict=True)]
    mapped = vmap(lambda z, t: loss(z.unsqueeze(0), t.unsqueeze(0)).sum(), randomness="different")(logits, target)
    torch.testing.assert_close(mapped, torch.stack(alone))
