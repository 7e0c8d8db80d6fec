"""`stages`: a method in a plain loop is what one would write by hand, continues exactly, and two processes are one."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import longtail
from longtail import ClassDifficulty, LongtailError, get_method
from longtail.loop import StagesOfAMethod
from longtail.losses import ClassWeightedLoss
from longtail.training.order import seed_of

COUNTS = [40, 12, 6, 3]
LABELS = torch.arange(4).repeat_interleave(torch.tensor(COUNTS))


def data(labels: Tensor, seed: int) -> TensorDataset:
    noise = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(noise + F.one_hot(labels, 6) * 2, labels)


TRAIN, HELD_OUT = data(LABELS, 1), data(torch.arange(4).repeat(6), 2)
EVERY = {
    "cdb-w": {"defer": 0.5},
    "cdb-w-train": {"source": "train"},
    "cdb-s": {},
    "crt": {"share": 0.5, "balance": "cdb-s"},
    "lws": {"share": 0.5, "stage1": "ldam-drw"},
    "ldam-drw": {"defer": 0.5},
    "oltr": {"share": 0.5},
    "cls": {},
    "tau-norm": {},
    "ncm": {},
    "l2rw": {"meta_batch": 8},
    "mw-net": {"meta_batch": 8},
    "progressive": {},
}


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def build(method: str, model: nn.Module, **options: Any) -> StagesOfAMethod:
    name = method.removesuffix("-train")
    loaders = {"held_out": DataLoader(HELD_OUT, 9), "train": DataLoader(TRAIN, 50)}
    words = {"epochs": 4, "optimizer": sgd, "classifier": "3"} | loaders | options
    torch.manual_seed(4)  # of new classifiers
    return longtail.stages(get_method(name, **EVERY[method]), model, TRAIN, **words)


def run(running: StagesOfAMethod, *, stop_after: int | None = None) -> tuple[list[str], bytes]:
    """Train; the names of the stage of each epoch, and the state after ``stop_after`` epochs."""
    stage_of, saved = [], io.BytesIO()
    for stage in running:
        for epoch in stage.epochs:
            torch.manual_seed(epoch)
            stage_of.append(stage.name)
            for x, y in DataLoader(TRAIN, 16, sampler=stage.sampler):
                stage.optimizer.zero_grad()
                stage.loss(x, y).backward()
                stage.optimizer.step()
            if epoch + 1 == stop_after:
                torch.save(running.state_dict(), saved)
                return stage_of, saved.getvalue()
    return stage_of, b""


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("stop_after", [1, 2, 4])
def test_a_loop_that_was_stopped_ends_as_one_that_was_not(method: str, stop_after: int) -> None:
    whole, left, again = network(), network(), network()
    first = build(method, whole)
    stage_of, _ = run(first)
    before, state = run(build(method, left), stop_after=stop_after)
    second = build(method, again)
    second.load_state_dict(torch.load(io.BytesIO(state)))
    after, _ = run(second)
    assert before + after == stage_of and len(stage_of) == 4
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert first.found == second.found and (method == "tau-norm") == bool(first.found)
    if first.difficulty is not None:
        assert second.difficulty is not None and torch.equal(first.difficulty.weight, second.difficulty.weight)


def test_crt_is_plain_training_and_then_a_new_classifier_on_balanced_samples() -> None:
    model = network()
    run(build("crt", model))
    other = network()
    order = torch.utils.data.distributed.DistributedSampler(range(len(LABELS)), 1, 0, seed=0)  # type: ignore[arg-type]
    optimizer = sgd(list(other.parameters()))
    for epoch in range(2):
        order.set_epoch(epoch)
        for rows in torch.tensor(list(order)).split(16):
            x, y = TRAIN[rows]
            optimizer.zero_grad()
            F.cross_entropy(other(x), y).backward()
            optimizer.step()
    difficulty = ClassDifficulty(4, class_counts=COUNTS, normalize="samples")
    other.eval()
    with torch.no_grad():
        difficulty.update(other(HELD_OUT.tensors[0]), HELD_OUT.tensors[1])
    difficulty.step(trained=True)
    torch.manual_seed(seed_of("stage", 0, "stage2"))
    other[3].reset_parameters()
    optimizer = sgd(list(other[3].parameters()))
    sampler = longtail.ClassWeightedSampler(LABELS, difficulty)
    for epoch in (2, 3):
        sampler.set_epoch(epoch)
        other.eval()  # the features stay
        for rows in sampler.indices().split(16):
            x, y = TRAIN[rows]
            optimizer.zero_grad()
            F.cross_entropy(other(x), y).backward()
            optimizer.step()
        difficulty.measure(other, DataLoader(HELD_OUT, 9))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)


def test_deferred_weights_begin_where_the_first_drop_is() -> None:
    running = longtail.stages("cdb-w", network(), LABELS, epochs=4, optimizer=sgd, held_out=DataLoader(HELD_OUT, 9),
                              first_drop=0.75, schedule=lambda done, of: 0.1 if done < 0.75 * of else 0.01)  # fmt: skip
    rates, weighted = [], []
    for stage in running:
        for _ in stage.epochs:
            rates.append(stage.optimizer.param_groups[0]["lr"])
            weighted.append(isinstance(stage.criterion, ClassWeightedLoss) and stage.criterion.weight is not None)
            stage.loss(*TRAIN[:20]).backward()
            stage.set_rate(3.5)
            assert stage.optimizer.param_groups[0]["lr"] == 0.01
    assert rates == [0.1, 0.1, 0.1, 0.01] and weighted == [False, False, False, True]
    assert running.difficulty is not None and running.difficulty.steps == 4


def job(rank: int, method: str) -> tuple[dict[str, Tensor], list[int]]:
    """Weights after four epochs on two processes, and the classes that this one drew."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    torch.manual_seed(3)
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    wrap = {"wrap": DistributedDataParallel} if rank >= 0 else {}
    size, drawn = (8 if rank >= 0 else 16), []
    held_out: Any = HELD_OUT
    sampler = torch.utils.data.distributed.DistributedSampler(held_out) if rank >= 0 else None
    loader = DataLoader(HELD_OUT, 5, sampler=sampler)
    running = build(method, model, classifier="2", held_out=loader, **wrap)
    for stage in running:
        for _ in stage.epochs:
            for x, y in DataLoader(TRAIN, size, sampler=stage.sampler, drop_last=True):
                drawn += y.tolist()
                stage.optimizer.zero_grad()
                stage.loss(x, y).backward()
                stage.optimizer.step()
    return copy.deepcopy(model.state_dict()), drawn


