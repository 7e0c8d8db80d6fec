"""The laws that every task obeys, as functions of a configuration on small data."""

from __future__ import annotations

import copy
import dataclasses
import json
import multiprocessing
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from longtail.config import DataOptions, RunConfig
from longtail.data.catalogue import find_entry
from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.methods import get_method
from longtail.tasks.base import Evaluation, Task
from longtail.tasks.find import task_class
from longtail.tasks.options import check_options

__all__ = ["LAWS", "check_task", "judge", "same"]

CPU = torch.device("cpu")
PATIENCE = 600
"""Seconds that two processes may take to judge a split."""
_VALUES = {"broken": "skip", "imbalance_kind": "step", "protocol": "cao", "augment": "none", "frame_cache": "frames"}


def check_task(config: RunConfig) -> None:
    """Check a task of your own by the laws that those of the library obey.

    A batch is a function of the seed, the epoch and the position, so that an epoch can be continued within; the shares
    of all processes make the whole; two processes judge as one does; a model that is restored from what ``data.json``
    tells equals the one that was built; the loss is finite and has a gradient; options that mean nothing are refused.

    Two processes are started for one of the laws: a script that calls this needs a main guard.

    Args:
        config: A run on data that are small: ``task`` names the task, ``model`` and ``image_size`` are set.

    Raises:
        AssertionError: a law does not hold; the message says which.
        LongtailError: data that are missing, or not for this task.
    """
    cls = task_class(config.task)
    config, _ = cls.settle(config, find_entry(config.data))
    with torch.random.fork_rng(devices=[]):
        for law in LAWS:
            law(cls, config)


def it_says_what_it_understands(cls: type[Task], config: RunConfig) -> None:
    """Its options are fields of `DataOptions`, and one that it does not understand is refused."""
    fields: dict[str, Any] = {field.name: field for field in dataclasses.fields(DataOptions)}
    _law(cls.options <= fields.keys(), f"{cls.__name__} understands {sorted(cls.options - fields.keys())}, no options")
    for name in fields.keys() - cls.options:
        value: Any = True if fields[name].default is False else _VALUES.get(name, 1)
        try:
            check_options(DataOptions(**{name: value}), config.data, config.task)
        except LongtailError:
            continue
        _law(False, f"--{name.replace('_', '-')} means nothing to {cls.__name__} and is not refused")


def it_knows_its_classes(cls: type[Task], config: RunConfig) -> None:
    """Counts, names and statistics are of the same classes, and of the training split."""
    task = _load(cls, config)
    classes = task.data.num_classes
    _law(len(task.data.class_names) == classes == len(task.class_counts), "names, counts and classes differ in number")
    stats = task.stats(epochs=3, seed=5)
    _law(list(stats.class_counts) == list(task.class_counts), "the statistics have other counts than the task")
    _law(stats.epochs == 3 and stats.seed == 5, "what is said of the training does not reach the statistics")
    _law(len(stats.samples) == len(task.split("train")), "a sampler would draw from another number of samples")
    for name in ("text", "data", "close"):
        try:
            task.split(name)
        except LongtailError:
            continue
        _law(False, f"split({name!r}) gives something")


def a_batch_is_a_function_of_seed_epoch_and_position(cls: type[Task], config: RunConfig) -> None:
    """Not of what was read before, of the other rows, or of the global generator, which is left alone."""
    task = _load(cls, config)
    batches = _order(task)
    state = torch.random.get_rng_state()
    whole = list(task.train_batches(batches, epoch=2))
    _law(torch.equal(state, torch.random.get_rng_state()), "reading batches draws from the global generator")
    _law(len(whole) == len(batches), "there are not as many batches as were asked for")
    for batch, rows in zip(whole, batches, strict=True):
        _law(len(batch[0]) == len(batch[1]) == len(rows), "a batch has not as many inputs and targets as rows")
    other = _load(cls, config)
    torch.manual_seed(99)
    list(other.train_batches(batches, epoch=1))
    _law(same(list(other.train_batches(batches, epoch=2)), whole), "a batch depends on what was read before")
    _law(
        same(list(other.train_batches(batches, epoch=2, start=1)), whole[1:]),
        "an epoch that is continued after its first batch goes on with other batches",
    )
    changed = [rows.clone() for rows in batches]
    for rows in changed:
        rows[1] = rows[0]
    for mine, theirs in zip(whole, other.train_batches(changed, epoch=2), strict=True):
        for k in (k for k in range(len(mine[1])) if k != 1):
            _law(same(_sample(mine, k), _sample(theirs, k)), "a sample of a batch depends on the other rows of it")


