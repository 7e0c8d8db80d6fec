"""Measure the model of a run, in training and at its end, and complete the folder."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from longtail import runfolder
from longtail.config import RunConfig
from longtail.difficulty import ClassDifficulty, all_reduce_sum
from longtail.errors import Terminated
from longtail.tasks.base import Evaluation, Task
from longtail.training.average import Average
from longtail.training.ending import Ending
from longtail.training.folder import RunFolder
from longtail.training.stage import Stages

__all__ = ["Judged", "Judging"]


@dataclasses.dataclass(frozen=True)
class Judged:
    """Weights as they are written, with their results on val and test."""

    weights: dict[str, Tensor]
    tables: dict[str, Evaluation]
    found: dict[str, float]


class Judging(Stages):
    """The stages of a run with what judges them.

    Attributes:
        done: Epochs that are trained.
        average: Of the weights; None: they are judged and saved themselves.
    """

    config: RunConfig
    folder: RunFolder
    accelerator: Accelerator
    task: Task
    ending: Ending
    main: bool
    done: int = 0
    average: Average | None = None

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within this the model holds what is judged and saved: the average where there is one."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place_of(self.model)

    def asked(self) -> bool:
        """Whether any process was asked to end; each must call this."""
        if self.accelerator.num_processes == 1:
            return self.ending.asked
        return bool(all_reduce_sum(torch.tensor(int(self.ending.asked), device=self.accelerator.device)))

    def end_if_asked(self, saved: str) -> None:
        if self.asked():
            raise Terminated(f"asked to end (SIGTERM): {saved}")

    def evaluate(self, split: str, observe: ClassDifficulty | None = None, **options: Any) -> Evaluation:
        with self.accelerator.autocast():
            return self.task.evaluate(self.model, split, observe=observe, **options)

    def measure(self) -> Evaluation | None:
        """The held-out split. Buffers are made equal on all processes first: BatchNorm keeps statistics of its own."""
        if self.accelerator.num_processes > 1:
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, 0)
        if self.task.data.val is None:
            return None
        return self.evaluate("val", observe=self.observer, **self.task.every_epoch)

    def features_of(self, split: str) -> tuple[Tensor, Tensor]:
        with self.accelerator.autocast():
            return self.task.features(self.model, self.head, split)

    def weights(self) -> dict[str, Tensor]:
        """Of the model as it is now, for the checkpoint."""
        return _copy(self.model.state_dict())

    # -- the end -------------------------------------------------------------------------------------------------------
    def conclude(self, best: dict[str, Any]) -> dict[str, Any]:
        """Judge the best and the last weights on val and test, and complete the folder.

        The test split is read here only.
        """
        if self.average is not None:
            self.average.put_into(self.model)
        with self.ending.at_once():
            judged = {"last": self.judged()}
            refitted = self.refit()
            if refitted is not None:  # the held-out samples tell how good it is, and then are trained on
                tables = {"val": judged["last"].tables["val"]} | refitted.tables
                judged["last"] = judged["best"] = dataclasses.replace(refitted, tables=tables)
                best = {"epoch": self.done}
            if self.config.final == "last" or best["epoch"] == self.done:
                self._show_examples()
            if refitted is not None or best["epoch"] == self.done:
                judged["best"] = judged["last"]
            else:
                self.model.load_state_dict(self.folder.best_weights(best["epoch"]))
                judged["best"] = self.judged()
                if self.config.final == "best":
                    self._show_examples()
        tables = judged[self.config.final or "best"].tables
        metrics: dict[str, Any] = {s: tables[s].metrics for s in ("test", "val") if s in tables}
        metrics |= {"final": self.config.final, "epochs": self.epochs}
        metrics |= {"refit": True} if refitted is not None else {}
        metrics |= {"stopped": self.done} if self.done < self.epochs else {}
        for which, epoch in (("best", best["epoch"]), ("last", self.done)):
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

    def refit(self) -> Judged | None:
        """The result of a last training that takes in the held-out split; None: it stays held out."""
        return None

    def judged(self) -> Judged:
        """The model's weights as they are written, after the method's finish, and what they achieve."""
        self.task.use(self.model, self.criterion)
        found = dict(self.parts.found)
        if self.parts.finish is not None:
            found |= self.parts.finish(self.head, self.features_of)
        tables = {}
        with self.task.written(self.model) as state:
            for split in ("val", "test"):
                if getattr(self.task.data, split) is not None:
                    self.end_if_asked("every epoch is saved")
                    tables[split] = self.evaluate(split)
            return Judged(_copy(state), tables, found)

    def _show_examples(self) -> None:
        """A picture of what is found in some images, where the task has one."""
        with self.accelerator.autocast():
            pixels = self.task.examples(self.model) if self.main else None
        if pixels is not None:
            self.folder.save_picture(runfolder.EXAMPLES, pixels)


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The model may change before it is written."""
    return {k: v.cpu().clone(memory_format=torch.contiguous_format) for k, v in state.items()}
