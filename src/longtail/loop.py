"""`stages`: any method in a training loop of one's own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from longtail.data.labels import labels_of
from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.held_out import Predict, answers, device_of, world
from longtail.methods import ClassStats, Method, Stage, StepContext, get_method
from longtail.methods._place import put_in
from longtail.models import final_linear
from longtail.samplers import ClassAwareSampler, EpochSampler
from longtail.samplers.base import ClassIndex, as_tensor
from longtail.training.order import seed_of
from longtail.training.stage import Stages

__all__ = ["RunningStage", "StagesOfAMethod", "stages"]

Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def stages(
    method: str | Method,
    model: nn.Module,
    labels: Any,
    *,
    epochs: int,
    optimizer: Optimizer,
    held_out: Iterable[Any] | None = None,
    train: Iterable[Any] | None = None,
    schedule: Callable[[float, int], float] | None = None,
    classifier: str | None = None,
    first_drop: float = 0.0,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    predict: Predict | None = None,
    num_replicas: int | None = None,
    rank: int | None = None,
    seed: int = 0,
) -> StagesOfAMethod:
    """Train with any method for images in a loop of one's own::

        for stage in longtail.stages("crt", model, labels, epochs=90, optimizer=sgd):
            loader = DataLoader(train, 128, sampler=stage.sampler)
            for epoch in stage.epochs:
                for x, y in loader:
                    stage.optimizer.zero_grad()
                    stage.loss(x, y).backward()
                    stage.optimizer.step()

    It puts the method's classifier into the model, freezes and initialises what a stage says, makes its optimiser, sets
    training mode and the sampler's epoch before each epoch, measures the difficulty after it, and does what the method
    does at the end. A training that is continued loads its state before the loop::

        running = longtail.stages(...)
        if path.exists():
            running.load_state_dict(torch.load(path))
        for stage in running:
            ...
                torch.save(running.state_dict(), path)  # last in the body of an epoch

    Args:
        method: Its identifier, or what `get_method` gives.
        model: The network, with a linear layer at the end; changed in place.
        labels: Class of each training sample, ``[N]``, or the training data set (see `labels_of`).
        epochs: Of all stages together.
        optimizer: From the parameters, frozen ones too, to a fresh optimiser, e.g.
            ``lambda parameters: torch.optim.SGD(parameters, lr=0.1)``.
        held_out: Loader of the held-out split, for methods that need one; batches as in `ClassDifficulty.measure`.
        train: Loader of the training split without sampler and augmentation, for methods that look at its features.
        schedule: From the epochs done since the schedule began, and the epochs that it covers, to the learning rate;
            set before each epoch (``stage.set_rate`` sets it within one). None: the optimiser's own rate.
        classifier: Name of the last linear layer in the model, such as ``head.fc``; default: found.
        first_drop: Share of the epochs after which your schedule first drops by a step; 0: never. ``cdb-w`` begins to
            weigh there.
        wrap: What a stage's forward passes go through, e.g. ``DistributedDataParallel``: called when a stage begins.
        predict: For batches of another form: called with the model and a batch, gives logits and targets.
        num_replicas: Processes that share the sampler's order; default: those of ``torch.distributed``. 1 where the
            loader is sharded by others (Accelerate).
        rank: This one of them.
        seed: Of samplers and of what a stage draws.

    Raises:
        LongtailError: unknown method, a method for detectors, or one that needs ``held_out`` or ``train``.
    """
    method = get_method(method) if isinstance(method, str) else method
    if "classify" not in method.tasks:
        raise LongtailError(f"{method.name} is made for detectors: see its card, longtail methods {method.name}")
    place = _place(model, classifier)
    given = isinstance(labels, Tensor | Sequence) or hasattr(labels, "__array__")
    labels = as_tensor("labels", labels) if given else labels_of(labels)
    counts = ClassIndex(labels, num_classes=place[2].out_features).count.tolist()
    if method.needs_held_out and held_out is None:
        raise LongtailError(f"{method.name} needs a held-out split: give its loader as held_out=")
    stats = ClassStats(class_counts=counts, labels=labels, epochs=epochs, seed=seed, first_drop=first_drop)
    parts = method.parts(stats)
    head = put_in(model, parts, place)
    model.to(device_of(place[2]))
    driver = StagesOfAMethod()
    driver._predict, driver._wrap, driver._seed = predict, wrap, seed
    driver._loaders = {"train": train, "val": held_out}
    driver._shard = (world()[1] if num_replicas is None else num_replicas, world()[0] if rank is None else rank)
    driver._size, driver.forward, driver._rated = len(labels), model, schedule is not None
    driver._stages = Stages(
        model,
        head,
        parts,
        epochs=epochs,
        optimizer=optimizer,
        schedule=schedule or (lambda done, of: 0.0),
        seed=seed,
        device=device_of(model),
        judge=driver._judge,
        features=driver._features,
    )
    driver._check()
    return driver


class StagesOfAMethod:
    """What `stages` gives: iterate over it.

    Attributes:
        forward: What forward passes go through: the model, or what ``wrap`` made of it.
        done: Epochs that are over.
        found: What the method found at the end (the tau of ``tau-norm``), once the loop is over.
    """

    forward: nn.Module
    _stages: Stages
    _loaders: dict[str, Iterable[Any] | None]
    _shard: tuple[int, int]
    _predict: Predict | None
    _wrap: Callable[[nn.Module], nn.Module] | None
    _seed: int
    _size: int
    _rated: bool

    def __init__(self) -> None:
        self.done = 0
        self.found: dict[str, float] = {}
        self._open = self._finished = False
        self._state: dict[str, Any] | None = None
        self._meta: Iterator[Any] | None = None

    @property
    def difficulty(self) -> ClassDifficulty | None:
        """The method's difficulty in this stage."""
        return self._stages.difficulty

    def __iter__(self) -> Iterator[RunningStage]:
        if self._finished and self._state is None:
            raise LongtailError("these stages are over: stages(...) begins anew")
        run, state, before = self._stages, self._state, 1.0
        position = self.done + self._open / 2
        for stage, first, end in run.bounds:
            if first == end:
                continue
            new, optimizer = position <= first, run.optimizer
            run.enter(stage, first=first, measure=(first > 0 or stage.measure) and new, prepare=new)
            assert run.optimizer is not None
            if run.optimizer is not optimizer:
                before = 1.0
            if not self._rated:
                for group in run.optimizer.param_groups:
                    group["lr"] *= stage.lr / before
            before = stage.lr
            self._share_out()
            if self._wrap is not None:
                self.forward = self._wrap(run.model)
            if state is not None and first < position <= end:
                self._load(state)
                if self._open:
                    self._close()
            if self.done < end:
                yield RunningStage(self, stage, end)
                self.done, self._open = end, False
                position = end
        if not self._finished:
            self.found = dict(run.parts.found)
            if run.parts.finish is not None:
                self.found |= run.parts.finish(run.head, self._features)
        self._finished = True

    def state_dict(self) -> dict[str, Any]:
        """All that the training depends on, for ``torch.save``: asked for last in the body of an epoch, or after it."""
        run = self._stages
        if run.optimizer is None:
            raise LongtailError("there is no state before the loop over the stages has begun")
        states = {name: module.state_dict() for name, module in self._modules().items()}
        own = {"done": self.done, "open": self._open, "finished": self._finished}
        return own | {"optimizer": run.optimizer.state_dict(), "modules": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was asked for; before the loop, with everything built as it was then."""
        self.done, self._open, self._finished = state["done"], state["open"], state["finished"]
        self._state = state

    def _load(self, state: dict[str, Any]) -> None:
        assert self._stages.optimizer is not None
        try:
            for name, module in self._modules().items():
                module.load_state_dict(state["modules"][name])
            self._stages.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise LongtailError(f"this state is of another method, model or optimiser: {error}") from None

    def _modules(self) -> dict[str, nn.Module]:
        run = self._stages
        parts = {"criterion": run.criterion, "difficulty": run.difficulty, "first_difficulty": run.parts.difficulty}
        parts["step"] = run.step
        return {"model": run.model} | {name: part for name, part in parts.items() if isinstance(part, nn.Module)}

    def _check(self) -> None:
        """What the stages will ask for is there: told now, not after the training."""
        run = self._stages
        asked = {"train"} if any(stage.prepare for stage, *_ in run.bounds) else set[str]()
        if run.parts.finish is not None:
            try:
                run.parts.finish(copy.deepcopy(run.head), _ask)
            except _Asked as split:
                asked.add(str(split))
        for split in asked:
            if self._loaders[split] is None:
                word = {"train": "train", "val": "held_out"}[split]
                raise LongtailError(f"the method looks at the features of a split: give its loader as {word}=")
        steps = [run.parts.step, *(stage.parts.get("step") for stage, *_ in run.bounds)]
        if size := max(getattr(step, "meta_batch", 0) for step in steps):
            self._balanced(size, epoch=0, turn=0)

    def _share_out(self) -> None:
        """The order of an epoch, shared out over the processes."""
        replicas, rank = self._shard
        if isinstance(self._stages.sampler, EpochSampler):
            self._stages.sampler.num_replicas, self._stages.sampler.rank = replicas, rank
        elif self._stages.sampler is None:
            of_all: Any = range(self._size)
            self._stages.sampler = DistributedSampler(of_all, replicas, rank, seed=self._seed)

    def _begin(self, epoch: int) -> None:
        run = self._stages
        if self._rated:
            run.set_rate(epoch)
        run.train_mode()
        if hasattr(run.sampler, "set_epoch"):
            run.sampler.set_epoch(epoch)
        size = getattr(run.step, "meta_batch", 0)
        turns = (self._balanced(size, epoch=epoch, turn=turn) for turn in itertools.count())
        self._meta = itertools.chain.from_iterable(turns) if size else None
        self._open = True

    def _close(self) -> None:
        """What comes after the training of an epoch."""
        if self._stages.observer is not None:
            self._stages.observer.measure(self.forward, self._held_out(), predict=self._predict)
        elif self._stages.learner is not None:
            self._stages.learner.step()
        self.done, self._open = self.done + 1, False

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        run = self._stages
        if run.step is None:
            logits = self.forward(x)
            output = {"loss": run.criterion(logits, y), "logits": logits}
        else:
            assert run.optimizer is not None
            held_out = None if self._meta is None else next(self._meta)
            device = device_of(run.model)
            output = run.step(
                StepContext(
                    model=run.model,
                    forward=self.forward,
                    criterion=run.criterion,
                    batch=(x, y),
                    meta=None if held_out is None else (held_out[0].to(device), held_out[1].to(device)),
                    lr=run.optimizer.param_groups[0]["lr"],
                )
            )
        if run.learner is not None:
            run.learner.update(output["logits"].detach(), y)
        return output["loss"]

    # -- held-out batches and features ---------------------------------------------------------------------------------
    def _held_out(self) -> Iterable[Any]:
        loader = self._loaders["val"]
        assert loader is not None
        return loader

    def _judge(self) -> None:
        observer = self._stages.observer
        assert observer is not None
        for prediction, target in answers(self.forward, self._held_out(), predict=self._predict):
            observer.update(prediction, target)

    def _features(self, split: str) -> tuple[Tensor, Tensor]:
        """What goes into the classifier ``[N, D]`` and the targets ``[N]``, of all processes."""
        loader, seen = self._loaders[split], []
        assert loader is not None
        rows: list[tuple[Tensor, Tensor]] = []
        with self._stages.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach())):
            for _, target in answers(self.forward, loader, predict=self._predict):
                rows.append((seen.pop()[: len(target)], target))
                seen.clear()
        own = tuple(torch.cat(list(column)) for column in zip(*rows, strict=True))
        if world()[1] > 1:
            shares: list[Any] = [None] * world()[1]
            dist.all_gather_object(shares, tuple(column.cpu() for column in own))
            own = tuple(torch.cat(column).to(own[0].device) for column in zip(*shares, strict=True))
        return own[0], own[1]

    def _balanced(self, size: int, *, epoch: int, turn: int) -> DataLoader[Any]:
        """This process's shares of held-out batches of ``size`` samples in which the classes take turns."""
        loader, (replicas, rank) = self._loaders["val"], self._shard
        if not isinstance(loader, DataLoader):
            raise LongtailError("the method learns on balanced held-out batches: give held_out= a DataLoader")
        labels, own = labels_of(loader.dataset), max(1, size // replicas)
        sampler = ClassAwareSampler(
            labels,
            num_samples=max(1, len(labels) // (own * replicas)) * own * replicas,
            seed=seed_of("meta", self._seed, epoch, turn),
            num_replicas=replicas,
            rank=rank,
        )
        return DataLoader(loader.dataset, own, sampler=sampler, collate_fn=loader.collate_fn)


class RunningStage:
    """One stage of a method, while it is trained.

    Attributes:
        name: What the method calls it.
    """

    def __init__(self, driver: StagesOfAMethod, stage: Stage, end: int) -> None:
        self._driver, self.name, self._end = driver, stage.name, end

    @property
    def epochs(self) -> Iterator[int]:
        """The epochs that are left, counted from 0 over all stages: before each, training mode, learning rate and the
        sampler's epoch are set; after each, the difficulty is measured."""
        for epoch in range(self._driver.done, self._end):
            self._driver._begin(epoch)
            yield epoch
            self._driver._close()

    @property
    def model(self) -> nn.Module:
        """The bare model."""
        return self._driver._stages.model

    @property
    def sampler(self) -> Any:
        """For the ``DataLoader``; uniform without replacement where the method has none."""
        return self._driver._stages.sampler

    @property
    def criterion(self) -> Any:
        """``criterion(logits [B, C], target [B])``: what `loss` uses where the method has no step of its own."""
        return self._driver._stages.criterion

    @property
    def difficulty(self) -> ClassDifficulty | None:
        """What is measured after each epoch; None: the method measures none."""
        return self._driver.difficulty

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Of this stage."""
        assert self._driver._stages.optimizer is not None
        return self._driver._stages.optimizer

    def set_rate(self, progress: float) -> None:
        """The learning rate after so many epochs of the whole training, with fraction, by the given schedule."""
        if not self._driver._rated:
            raise LongtailError("there is no schedule: give stages(..., schedule=...)")
        self._driver._stages.set_rate(progress)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Forward pass and loss of a batch, scalar.

        Args:
            x: What the model takes, on its device.
            y: Class indices ``[B]``.
        """
        return self._driver._loss(x, y)


class _Asked(Exception):
    """Somebody asked for the features of the split that this names."""


def _ask(split: str) -> tuple[Tensor, Tensor]:
    raise _Asked(split)


def _place(model: nn.Module, name: str | None) -> tuple[nn.Module, str, nn.Linear]:
    """Where the classifier hangs: parent, attribute, layer."""
    if name is None:
        return final_linear(model)
    parent, _, attribute = name.rpartition(".")
    try:
        layer = model.get_submodule(name)
    except AttributeError:
        layer = None
    if not isinstance(layer, nn.Linear):
        raise LongtailError(f"classifier={name!r}: the model has no linear layer of that name")
    return model.get_submodule(parent), attribute, layer