def shards_make_the_whole(cls: type[Task], config: RunConfig) -> None:
    """Row k of a global batch is read by process k modulo their number, as one process would read it."""
    task, world = _load(cls, config), 3
    batches = _order(task)
    shards = [list(_load(cls, config, rank=r, world=world).train_batches(batches, epoch=1)) for r in range(world)]
    for i, whole in enumerate(task.train_batches(batches, epoch=1)):
        sizes = [len(shard[i][1]) for shard in shards]
        _law(sizes == [len(batches[i][r::world]) for r in range(world)], f"the shares of a batch have {sizes} rows")
        for k in range(len(batches[i])):
            part = shards[k % world][i]
            _law(same(_sample(part, k // world), _sample(whole, k)), f"row {k} of a batch is another in its shard")


def its_loss_trains(cls: type[Task], config: RunConfig) -> None:
    """A finite scalar with a gradient, and a row of logits for each target."""
    task = _load(cls, config)
    parts = get_method("ce").parts(task.stats())
    torch.manual_seed(1)
    model, head = task.build(parts)
    _law(any(module is head for module in model.modules()), "the classifier that build gives is no part of its model")
    task.use(model, parts.criterion)
    model.train()
    batch = next(iter(task.train_batches(_order(task), epoch=0)))
    found = task.loss(model, parts.criterion, batch)
    target: Any = found.get("target", batch[1])
    _law(found["loss"].ndim == 0 and bool(found["loss"].isfinite()), "the loss is no finite scalar")
    _law(len(found["logits"]) == len(target), "there are not as many logits as targets")
    found["loss"].backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    _law(any(bool(g.any()) for g in gradients), "the loss has no gradient")


def a_restored_model_equals_the_built_one(cls: type[Task], config: RunConfig) -> None:
    """From what ``data.json`` tells, and its weights: also where the task is one that was adopted for it."""
    task, method = _load(cls, config), get_method("ce")
    parts = method.parts(task.stats())
    torch.manual_seed(2)
    model, _ = task.build(parts)
    info = json.loads(json.dumps(task.description(), allow_nan=False))
    info = cls.read_description(info, Path("data.json"))
    torch.manual_seed(3)
    restored = cls.restore(info, config, method)
    restored.load_state_dict(task.frozen_part()[1] | copy.deepcopy(model.state_dict()))
    task.use(model, parts.criterion)
    adopted = _load(cls, config).adopt(info, "test")
    adopted.use(restored, parts.criterion)
    _law(
        same(_plain(task.evaluate(model, "test")), _plain(adopted.evaluate(restored.to(CPU), "test"))),
        "a restored model is judged otherwise than the one that was built",
    )


def two_processes_judge_as_one(cls: type[Task], config: RunConfig) -> None:
    """All of them get the result of the whole, and a difficulty counts every sample once."""
    alone = judge(cls, config)
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(2)]
        processes = [
            context.Process(target=_judge_as, args=(rank, config, f"{folder}/store", theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pairs)
        ]
        try:
            for process in processes:
                process.start()
            for rank, (ours, _) in enumerate(pairs):
                _law(ours.poll(PATIENCE), f"process {rank} of two did not judge within {PATIENCE} s")
                found = pickle.loads(ours.recv_bytes())
                _law(not isinstance(found, str), f"process {rank} of two failed: {found}")
                _law(same(found, alone), f"process {rank} of two judges otherwise than one alone")
        finally:
            for process in processes:
                process.kill()
                process.join()


def a_judgement_is_whole(cls: type[Task], config: RunConfig) -> None:
    """Fractions, a row and a performance for each class; the model is left in the mode that it was in."""
    task = _load(cls, config)
    torch.manual_seed(4)
    model, _ = task.build(get_method("ce").parts(task.stats()))
    task.use(model, torch.nn.CrossEntropyLoss())
    for training in (True, False):
        model.train(training)
        found = task.evaluate(model, "test")
        _law(model.training is training, "judging leaves the model in another mode")
    classes = task.data.num_classes
    _law(tuple(found.performance.shape) == (classes,), "there is not one performance for each class")
    known = found.performance[~found.performance.isnan()]
    _law(len(known) > 0 and bool(((known >= 0) & (known <= 1)).all()), "a performance is not in [0, 1]")
    _law(0 <= found.accuracy <= 1 and 0 <= found.score <= 1, "accuracy or score is not in [0, 1]")
    _law([row["class"] for row in found.per_class] == list(range(classes)), "per_class has not one row for each class")
    _law(found.confusion is None or tuple(found.confusion.shape) == (classes, classes), "the confusion is not [C, C]")
    json.dumps(found.metrics, allow_nan=False)
    samples = task.samples("test")
    if found.predicted is not None and samples is not None:
        sizes = {len(values) for values in samples.values()} | {len(found.predicted)}
        _law(sizes == {len(task.split("test"))}, "samples and predictions are not those of the split")


LAWS = (
    it_says_what_it_understands,
    it_knows_its_classes,
    a_batch_is_a_function_of_seed_epoch_and_position,
    shards_make_the_whole,
    its_loss_trains,
    a_judgement_is_whole,
    a_restored_model_equals_the_built_one,
    two_processes_judge_as_one,
)


def _law(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _load(cls: type[Task], config: RunConfig, *, rank: int = 0, world: int = 1) -> Task:
    return cls.load(dataclasses.replace(config, workers=0), device=CPU, rank=rank, world=world)


def _order(task: Task) -> list[Tensor]:
    """Batches of which the last is odd."""
    size = len(task.split("train"))
    order = torch.randperm(size, generator=torch.Generator().manual_seed(11))[:11]
    return list(order.split(4)) if size >= 11 else [order]


def _sample(batch: Any, k: int) -> tuple[Any, Any]:
    return batch[0][k], batch[1][k]


def judge(cls: type[Task], config: RunConfig, *, rank: int = 0, world: int = 1) -> Any:
    """What a process finds on the test split with a model that is the same everywhere, and the difficulty from it."""
    task = _load(cls, config, rank=rank, world=world)
    torch.manual_seed(6)
    model, _ = task.build(get_method("ce").parts(task.stats()))
    task.use(model, torch.nn.CrossEntropyLoss())
    difficulty = ClassDifficulty(task.data.num_classes)
    found = _plain(task.evaluate(model, "test", observe=difficulty))
    difficulty.step()
    return found, difficulty.performance


def _judge_as(rank: int, config: RunConfig, store: str, connection: Any) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
        found = judge(task_class(config.task), config, rank=rank, world=2)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    connection.send_bytes(pickle.dumps(found))


def _plain(evaluation: Evaluation) -> dict[str, Any]:
    return {field.name: getattr(evaluation, field.name) for field in dataclasses.fields(evaluation)}


def same(one: Any, other: Any) -> bool:
    """Whether two nests of tensors and plain values are equal, but for the last bits; NaN equals NaN."""
    if isinstance(one, Tensor):
        fits = isinstance(other, Tensor) and one.shape == other.shape
        return fits and torch.allclose(one.double(), other.double(), rtol=1e-5, atol=1e-6, equal_nan=True)
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == other or abs(one - other) <= 1e-6 or (one != one and other != other)
    return one == other
