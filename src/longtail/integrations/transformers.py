"""Hugging Face's Trainer: a loss, a sampler and the difficulty of the classes, kept beside each checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback

from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError

__all__ = ["DifficultyTrainer", "trainer_loss"]

Criterion = Callable[[Tensor, Tensor], Tensor]


def trainer_loss(criterion: Criterion, observe: ClassDifficulty | None = None) -> Callable[..., Tensor]:
    """A loss for ``Trainer(compute_loss_func=...)``, which wants the sum over a batch, divided by the samples of all
    micro-batches and processes.

    Args:
        criterion: Gives the mean loss of logits and labels: class indices, or soft targets ``[B, C]`` (mixup).
        observe: A difficulty with ``source="train"``.
    """

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
        if observe is not None and torch.is_grad_enabled():
            observe.update(logits.detach(), labels)
        if num_items_in_batch is None:
            return criterion(logits, labels)
        soft = labels.is_floating_point() and labels.shape == logits.shape
        own = len(labels) if soft else int((labels != -100).sum())
        whole = num_items_in_batch / logits.shape[1] if soft else num_items_in_batch  # it counts numbers, not samples
        return criterion(logits, labels) * own / whole

    return loss


class DifficultyTrainer(Trainer):
    """The Trainer, with ``difficulty``, ``criterion`` and ``sampler``; measures the difficulty after each epoch.

    The state is saved as ``difficulty.pt`` beside the optimiser's and read when a training is continued. The model's
    own files hold nothing of it; ``evaluate`` and ``predict`` do not touch it.

    Args:
        difficulty: What is measured, on ``held_out``; None: nothing.
        criterion: As in `trainer_loss`; None: the model's own loss.
        sampler: Of the training samples, in the global order: the Trainer shares it out over the processes.
        held_out: Data set; default ``eval_dataset``.
    """

    def __init__(
        self,
        *args: Any,
        difficulty: ClassDifficulty | None = None,
        criterion: Criterion | None = None,
        sampler: Sampler[int] | None = None,
        held_out: Any = None,
        **kwargs: Any,
    ) -> None:
        self.difficulty, self.sampler, self.held_out = difficulty, sampler, held_out
        trained = difficulty is not None and difficulty.source == "train"
        if criterion is not None:
            kwargs["compute_loss_func"] = trainer_loss(criterion, difficulty if trained else None)
        super().__init__(*args, **kwargs)
        data = self.eval_dataset if held_out is None else held_out
        if difficulty is not None and (criterion is None if trained else data is None or isinstance(data, dict)):
            raise LongtailError(f"the difficulty needs {'criterion=' if trained else 'held_out=, one data set'}")
        if difficulty is not None:
            difficulty.to(self.args.device)
            self.add_callback(_Measure(self, difficulty))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return super()._get_train_sampler(train_dataset) if self.sampler is None else self.sampler

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.difficulty is not None and self.args.should_save:
            torch.save(self.difficulty.state_dict(), os.path.join(output_dir, "difficulty.pt"))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.difficulty is None or checkpoint is None:
            return
        path = os.path.join(checkpoint, "difficulty.pt")
        if not os.path.exists(path):
            raise LongtailError(f"{path} is missing: the difficulty would begin anew; choose another checkpoint")
        self.difficulty.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        if self.args.process_index:  # what was counted within the epoch is process 0's
            self.difficulty.set_extra_state(torch.zeros_like(self.difficulty.get_extra_state()))


class _Measure(TrainerCallback):
    def __init__(self, trainer: DifficultyTrainer, difficulty: ClassDifficulty) -> None:
        self.trainer, self.difficulty = trainer, difficulty

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        done = int((state.epoch or 0) + 1e-6)
        if hasattr(self.trainer.sampler, "set_epoch"):  # the Trainer does not reach it where it skips batches
            self.trainer.sampler.set_epoch(done)  # pyright: ignore
        if self.difficulty.steps < done:  # the checkpoint was written between the last step and the epoch's end
            self.on_epoch_end(args, state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.difficulty.source == "train":
            self.difficulty.step()
            return
        with self.trainer.compute_loss_context_manager():
            model, loader = self.trainer.model_wrapped, self.trainer.get_eval_dataloader(self.trainer.held_out)
            self.difficulty.measure(model, loader)  # pyright: ignore
