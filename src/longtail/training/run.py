"""Run one configuration: stages, epochs, checkpoints, resume, distributed.

Determinism: whatever is random in an epoch is a function of (seed, epoch, position in the epoch), so a run that was
killed and continued equals one that was not, and no random state needs saving. Every process makes the same global
order and takes its stride of each global batch, so N processes see the batches of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from longtail import runfolder
from longtail.config import RunConfig
from longtail.data.loader import of_dead_worker
from longtail.data.record import SplitRecord, check_splits, record_splits
from longtail.difficulty import ClassDifficulty, all_reduce_sum
from longtail.errors import LongtailError, Terminated
from longtail.guard import leave_unguarded_script
from longtail.methods import Method, Stage, StepContext
from longtail.tasks.base import Evaluation, Task
from longtail.tasks.find import task_class
from longtail.training.ending import Ending, random_state, set_random_state
from longtail.training.folder import RunFolder, method_of
from longtail.training.hard import HardInstances
from longtail.training.hints import hints
from longtail.training.order import cut_batches, epoch_order, seed_of
from longtail.training.peers import meet
from longtail.training.progress import Progress, timed
from longtail.training.recipes import resolve
from longtail.training.schedule import first_drop, learning_rate
from longtail.training.setup import make_accelerator, make_task
from longtail.training.stage import Stages

__all__ = ["train"]

_AGREE = 50
"""Steps after which several processes tell each other whether one of them was asked to end."""


def train(
    config: RunConfig,
    out: str | Path,
    *,
    resume: bool = True,
    progress: Progress | None = None,
    splits_of: str | Path | None = None,
) -> dict[str, Any]:
    """Train, evaluate and fill the run folder ``out``; returns what ``metrics.json`` holds.

    An unfinished run of the same configuration is continued, a finished one is left as it is.

    Args:
        config: What to run; unset fields are filled in from the data set's recipe.
        out: The run folder.
        resume: False: refuse a folder with an unfinished run instead of continuing it.
        progress: Told about every step and epoch.
        splits_of: A run folder whose splits a new run takes over; None: they are cut by the configuration.

    Raises:
        LongtailError: anything that the user can mend.
    """
    leave_unguarded_script()
    config = resolve(config)
    method = method_of(config)
    task_class(config.task).check_method(method, config.task)
    if method.needs_weights and not config.weights:
        raise LongtailError(f"{config.method} starts from a trained model: give its file with --weights")
    folder = RunFolder(out)
    folder.check(config, method)
    accelerator = make_accelerator(config, folder.path)
    main = accelerator.is_main_process
    progress = progress if progress and main else Progress()
    if folder.finished:
        progress.note(f"{folder.path} is finished already with this configuration: nothing to do")
        return folder.metrics
    if folder.begun and not resume:
        raise LongtailError(f"{folder.path} holds an unfinished run: continue it with --resume or choose another --out")
    with meet(accelerator.device), _dead_worker_told():
        return _train(config, folder, accelerator, method, progress, splits_of)


def _train(
    config: RunConfig,
    folder: RunFolder,
    accelerator: Accelerator,
    method: Method,
    progress: Progress,
    splits_of: str | Path | None,
) -> dict[str, Any]:
    """`train` once all processes are there."""
    main = accelerator.is_main_process
    record = folder.splits() or (RunFolder(splits_of).splits() if splits_of is not None else None)
    task = make_task(config, accelerator, record=record)
    ending = Ending(alone=accelerator.num_processes == 1)
    try:
        if method.needs_held_out and task.data.val is None:
            raise LongtailError(
                f"{config.method} measures difficulty on a held-out split and --protocol {config.protocol} has none: "
                "choose another protocol or method"
            )
        if record is not None and main and (changes := check_splits(record, task.data)):
            raise LongtailError(
                f"the data changed since {record.source} was begun: {'; '.join(changes)}: restore them, or choose "
                "another --out"
            )
        if record is None and folder.begun:
            progress.note(f"{folder.path} does not tell its splits (an earlier version began it): they are cut anew")
        loop = _Loop(config, folder, accelerator, task, method, progress, record, ending)
        accelerator.wait_for_everyone()  # from here on something is written: all processes got so far
        with folder.claimed(config, method) if main else contextlib.nullcontext(), ending.heard():
            metrics = loop.conclude(loop.run())
    finally:
        progress.stop()
        task.close()
        for tracker in accelerator.trackers:
            tracker.finish()
    accelerator.wait_for_everyone()
    return metrics


@contextlib.contextmanager
def _dead_worker_told() -> Iterator[None]:
    """In a line of ours what torch says, wherever we are, of a dead process that reads images."""
    try:
        yield
    except RuntimeError as error:
        if (told := of_dead_worker(error)) is None:
            raise
        raise told from None


@contextlib.contextmanager
def _batch_norm_told(config: RunConfig) -> Iterator[None]:
    """In a line of ours what BatchNorm says of one sample whose features are one pixel."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise LongtailError(
            f"BatchNorm cannot train on a batch of one sample at --image-size {config.image_size}: give every process "
            f"at least two with a larger --batch-size than {config.batch_size}"
        ) from None


