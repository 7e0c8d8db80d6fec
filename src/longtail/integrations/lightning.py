"""Lightning: measure the difficulty of the classes once an epoch, and keep it in the checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.held_out import Predict
from longtail.samplers import EpochSampler

if TYPE_CHECKING or "lightning" in sys.modules or "pytorch_lightning" not in sys.modules:
    from lightning.pytorch import Callback, LightningModule, Trainer, utilities
else:  # the same under its older name
    from pytorch_lightning import Callback, LightningModule, Trainer, utilities

__all__ = ["DifficultyCallback"]


class DifficultyCallback(Callback):
    """Steps a `ClassDifficulty` after each epoch of training::

        difficulty = ClassDifficulty(num_classes=10)  # the module's loss, or the loader's sampler, holds it, too
        trainer = Trainer(callbacks=[DifficultyCallback(difficulty)])

    The module's ``forward`` answers the held-out batches whenever the validation loop has ended; the sanity check does
    not count, nor what a ``DistributedSampler`` appends. The state is part of each checkpoint, and
    ``Trainer.fit(ckpt_path=...)`` goes on with it. Samplers are told the epoch, also inside of Lightning's wrapper (2.5
    does not do that), which deals out what ours draw in their order: two processes train as one does with the batches
    of both. Logged: ``difficulty/mean``, ``difficulty/hardest`` (the largest), ``difficulty/tau``, ``difficulty/bias``.

    A difficulty with ``source="train"`` is stepped only: let ``training_step`` call ``difficulty.update(logits, y)``.

    Args:
        difficulty: Moved to the module's device; no other object may step it.
        held_out: Loader of the held-out split, if it is not the first validation loader: it is measured at the end of
            the training epoch then.
        predict: For batches that are not ``(x, y)``: called with the module and a batch, gives logits and targets.
    """

    def __init__(
        self, difficulty: ClassDifficulty, held_out: Iterable[Any] | None = None, *, predict: Predict | None = None
    ) -> None:
        self.difficulty, self.held_out, self.predict = difficulty, held_out, predict

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.difficulty.to(pl_module.device)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A loader with workers has drawn its first batches already: for epoch 0, and shuffled by Lightning's wrapper.
        drawn_otherwise = trainer.current_epoch > 0 or trainer.world_size > 1
        if self._prepare(trainer) and drawn_otherwise and not trainer.fit_loop.restarted_mid_epoch:
            iter(trainer.fit_loop._data_fetcher)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._prepare(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        training = trainer.state.fn == "fit" and not trainer.sanity_checking
        if training and self.held_out is None and self.difficulty.source != "train":
            self._measure(trainer, pl_module, utilities.CombinedLoader(trainer.val_dataloaders).flattened[0])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.held_out is not None or self.difficulty.source == "train":
            self._measure(trainer, pl_module, self.held_out)
        elif not trainer.enable_validation:  # nobody would notice that all weights stay 1
            raise LongtailError("there is no validation loop: give DifficultyCallback the held-out loader")

    def state_dict(self) -> dict[str, Any]:
        return self.difficulty.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.difficulty.load_state_dict(state_dict)

    def _measure(self, trainer: Trainer, module: LightningModule, loader: Any) -> None:
        state = self.difficulty
        if state.source == "train":
            state.step()
        else:
            with trainer.precision_plugin.val_step_context():
                state.measure(trainer.strategy.model or module, loader, predict=self.predict)
        values = state.difficulty
        found = {"mean": values.nanmean(), "hardest": values.nan_to_num(0).max(), "tau": state.tau, "bias": state.bias}
        module.log_dict({f"difficulty/{name}": value.clone() for name, value in found.items()}, sync_dist=True)

    def _prepare(self, trainer: Trainer) -> bool:
        """Set the epoch on all samplers, also in Lightning's wrapper of them; whether there is one that takes it."""
        told: list[Any] = []
        for loader in utilities.CombinedLoader(trainer.train_dataloader).flattened:
            sampler: Any = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
            inner = getattr(getattr(sampler, "dataset", None), "_sampler", None)
            if isinstance(inner, EpochSampler):
                sampler.shuffle = False  # what is drawn at random stays in its order
            told += [each for each in (getattr(loader, "sampler", None), sampler, inner) if hasattr(each, "set_epoch")]
        for each in told:
            each.set_epoch(trainer.current_epoch)
        return bool(told)
