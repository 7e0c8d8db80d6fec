"""The training of one run: stages, epochs, checkpoints, several processes.

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
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from longtail.config import RunConfig
from longtail.data.record import SplitRecord, record_splits
from longtail.difficulty import all_reduce_sum
from longtail.errors import LongtailError, Terminated
from longtail.methods import Method, Stage, StepContext
from longtail.tasks.base import Task
from longtail.training import within
from longtail.training.average import Average
from longtail.training.ending import Ending
from longtail.training.folder import Nowhere, RunFolder
from longtail.training.hard import HardInstances
from longtail.training.hints import hints
from longtail.training.judging import Judged, Judging
from longtail.training.optimizers import make_optimizer, rate_scales
from longtail.training.order import cut_batches, epoch_order, seed_of
from longtail.training.progress import Progress, timed
from longtail.training.schedule import first_drop, learning_rate
from longtail.training.soften import soften

__all__ = ["Loop"]

_AGREE = 50
"""Steps after which several processes tell each other whether one of them was asked to end."""


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


class Loop(Judging):
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
        assert config.model and config.epochs
        self.folder, self.accelerator, self.task, self.method = folder, accelerator, task, method
        self.progress, self.main = progress, accelerator.is_main_process
        self.record, self.ending = record, ending or Ending()
        torch.manual_seed(seed_of("model", config.seed))
        parts = method.parts(task.stats(epochs=config.epochs, seed=config.seed, first_drop=first_drop(config)))
        self.config = config = task.training(config, parts)
        assert config.epochs
        parts = soften(config, parts)
        torch.manual_seed(seed_of("model", config.seed))  # whatever the parts may have drawn
        model, head = task.build(parts, config.weights)
        super().__init__(
            model,
            head,
            parts,
            epochs=config.epochs,
            optimizer=self._optimizer,
            schedule=lambda progress, span: learning_rate(config, progress, span=span),
            seed=config.seed,
            device=accelerator.device,
            use=task.use,
            judge=self.measure,
            features=self.features_of,
            still=task.keeps_still,
        )
        rate_scales(config, model, head, task.depths(model))  # refused before anything is written
        if config.patience is not None and task.data.select is None and task.data.val is None:
            raise LongtailError("--patience: there is no held-out split to tell what is better: leave it out")
        self._trained: dict[str, Any] = {}  # where the training of the epoch has ended
        self.forward: nn.Module = model

    def _optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        scales = rate_scales(self.config, self.model, self.head, self.task.depths(self.model))
        named: Any = getattr(self.model, "no_weight_decay", None)  # of networks of timm
        names: Any = named() if callable(named) else ()
        undecayed = [p for name, p in self.model.named_parameters() if name in names]
        return make_optimizer(self.config, parameters, scales, undecayed=undecayed)

    # -- the whole run -------------------------------------------------------------------------------------------------
    def run(self) -> dict[str, Any]:
        """Every stage and epoch that is not done yet; returns the record of the best epoch."""
        if self.main:
            splits = self.record or record_splits(self.task.data, str(self.folder.path))
            self.folder.describe(self.task.description(), splits)
            self.folder.share(*self.task.frozen_part())
            self.folder.share_pictures(self.task.pictures())
        told = hints(self.config, self.model, samples=len(self.task.data.train), world=self.accelerator.num_processes)
        model_notes = getattr(self.model, "notes", ())
        for note in (*self.task.data.notes, *self.task.told, *model_notes, *self.parts.notes, *told):
            self.progress.about(note)
        if self.config.trackers:
            settings = {k: str(v) for k, v in self.config.to_dict().items()}
            try:
                self.accelerator.init_trackers("longtail", config=settings)
            except Exception as error:  # whatever the trackers raise: a store that is not there, a key that is missing
                names = " ".join(self.config.trackers)
                raise LongtailError(f"--trackers {names}: {error or type(error).__name__}") from error
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
        self.done = done
        self.progress.start(epochs=self.epochs, done=done)
        for stage, first, end in self.bounds:
            new = position <= first
            self.enter(stage, first=first, measure=(first > 0 or stage.measure) and new, prepare=new)
            if state is not None and first < position <= end:
                self.load_state_dict(state)
            for epoch in range(max(first, done), end):
                if self._without_gain(epoch, best):
                    return best
                best = self.epoch(epoch, best, inside if epoch == done else None)
                self.end_if_asked(f"saved after epoch {epoch + 1}")
        return best

    def refit(self) -> Judged | None:
        """Train anew on the held-out samples too, as the run was trained: nothing of it is saved on the way."""
        task = self.task.refitted(self.config, self.method)
        if task is None:
            return None
        config = dataclasses.replace(self.config, patience=None, trackers=())
        loop = Loop(config, Nowhere(), self.accelerator, task, self.method, Progress(), ending=self.ending)
        loop.run()
        if loop.average is not None:
            loop.average.put_into(loop.model)
        return loop.judged()

    def _without_gain(self, done: int, best: dict[str, Any]) -> bool:
        """Whether the last stage has gone on for as many epochs as ``patience`` allows without a better score."""
        start = self.bounds[-1][1]
        gone = done - max(best["epoch"], start)
        if self.config.patience is None or done <= start or gone < self.config.patience:
            return False
        self.progress.note(f"stopped after epoch {done} of {self.epochs}: {gone} in a row were not better")
        return True

    def enter(self, stage: Stage, *, first: int = 0, measure: bool = False, prepare: bool = False) -> None:
        """As `Stages.enter`; what trains is compiled, and spread over the processes.

        A stage that begins anew begins with the average of the one before, and has an average of its own.
        """
        anew = stage.restart or stage.setup is not None
        if self.average is not None and anew and prepare:
            self.average.put_into(self.model)
        super().enter(stage, first=first, measure=measure, prepare=prepare)
        if self.config.ema is not None and (anew or self.average is None):
            self.average = Average(self.model, self.config.ema)
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
            with self.averaged(), self.ending.at_once():
                held_out = self.measure()
                selection = held_out if self.task.data.select is None else self.evaluate("select")
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
            weight = self.difficulty.weight.clone() if self.measured_once else self.difficulty.step()
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
        row["since_best"] = epoch + 1 - best["epoch"]
        hard = self.hard.rows(epoch)
        row["seconds"] = round(time.perf_counter() - start, 3)
        if self.main:
            self.folder.record(row, classes, hard)
            with self.averaged():
                weights = self.weights() if is_best else None
            self.folder.checkpoint(self.state_dict(epoch + 1, best), weights)
        if self.config.trackers:
            self.accelerator.log({k: v for k, v in row.items() if isinstance(v, (int, float))}, step=epoch + 1)
        self.done = epoch + 1
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
        learner = self.learner
        rate = self.rate(epoch)
        start = 0
        if inside is not None:
            start = inside["step"]
            total = within.go_on(inside, total, self.hard, learner, rank=self.accelerator.process_index)
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
            if self.average is not None:
                self.average.update_parameters(self.model)
            total += loss.detach() * size
            waiting += waited
            if i % 50 == 49:
                self._check_finite(total, f"the loss is not finite in epoch {epoch + 1}, by step {i + 1}")
            self.progress.step(i + 1, len(batches))
            if (world == 1 or i % _AGREE == _AGREE - 1 or i + 1 == len(batches)) and self.asked():
                self._check_finite(total, f"the loss is not finite in epoch {epoch + 1}, by step {i + 1}")
                self._save_inside(epoch, best, within.inside(i + 1, total, self.hard, world=world))
        self._trained = within.inside(len(batches), total, self.hard, world=1) if world == 1 else {}
        total = self._check_finite(total, f"the loss is not finite in epoch {epoch + 1}")
        mean = total / sum(map(len, batches))
        return {"lr": rate, "train_loss": mean, "data_seconds": round(waiting, 3)}

    def _save_inside(self, epoch: int, best: dict[str, Any], inside: dict[str, Any]) -> None:
        """Save within an epoch, and end."""
        if (learner := self.learner) is not None:
            learner.set_extra_state(all_reduce_sum(learner.get_extra_state()))
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

    # -- state ---------------------------------------------------------------------------------------------------------
    def _modules(self) -> dict[str, nn.Module]:
        """Whatever has a state besides the optimiser."""
        parts = {"criterion": self.criterion, "difficulty": self.difficulty, "first_difficulty": self.parts.difficulty}
        parts |= {"step": self.step, "average": self.average}
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