@dataclasses.dataclass(frozen=True)
class _Judged:
    """Weights as they are written, with their results on val and test."""

    weights: dict[str, Tensor]
    tables: dict[str, Evaluation]
    found: dict[str, float]


class _Loop(Stages):
    """One running configuration: the model, and what the current stage trains it with."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        accelerator: Accelerator,
        task: Task,
        method: Method,
        progress: Progress,
        record: SplitRecord | None = None,
        ending: Ending | None = None,
    ) -> None:
        assert config.model and config.epochs and config.batch_size and config.weight_decay is not None
        self.config, self.folder, self.accelerator, self.task = config, folder, accelerator, task
        self.progress, self.main = progress, accelerator.is_main_process
        self.record, self.ending = record, ending or Ending()
        torch.manual_seed(seed_of("model", config.seed))
        parts = method.parts(task.stats(epochs=config.epochs, seed=config.seed, first_drop=first_drop(config)))
        torch.manual_seed(seed_of("model", config.seed))  # whatever the parts may have drawn
        model, head = task.build(parts, config.weights)
        super().__init__(
            model,
            head,
            parts,
            epochs=config.epochs,
            optimizer=self._sgd,
            schedule=lambda progress, span: learning_rate(config, progress, span=span),
            seed=config.seed,
            device=accelerator.device,
            use=task.use,
            judge=self._measure,
            features=self._features,
        )
        self._trained: dict[str, Any] = {}  # where the training of the epoch has ended
        self.forward: nn.Module = model

    def _sgd(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        config = self.config
        assert config.lr and config.weight_decay is not None
        return torch.optim.SGD(parameters, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)

    # -- the whole run -------------------------------------------------------------------------------------------------
    def run(self) -> dict[str, Any]:
        """Every stage and epoch that is not done yet; returns the record of the best epoch."""
        if self.main:
            splits = self.record or record_splits(self.task.data, str(self.folder.path))
            self.folder.describe(self.task.description(), splits)
        told = hints(self.config, self.model, samples=len(self.task.data.train), world=self.accelerator.num_processes)
        for note in (*self.task.data.notes, *getattr(self.model, "notes", ()), *told):
            self.progress.note(note)
        if self.config.trackers:
            settings = {k: str(v) for k, v in self.config.to_dict().items()}
            self.accelerator.init_trackers("longtail", config=settings)
        state = self.folder.load_checkpoint(rewrite=self.main)
        self.accelerator.wait_for_everyone()
        done = state["epoch"] if state else 0
        inside = None if state is None else state.get("inside")  # ended within an epoch
        position = done if inside is None else done + 0.5
        best = state["best"] if state else {"epoch": 0, "score": -1.0}
        if inside is not None:
            self.progress.note(f"continuing after step {inside['step']} of epoch {done + 1} of {self.epochs}")
        elif done:
            self.progress.note(f"continuing after epoch {done} of {self.epochs}")
        self.progress.start(epochs=self.epochs, done=done)
        for stage, first, end in self.bounds:
            new = position <= first
            self.enter(stage, first=first, measure=(first > 0 or stage.measure) and new, prepare=new)
            if state is not None and first < position <= end:
                self.load_state_dict(state)
            for epoch in range(max(first, done), end):
                best = self.epoch(epoch, best, inside if epoch == done else None)
                self._end_if_asked(f"saved after epoch {epoch + 1}")
        return best

    def _asked(self) -> bool:
        """Whether any process was asked to end; each must call this."""
        if self.accelerator.num_processes == 1:
            return self.ending.asked
        return bool(all_reduce_sum(torch.tensor(int(self.ending.asked), device=self.accelerator.device)))

    def _end_if_asked(self, saved: str) -> None:
        if self._asked():
            raise Terminated(f"asked to end (SIGTERM): {saved}")

    def enter(self, stage: Stage, *, first: int = 0, measure: bool = False, prepare: bool = False) -> None:
        """As `Stages.enter`; what trains is compiled, and spread over the processes."""
        super().enter(stage, first=first, measure=measure, prepare=prepare)
        self.forward = torch.compile(self.model) if self.config.compile else self.model  # pyright: ignore
        if self.accelerator.num_processes > 1:
            self.forward = nn.parallel.DistributedDataParallel(self.forward)

    # -- one epoch -----------------------------------------------------------------------------------------------------
    def epoch(self, epoch: int, best: dict[str, Any], inside: dict[str, Any] | None = None) -> dict[str, Any]:
        """Train, measure, record and save one epoch; returns the record of the best epoch so far.

        Args:
            epoch: Its number from 0.
            best: The record so far.
            inside: Where this epoch was left, and what else it takes to go on there.
        """
        start = time.perf_counter()
        torch.manual_seed(seed_of("epoch", self.config.seed, epoch, self.accelerator.process_index))
        acting = self._acting()
        row = {"stage": self.stage.name, "epoch": epoch + 1} | self._train_epoch(epoch, best, inside)
        largest = torch.stack([p.detach().abs().max() for p in self.model.parameters()])
        self._check_finite(largest, f"the weights are not finite after epoch {epoch + 1}")
        try:
            with self.ending.at_once():
                held_out = self._measure()
                selection = held_out if self.task.data.select is None else self._evaluate("select")
        except Terminated:
            if self.observer is not None:  # it has seen a part of the split
                self.observer.set_extra_state(torch.zeros_like(self.observer.get_extra_state()))
            self._save_inside(epoch, best, self._trained)
            raise
        nothing = torch.full((self.task.data.num_classes,), float("nan"))
        measured = held_out.performance if held_out else nothing
        classes = {"performance": measured, "difficulty": 1 - measured, "weight": torch.ones_like(measured)}
        classes |= {"measured": measured, "smoothed": nothing, "used_difficulty": nothing, "acting_weight": nothing}
        if self.difficulty is not None:
            weight = self.difficulty.step()
            smoothed = self.difficulty.performance
            classes = {"performance": smoothed, "difficulty": 1 - smoothed, "weight": weight}
            classes |= {"measured": self.difficulty.measured, "smoothed": smoothed}
            classes |= {"used_difficulty": self.difficulty.difficulty, "acting_weight": acting["weight"]}
            row |= {"bias": float(self.difficulty.bias), "tau": float(self.difficulty.tau)}
            row |= {"acting_tau": acting["tau"]} if "tau" in acting else {}
        if held_out:
            row |= {"val_accuracy": held_out.accuracy, "val_balanced_accuracy": held_out.score}
        score = selection.score if selection else float(epoch)  # nothing to select on: the last epoch is the best
        is_best = score > best["score"]
        best = {"epoch": epoch + 1, "score": score} if is_best else best
        hard = self.hard.rows(epoch)
        row["seconds"] = round(time.perf_counter() - start, 3)
        if self.main:
            self.folder.record(row, classes, hard)
            self.folder.checkpoint(self.state_dict(epoch + 1, best), self._weights() if is_best else None)
        if self.config.trackers:
            self.accelerator.log({k: v for k, v in row.items() if isinstance(v, (int, float))}, step=epoch + 1)
        self.progress.epoch(row)
        return best

    def _acting(self) -> dict[str, Any]:
        """The weights ``[C]`` that the next epoch begins with, and their tau where they come from a difficulty."""
        if self.difficulty is None:
            return {}
        if not self.acts or not self.difficulty.steps:
            return {"weight": torch.ones_like(self.difficulty.weight)}
        return {"weight": self.difficulty.weight.clone(), "tau": float(self.difficulty.tau)}

    def _train_epoch(self, epoch: int, best: dict[str, Any], inside: dict[str, Any] | None) -> dict[str, Any]:
        config, world = self.config, self.accelerator.num_processes
        assert config.batch_size and self.optimizer is not None
        order = epoch_order(self.sampler, len(self.task.data.train), seed=config.seed, epoch=epoch)
        batches = cut_batches(order, config.batch_size, world=world)
        self.train_mode()
        self.hard = HardInstances(self.criterion, self.task.data.num_classes)
        total, waiting = torch.zeros((), device=self.accelerator.device, dtype=torch.float64), 0.0
        learner = self.difficulty if self.observer is None else None  # measured on the training batches
        rate = self.rate(epoch)
        start = 0
        if inside is not None:
            start = inside["step"]
            if self.main:  # what was counted by all stands in one place
                total, self.hard.counts = inside["total"].to(total.device), inside["hard"].to(self.hard.counts)
            elif learner is not None:
                learner.set_extra_state(torch.zeros_like(learner.get_extra_state()))
            if self.accelerator.process_index < len(inside["random"]):
                set_random_state(inside["random"][self.accelerator.process_index])
        meta = self.task.meta_batches(getattr(self.step, "meta_batch", 0), len(batches), epoch=epoch, start=start)
        loader = timed(zip(self.task.train_batches(batches, epoch=epoch, start=start), meta, strict=True))
        for i, ((batch, held_out), waited) in enumerate(loader, start):
            self.set_rate(epoch + i / len(batches))
            with self.accelerator.autocast(), _batch_norm_told(config):
                output = self._loss(batch, held_out)
            loss: Tensor = output["loss"]
            target: Any = output.get("target", batch[1])
            self.hard.update(output["logits"], target)
            if learner is not None:
                learner.update(output["logits"].detach(), target)
            self.optimizer.zero_grad(set_to_none=True)
            size, whole = len(batch[1]), len(batches[i])
            # DDP averages over processes: the factor makes it the mean over the global batch.
            self.accelerator.backward(loss if size * world == whole else loss * (size * world / whole))
            if config.clip_grad_norm:
                self.accelerator.clip_grad_norm_(self.model.parameters(), config.clip_grad_norm)
            self.optimizer.step()
            total += loss.detach() * size
            waiting += waited
            if i % 50 == 49:
                self._check_finite(total, f"the loss is not finite in epoch {epoch + 1}, by step {i + 1}")
            self.progress.step(i + 1, len(batches))
            if (world == 1 or i % _AGREE == _AGREE - 1 or i + 1 == len(batches)) and self._asked():
                self._check_finite(total, f"the loss is not finite in epoch {epoch + 1}, by step {i + 1}")
                self._save_inside(epoch, best, self._inside(i + 1, total))
        self._trained = self._inside(len(batches), total) if world == 1 else {}
        total = self._check_finite(total, f"the loss is not finite in epoch {epoch + 1}")
        mean = total / sum(map(len, batches))
        return {"lr": rate, "train_loss": mean, "data_seconds": round(waiting, 3)}

    def _inside(self, step: int, total: Tensor) -> dict[str, Any]:
        """What it takes to go on within an epoch, of all processes: each must call this."""
        random: list[Any] = [random_state()]
        if self.accelerator.num_processes > 1:
            random *= self.accelerator.num_processes
            torch.distributed.all_gather_object(random, random[0])
        counted = {"total": all_reduce_sum(total.clone()).cpu(), "hard": all_reduce_sum(self.hard.counts).cpu()}
        return {"step": step, "random": random} | counted

    def _save_inside(self, epoch: int, best: dict[str, Any], inside: dict[str, Any]) -> None:
        """Save within an epoch, and end."""
        if self.difficulty is not None and self.observer is None:
            self.difficulty.set_extra_state(all_reduce_sum(self.difficulty.get_extra_state()))
        if self.main:
            self.folder.checkpoint(self.state_dict(epoch, best) | {"inside": inside})
        self.accelerator.wait_for_everyone()
        raise Terminated(f"asked to end (SIGTERM): saved after step {inside['step']} of epoch {epoch + 1}")

    def _loss(self, batch: Any, held_out: Any) -> dict[str, Tensor]:
        """Forward pass and loss of one batch, by the stage's ``step`` if it has one."""
        if self.step is None:
            return self.task.loss(self.forward, self.criterion, batch)
        assert self.optimizer is not None
        context = StepContext(
            model=self.model,
            forward=self.forward,
            criterion=self.criterion,
            batch=batch,
            meta=held_out,
            lr=self.optimizer.param_groups[0]["lr"],
        )
        return self.step(context)

    def _check_finite(self, values: Tensor, complaint: str) -> float:
        """The sum over all processes; all of them stop if it is not finite. Reading it waits for the GPU."""
        total = values.double().sum()
        if self.accelerator.num_processes > 1:
            torch.distributed.all_reduce(total)
        result = float(total)
        if not math.isfinite(result):
            raise LongtailError(
                f"{complaint}: lower --lr, add --clip-grad-norm 1 or --warmup-epochs, and look for broken input; "
                "the last checkpoint is kept"
            )
        return result

    # -- measuring -----------------------------------------------------------------------------------------------------
    def _evaluate(self, split: str, observe: ClassDifficulty | None = None, **options: Any) -> Evaluation:
        with self.accelerator.autocast():
            return self.task.evaluate(self.model, split, observe=observe, **options)

    def _measure(self) -> Evaluation | None:
        """The held-out split. Buffers are made equal on all processes first: BatchNorm keeps statistics of its own."""
        if self.accelerator.num_processes > 1:
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, 0)
        if self.task.data.val is None:
            return None
        return self._evaluate("val", observe=self.observer, **self.task.every_epoch)

    def conclude(self, best: dict[str, Any]) -> dict[str, Any]:
        """Judge the best and the last weights on val and test, and complete the folder.

        The test split is read here only.
        """
        with self.ending.at_once():
            judged = {"last": self._judged()}
            if self.config.final == "last" or best["epoch"] == self.epochs:
                self._show_examples()
            if best["epoch"] == self.epochs:
                judged["best"] = judged["last"]
            else:
                self.model.load_state_dict(self.folder.best_weights(best["epoch"]))
                judged["best"] = self._judged()
                if self.config.final == "best":
                    self._show_examples()
        tables = judged[self.config.final].tables
        metrics: dict[str, Any] = {s: tables[s].metrics for s in ("test", "val") if s in tables}
        metrics |= {"final": self.config.final, "epochs": self.epochs}
        for which, epoch in (("best", best["epoch"]), ("last", self.epochs)):
            part = judged[which]
            scalars = {s: {k: v for k, v in e.metrics.items() if k != "per_class"} for s, e in part.tables.items()}
            metrics[which] = {"epoch": epoch} | scalars | ({"found": part.found} if part.found else {})
        if self.main:
            weights = {which: part.weights for which, part in judged.items()}
            self.folder.finish(**weights, tables=tables, metrics=metrics, predictions=self._predictions(tables["test"]))
        return metrics

    def _predictions(self, tested: Evaluation) -> dict[str, Tensor] | None:
        """What each test sample was taken for, where samples are taken for a class."""
        samples = None if tested.predicted is None else self.task.samples("test")
        if tested.predicted is None or samples is None:
            return None
        return samples | {"predicted": tested.predicted.int()}

    def _judged(self) -> _Judged:
        """The model's weights as they are written, after the method's finish, and what they achieve."""
        self.task.use(self.model, self.criterion)
        found = {} if self.parts.finish is None else dict(self.parts.finish(self.head, self._features))
        tables = {}
        for split in ("val", "test"):
            if getattr(self.task.data, split) is not None:
                self._end_if_asked("every epoch is saved")
                tables[split] = self._evaluate(split)
        return _Judged(self._weights(), tables, found)

    def _show_examples(self) -> None:
        """A picture of what is found in some images, where the task has one."""
        with self.accelerator.autocast():
            pixels = self.task.examples(self.model) if self.main else None
        if pixels is not None:
            self.folder.save_picture(runfolder.EXAMPLES, pixels)

    def _features(self, split: str) -> tuple[Tensor, Tensor]:
        with self.accelerator.autocast():
            return self.task.features(self.model, self.head, split)

    # -- state ---------------------------------------------------------------------------------------------------------
    def _weights(self) -> dict[str, Tensor]:
        """A copy: the model may change before it is written."""
        return {k: v.cpu().clone(memory_format=torch.contiguous_format) for k, v in self.model.state_dict().items()}

    def _modules(self) -> dict[str, nn.Module]:
        """Whatever has a state besides the optimiser."""
        parts = {"criterion": self.criterion, "difficulty": self.difficulty, "first_difficulty": self.parts.difficulty}
        parts["step"] = self.step
        return {"model": self.model} | {name: part for name, part in parts.items() if isinstance(part, nn.Module)}

    def state_dict(self, epoch: int, best: dict[str, Any]) -> dict[str, Any]:
        """Everything that the next epoch depends on, as tensors and plain values."""
        assert self.optimizer is not None
        states = {name: module.state_dict() for name, module in self._modules().items()}
        return {"epoch": epoch, "best": best, "optimizer": self.optimizer.state_dict()} | states

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`, in the stage that it was saved in."""
        assert self.optimizer is not None
        try:
            for name, module in self._modules().items():
                module.load_state_dict(state[name])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise LongtailError(
                f"the checkpoint in {self.folder.path} does not fit this version ({error}): choose another --out"
            ) from None
