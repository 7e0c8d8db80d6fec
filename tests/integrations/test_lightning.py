"""Lightning trains as the plain loop does, over stops, with workers, on two processes."""

from __future__ import annotations

import multiprocessing
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from integrations import problem
from longtail import ClassDifficulty, LongtailError

pl = pytest.importorskip("lightning.pytorch")

from longtail.integrations.lightning import DifficultyCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on workers, loggers and devices


class Module(pl.LightningModule):
    """What a user of Lightning has."""

    def __init__(self, criterion: Any) -> None:
        super().__init__()
        self.network, self.criterion = problem.network(), criterion
        self.drawn: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        self.drawn.append(y)
        return self.criterion(self(x), y)

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        x, y = batch
        self.log("val_loss", torch.nn.functional.cross_entropy(self(x), y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), problem.LR)


def fit(folder: Path, *, epochs: int = problem.EPOCHS, workers: int = 0, ckpt: str | None = None, **words: Any) -> Any:
    """Train; the trainer, the module and the callback."""
    difficulty, criterion, sampler = problem.parts()
    callback = DifficultyCallback(difficulty, **words.pop("callback", {}))
    options: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "logger": False, "max_epochs": epochs}
    options |= {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": folder}
    trainer = pl.Trainer(**options | words, callbacks=[callback])
    module = Module(criterion)
    train = DataLoader(problem.TRAIN, problem.BATCH, sampler=sampler, num_workers=workers)
    held_out = DataLoader(problem.HELD_OUT, 10)
    has_val = words.get("limit_val_batches") != 0
    trainer.fit(module, train, held_out if has_val else None, ckpt_path=ckpt)
    return trainer, module, callback


@pytest.mark.shows("one process", "weights of the plain loop (1e-5)")
@pytest.mark.shows("classes drawn", "those of the plain loop")
def test_the_weights_are_those_of_the_plain_loop(tmp_path: Path) -> None:
    """Though the sanity check has fed the untrained network's answers to the validation loop."""
    expected = problem.plain()
    trainer, module, callback = fit(tmp_path, num_sanity_val_steps=2)
    problem.assert_same(module.network, callback.difficulty, expected)
    assert torch.equal(problem.shares(torch.cat(module.drawn)), expected[2])
    logged = trainer.callback_metrics
    assert logged["difficulty/hardest"] == pytest.approx(float(callback.difficulty.difficulty.max()))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.shows("stopped and resumed", "bit for bit, on two processes too")
def test_a_training_that_was_stopped_ends_as_one_that_was_not(workers: int, tmp_path: Path) -> None:
    """Workers draw the first batches before Lightning tells the epoch."""
    _, whole, its = fit(tmp_path / "whole")
    trainer, *_ = fit(tmp_path, epochs=2, workers=workers)
    checkpoint = trainer.checkpoint_callback.best_model_path
    _, module, callback = fit(tmp_path, workers=workers, ckpt=checkpoint)
    problem.assert_identical(list(module.network.parameters()), list(whole.network.parameters()))
    problem.assert_identical(callback.difficulty.weight, its.difficulty.weight)


def test_without_a_validation_loop_the_held_out_loader_is_measured_after_the_epoch(tmp_path: Path) -> None:
    held_out = DataLoader(problem.HELD_OUT, 10)
    _, module, callback = fit(tmp_path, limit_val_batches=0, callback={"held_out": held_out})
    problem.assert_same(module.network, callback.difficulty, problem.plain())
    with pytest.raises(LongtailError, match="no validation loop: give DifficultyCallback the held-out loader"):
        fit(tmp_path, limit_val_batches=0)


class Observing(Module):
    """Its loss counts what the network answered before the step."""

    def __init__(self, difficulty: ClassDifficulty) -> None:
        super().__init__(torch.nn.CrossEntropyLoss())
        self.difficulty = difficulty

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        logits = self(batch[0])
        self.difficulty.update(logits.detach(), batch[1])
        return self.criterion(logits, batch[1])


def test_a_difficulty_of_the_training_batches_is_stepped_only(tmp_path: Path) -> None:
    difficulty = ClassDifficulty(3, source="train")
    options: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "logger": False, "max_epochs": 2}
    options |= {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": tmp_path}
    trainer = pl.Trainer(**options, callbacks=[DifficultyCallback(difficulty)])
    trainer.fit(Observing(difficulty), DataLoader(problem.TRAIN, 16))
    assert difficulty.steps == 2


def two(rank: int, folder: str, workers: int, stop: bool) -> tuple[list[Tensor], Tensor, Tensor]:
    from lightning.pytorch.plugins.environments import TorchElasticEnvironment

    warnings.simplefilter("ignore")
    multiprocessing.current_process()._config["daemon"] = False  # the loader's workers are children
    words = {"strategy": "ddp", "devices": 2, "workers": workers}
    with problem.launched(rank):
        checkpoint = None
        if stop:
            trainer, *_ = fit(Path(folder), epochs=2, plugins=[TorchElasticEnvironment()], **words)
            checkpoint = trainer.checkpoint_callback.best_model_path
            torch.distributed.barrier()
        _, module, callback = fit(Path(folder), ckpt=checkpoint, plugins=[TorchElasticEnvironment()], **words)
    torch.distributed.barrier()
    assert callback.difficulty.steps == problem.EPOCHS
    return [p.detach() for p in module.network.parameters()], callback.difficulty.weight, torch.cat(module.drawn)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.shows("two processes", "weights of one process with both batches together (1e-5)")
def test_two_processes_train_as_one_with_their_batches_together(workers: int, run_two: Any, tmp_path: Path) -> None:
    """Lightning's wrapper would shuffle once more what the sampler has drawn."""
    model, difficulty, shares = problem.plain(batch=2 * problem.BATCH)
    whole = run_two(two, str(tmp_path), workers, False)
    for weights, weight, _ in whole:
        torch.testing.assert_close(weights, [p.detach() for p in model.parameters()], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(weight, difficulty.weight)
    if not workers:
        for ours, theirs in zip(run_two(two, str(tmp_path), 0, True), whole, strict=True):
            problem.assert_identical(ours[:2], theirs[:2])
    assert torch.equal(problem.shares(torch.cat([drawn for *_, drawn in whole])), shares)
