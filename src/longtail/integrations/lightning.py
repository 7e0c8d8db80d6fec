"""Lightning: measure the difficulty of the classes once an epoch, and keep it in the checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.held_out import Predict

if TYPE_CHECKING or "lightning" in sys.modules or "pytorch_lightning" not in sys.modules:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:  # the same under its older name
    from pytorch_lightning import Callback, LightningModule, Trainer

__all__ = ["DifficultyCallback"]


class DifficultyCallback(Callback):
    """Steps a `ClassDifficulty` after each epoch of training::

        difficulty = ClassDifficulty(num_classes=10)  # the module's loss, or the loader's sampler, holds it, too
        trainer = Trainer(callbacks=[DifficultyCallback(difficulty)])

    The module's ``forward`` answers the held-out batches whenever the validation loop has ended; the sanity check does
    not count, nor what a ``DistributedSampler`` appends. The state is part of each checkpoint, and
    ``Trainer.fit(ckpt_path=...)`` goes on with it. Samplers are told the epoch, also inside of Lightning's wrapper (2.5
    does not do that), and before a continued training draws its first batch. Logged: ``difficulty/mean``,
    ``difficulty/hardest`` (the largest), ``difficulty/tau`` and ``difficulty/bias``.

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
        # A loader with workers has drawn its first batches already: with epoch 0, though this may be a later one.
        if self._tell_epoch(trainer) and trainer.current_epoch and not trainer.fit_loop.restarted_mid_epoch:
            iter(trainer.fit_loop._data_fetcher)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell_epoch(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        training = trainer.state.fn == "fit" and not trainer.sanity_checking
        if training and self.held_out is None and self.difficulty.source != "train":
            self._measure(trainer, pl_module, _listed(trainer.val_dataloaders)[0])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.difficulty.source == "train":
            self.difficulty.step()
            self._log(pl_module)
        elif self.held_out is not None:
            self._measure(trainer, pl_module, self.held_out)
        elif not trainer.enable_validation:  # nobody would notice that all weights stay 1
            raise LongtailError("there is no validation loop: give DifficultyCallback the held-out loader")

    def state_dict(self) -> dict[str, Any]:
        return self.difficulty.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.difficulty.load_state_dict(state_dict)

    def _measure(self, trainer: Trainer, module: LightningModule, loader: Any) -> None:
        with trainer.precision_plugin.val_step_context():
            self.difficulty.measure(trainer.strategy.model or module, loader, predict=self.predict)
        self._log(module)

    def _log(self, module: LightningModule) -> None:
        state, values = self.difficulty, self.difficulty.difficulty
        found = {"mean": values.nanmean(), "hardest": values.nan_to_num(0).max(), "tau": state.tau, "bias": state.bias}
        module.log_dict({f"difficulty/{name}": value.clone() for name, value in found.items()}, sync_dist=True)

    def _tell_epoch(self, trainer: Trainer) -> bool:
        """Set the epoch on all samplers, however deep; whether there is one that takes it."""
        told = [sampler for loader in _listed(trainer.train_dataloader) for sampler in _samplers(loader)]
        for sampler in told:
            sampler.set_epoch(trainer.current_epoch)
        return bool(told)


def _listed(loaders: Any) -> list[Any]:
    loaders = loaders.values() if isinstance(loaders, dict) else loaders
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def _samplers(loader: Any) -> Iterator[Any]:
    """Whatever takes an epoch: the loader's sampler, and the one in Lightning's wrapper of it."""
    for holder in (loader, getattr(loader, "batch_sampler", None)):
        sampler = getattr(holder, "sampler", None)
        for each in (sampler, getattr(getattr(sampler, "dataset", None), "_sampler", None)):
            if hasattr(each, "set_epoch"):
                yield each
