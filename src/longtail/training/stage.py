"""Enter the stages of a method one after the other: for whoever drives a training, without a folder or processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from longtail.difficulty import ClassDifficulty
from longtail.methods import Parts, Stage
from longtail.methods.base import Features
from longtail.training.attach import holds
from longtail.training.order import seed_of
from longtail.training.schedule import schedule_span, stage_bounds

__all__ = ["Stages"]


class Stages:
    """The stages of a method on one model::

        stages = Stages(model, head, parts, epochs=90, optimizer=make_sgd, schedule=rate)
        for stage, first, end in stages.bounds:
            stages.enter(stage, first=first, measure=first > 0 or stage.measure, prepare=True)
            for epoch in range(first, end):
                stages.train_mode()
                for i, (images, target) in enumerate(batches):
                    stages.set_rate(epoch + i / len(batches))
                    ...

    Args:
        model: The model with the method's parts, as `Task.build` gives it.
        head: Its classifier.
        parts: Of the method.
        epochs: Of all stages.
        optimizer: From the parameters, frozen ones too, to a fresh optimiser.
        schedule: From the epochs done since the schedule began, with fraction, and the epochs that it covers to the
            learning rate.
        seed: Of what a stage draws when it begins.
        device: Where the modules of the parts go; None: they stay.
        use: Called with the model and a stage's criterion when the stage begins, as `Task.use`.
        judge: Measures the current difficulty on held-out data: it updates ``difficulty``.
        features: What `Stage.prepare` is given.
        still: What is frozen of the model as it comes stays as in evaluation, with all that lies between it and what
            is not: dropout, BatchNorm statistics.

    Attributes:
        bounds: Each stage with its first and its last-plus-one epoch, counted from 0.
        stage: The current one.
        criterion, sampler, difficulty, step: Its parts.
        acts: Whether the difficulty has a part in the training.
        optimizer: The current optimiser.
    """

    criterion: Any
    sampler: Any
    difficulty: ClassDifficulty | None
    step: Any
    acts: bool

    def __init__(
        self,
        model: nn.Module,
        head: nn.Module,
        parts: Parts,
        *,
        epochs: int,
        optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
        schedule: Callable[[float, int], float],
        seed: int = 0,
        device: torch.device | None = None,
        use: Callable[[nn.Module, Any], None] | None = None,
        judge: Callable[[], Any] | None = None,
        features: Features | None = None,
        still: bool = False,
    ) -> None:
        self.model, self.head, self.parts, self.epochs = model, head, parts, epochs
        self.make_optimizer, self.schedule, self.seed, self.device = optimizer, schedule, seed, device
        self.use, self.judge, self.features, self.still = use, judge, features, still
        self.frozen = {id(p) for p in model.parameters() if not p.requires_grad}  # by whoever made the model
        self.bounds: Sequence[tuple[Stage, int, int]] = stage_bounds(parts.stages, epochs)
        self.stage, self.span = Stage(name=""), (0, epochs)
        self.optimizer: torch.optim.Optimizer | None = None

    def enter(self, stage: Stage, *, first: int = 0, measure: bool = False, prepare: bool = False) -> None:
        """Begin a stage: its parts, its trainable parameters, its optimiser.

        Args:
            stage: The stage.
            first: Its first epoch.
            measure: Let a difficulty that is new start from what the model can do at the end of the stage before.
            prepare: The stage is new: its ``prepare`` is called.
        """
        self.stage, self.span = stage, schedule_span(self.bounds, first)
        parts = dataclasses.replace(self.parts, **stage.parts)
        self.criterion, self.sampler, self.difficulty = parts.criterion, parts.sampler, parts.difficulty
        self.step = parts.step
        for module in (self.criterion, self.difficulty, self.step):
            if isinstance(module, nn.Module):
                module.to(self.device)
        acting = (self.criterion, self.sampler, self.step)
        self.acts = self.difficulty is not None and any(holds(part, self.difficulty) for part in acting)
        if self.use is not None:
            self.use(self.model, self.criterion)
        observer = self.observer
        if measure and self.judge is not None and observer is not None and not observer.steps:
            self.judge()
            observer.step(trained=True)
        if stage.setup is not None:
            torch.manual_seed(seed_of("stage", self.seed, stage.name))
            stage.setup(self.model, self.head)
        if prepare and stage.prepare is not None:
            assert self.features is not None, f"stage {stage.name} asks for features"
            stage.prepare(self.head, self.features)
        trained = None if stage.trainable is None else {id(p) for p in stage.trainable(self.model, self.head)}
        for parameter in self.model.parameters():
            mine = trained is None or id(parameter) in trained
            parameter.requires_grad_(mine and id(parameter) not in self.frozen)
        parameters = list(self.model.parameters())  # frozen ones too: without a gradient they stay as they are
        before = {id(p) for group in self.optimizer.param_groups for p in group["params"]} if self.optimizer else set()
        if stage.restart or before != {id(p) for p in parameters}:
            self.optimizer = self.make_optimizer(parameters)

    @property
    def observer(self) -> ClassDifficulty | None:
        """A difficulty that is measured on held-out data."""
        return self.difficulty if self.difficulty is not None and self.difficulty.source == "held-out" else None

    @property
    def learner(self) -> ClassDifficulty | None:
        """A difficulty that is measured on the training batches."""
        return self.difficulty if self.difficulty is not None and self.difficulty.source == "train" else None

    @property
    def measured_once(self) -> bool:
        """Whether the difficulty was measured before training and stays as it is."""
        return self.difficulty is not None and self.difficulty.source == "cross-fit"

    def rate(self, progress: float) -> float:
        """The learning rate after so many epochs of the whole training, with fraction."""
        start, end = self.span
        return self.stage.lr * self.schedule(progress - start, end - start)

    def set_rate(self, progress: float) -> None:
        """Give the optimiser its learning rate for the next step: a group with ``lr_scale`` that share of it."""
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(progress) * group.get("lr_scale", 1.0)

    def train_mode(self) -> None:
        """Training mode, except for modules that are frozen as a whole: their BatchNorm statistics stay, too."""
        self.model.train(not self.still)
        if self.still:
            for module in self.model.modules():
                own = [p.requires_grad for p in module.parameters()]
                if own and all(own):
                    module.train()
        elif self.stage.trainable is not None:
            for module in self.model.modules():
                parameters = list(module.parameters())
                if parameters and not any(p.requires_grad for p in parameters):
                    module.eval()
        if self.stage.adapt_norm:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.train()