@pytest.mark.parametrize("method", ["crt", "tau-norm"])
def test_two_processes_train_as_one_does(method: str, run_two: Callable[..., Any]) -> None:
    (one, drawn), ((first, some), (second, others)) = job(-1, method), run_two(job, method)
    assert sorted(drawn) == sorted(some + others)
    for name, value in one.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("bags", {}, "bags is made for detectors"),
        ("cdb-w", {"held_out": None}, "cdb-w needs a held-out split: give its loader as held_out="),
        ("ncm", {"train": None}, "looks at the features of a split: give its loader as train="),
        ("oltr", {"train": None}, "looks at the features of a split: give its loader as train="),
        ("l2rw", {"held_out": [(1, 2)]}, "give held_out= a DataLoader"),
        ("ce", {"classifier": "1"}, "classifier='1': the model has no linear layer of that name"),
        ("ce", {"classifier": "head.fc"}, "the model has no linear layer of that name"),
        ("ce", {"labels": [0, 1, 4]}, "label 4 is out of range"),
        ("ce", {"labels": [0.5, 1]}, "one whole number per sample"),
    ],
)
def test_what_is_missing_is_told_before_the_training(method: str, options: dict[str, Any], message: str) -> None:
    words = {"held_out": DataLoader(HELD_OUT, 9), "train": DataLoader(TRAIN, 9), "labels": LABELS} | options
    with pytest.raises(LongtailError, match=message):
        longtail.stages(method, network(), words.pop("labels"), epochs=3, optimizer=sgd, **words)


def test_a_loop_that_is_over_and_a_state_of_another_are_refused() -> None:
    running = build("tau-norm", network())
    with pytest.raises(LongtailError, match="no state before the loop"):
        running.state_dict()
    _, state = run(build("crt", network()), stop_after=4)
    run(running)
    with pytest.raises(LongtailError, match="these stages are over"):
        run(running)
    other = build("lws", network())
    other.load_state_dict(torch.load(io.BytesIO(state)))
    with pytest.raises(LongtailError, match="of another method, model or optimiser"):
        run(other)
    for stage in build("cdb-s", network()):
        assert isinstance(stage.sampler, longtail.ClassWeightedSampler)
        with pytest.raises(LongtailError, match="there is no schedule"):
            stage.set_rate(0.5)
