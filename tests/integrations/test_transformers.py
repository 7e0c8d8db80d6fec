"""Hugging Face's Trainer trains as the plain loop does, over stops, in micro-batches, on two processes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from integrations import problem
from longtail import ClassDifficulty, ClassWeightedLoss, LongtailError

transformers = pytest.importorskip("transformers")

from longtail.integrations.transformers import DifficultyTrainer, trainer_loss  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Rows(Dataset):
    """Samples as dictionaries."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        x, y = self.data[row]
        return {"pixels": x, "labels": y}


class Config(transformers.PretrainedConfig):
    model_type = "of-the-tests"


class Model(transformers.PreTrainedModel):
    config_class = Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.network = problem.network()
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        pass

    def forward(self, pixels: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.network(pixels)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return transformers.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)


class Recording(nn.Module):
    """A loss that keeps the labels of what was drawn."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion
        self.drawn: list[Tensor] = []

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.drawn.append(labels)
        return self.criterion(logits, labels)


def trainer(folder: Path, *, batch: int = problem.BATCH, **words: Any) -> DifficultyTrainer:
    own = {"difficulty", "criterion", "sampler", "held_out", "eval_dataset"}
    difficulty, criterion, sampler = problem.parts()
    args: dict[str, Any] = {
        "num_train_epochs": problem.EPOCHS, "per_device_train_batch_size": batch, "learning_rate": problem.LR,
        "optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "save_strategy": "epoch",
        "report_to": [], "use_cpu": True, "disable_tqdm": True, "logging_strategy": "no",
    }  # fmt: skip
    args |= {name: value for name, value in words.items() if name not in own}
    parts = {
        "difficulty": difficulty,
        "criterion": criterion,
        "sampler": sampler,
        "eval_dataset": Rows(problem.HELD_OUT),
    }
    parts |= {name: value for name, value in words.items() if name in own}
    arguments = transformers.TrainingArguments(str(folder), **args)
    return DifficultyTrainer(Model(Config()), arguments, train_dataset=Rows(problem.TRAIN), **parts)


def assert_plain(ours: DifficultyTrainer, **words: Any) -> None:
    assert ours.difficulty is not None
    problem.assert_same(ours.model.network, ours.difficulty, problem.plain(**words))


@pytest.mark.shows("classes drawn", "those of the plain loop")
def test_classes_are_drawn_as_in_the_plain_loop(tmp_path: Path) -> None:
    difficulty, criterion, sampler = problem.parts("both")
    recording = Recording(criterion)
    trainer(tmp_path, difficulty=difficulty, criterion=recording, sampler=sampler).train()
    assert torch.equal(problem.shares(torch.cat(recording.drawn)), problem.plain()[2])


@pytest.mark.shows("one process", "weights of the plain loop (1e-5)")
def test_the_weights_are_those_of_the_plain_loop_and_the_published_file_is_clean(tmp_path: Path) -> None:
    ours = trainer(tmp_path)
    ours.train()
    assert_plain(ours)
    before = ours.difficulty.weight.clone()
    ours.evaluate()
    ours.predict(Rows(problem.TRAIN))
    assert torch.equal(before, ours.difficulty.weight) and ours.difficulty.steps == problem.EPOCHS
    names = {f"network.{name}" for name in ("weight", "bias")}
    assert set(load_file(tmp_path / "checkpoint-18" / "model.safetensors")) == names
    ours.save_model(str(tmp_path / "published"))
    assert set(load_file(tmp_path / "published" / "model.safetensors")) == names
    assert not (tmp_path / "published" / "difficulty.pt").exists()


def test_micro_batches_add_up_to_the_batch(tmp_path: Path) -> None:
    """The mean of four micro-batches, weighted by class, is the mean of the whole: also where the last are smaller."""
    ours = trainer(tmp_path, batch=4, gradient_accumulation_steps=4)
    ours.train()
    assert_plain(ours)


@pytest.mark.parametrize("saved", ["epoch", 6, 4])
@pytest.mark.shows("stopped and resumed", "bit for bit, on two processes too")
def test_a_training_that_was_stopped_ends_as_one_that_was_not(saved: Any, tmp_path: Path) -> None:
    """Also from a checkpoint between an epoch's last step and its end (6), and from one within an epoch (4)."""
    words = {} if saved == "epoch" else {"save_strategy": "steps", "save_steps": saved}
    whole = trainer(tmp_path, **words)
    whole.train()
    step = 6 if saved == "epoch" else saved * (2 if saved == 4 else 1)
    ours = trainer(tmp_path, **words)
    ours.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    problem.assert_identical(list(ours.model.parameters()), list(whole.model.parameters()))
    problem.assert_identical(ours.difficulty.weight, whole.difficulty.weight)


def test_a_checkpoint_without_the_difficulty_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, num_train_epochs=1).train()
    (tmp_path / "checkpoint-6" / "difficulty.pt").unlink()
    with pytest.raises(LongtailError, match=r"difficulty\.pt is missing: the difficulty would begin anew"):
        trainer(tmp_path).train(resume_from_checkpoint=True)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(LongtailError, match="needs held_out=, one data set"):
        trainer(tmp_path, eval_dataset=None)
    with pytest.raises(LongtailError, match="needs held_out=, one data set"):
        trainer(tmp_path, eval_dataset={"a": Rows(problem.HELD_OUT)})
    with pytest.raises(LongtailError, match="needs criterion="):
        trainer(tmp_path, difficulty=ClassDifficulty(3, source="train"), criterion=None)


def test_training_batches_are_measured_without_a_held_out_split(tmp_path: Path) -> None:
    difficulty = ClassDifficulty(3, source="train")
    loss = ClassWeightedLoss(difficulty)
    ours = trainer(tmp_path, difficulty=difficulty, criterion=loss, sampler=None, eval_dataset=None, num_train_epochs=2)
    ours.train()
    assert difficulty.steps == 2


@pytest.mark.parametrize("soft", [False, True])
def test_the_loss_is_a_share_of_the_whole(soft: bool) -> None:
    """Micro-batches of different sizes add up to the mean of all samples that count; soft targets are samples, too."""
    torch.manual_seed(1)
    criterion = ClassWeightedLoss(torch.tensor([0.5, 1.0, 2.0]))
    logits, labels = torch.randn(10, 3), torch.randint(3, (10,))
    labels[2] = -100
    if soft:
        labels = torch.randn(10, 3).softmax(1)
    counted = sum((part != -100).sum() for part in labels.split([7, 3]))  # as the Trainer counts
    loss = trainer_loss(criterion)
    pairs = zip(logits.split([7, 3]), labels.split([7, 3]), strict=True)
    parts = [loss({"logits": z}, y, num_items_in_batch=counted) for z, y in pairs]
    torch.testing.assert_close(sum(parts), criterion(logits, labels))
    torch.testing.assert_close(loss((logits,), labels), criterion(logits, labels))


def two(rank: int, folder: str, stop: bool) -> tuple[list[Tensor], Tensor]:
    from accelerate.state import AcceleratorState

    warnings.simplefilter("ignore")
    with problem.launched(rank):
        AcceleratorState._reset_state(reset_partial_state=True)
        ours = trainer(Path(folder), save_strategy="steps", save_steps=4, ddp_backend="gloo")
        assert ours.args.world_size == 2
        ours.train(resume_from_checkpoint=str(Path(folder) / "checkpoint-4") if stop else None)
        AcceleratorState._reset_state(reset_partial_state=True)
    assert ours.difficulty is not None and ours.difficulty.steps == problem.EPOCHS
    torch.distributed.barrier()
    return [p.detach() for p in ours.model.network.parameters()], ours.difficulty.weight


@pytest.mark.shows("two processes", "weights of one process with both batches together (1e-5)")
def test_two_processes_train_as_one_with_their_batches_together_also_over_a_stop(run_two: Any, tmp_path: Path) -> None:
    """Three steps an epoch: checkpoint-4 lies within the second one, where the Trainer reaches no sampler."""
    model, difficulty, _ = problem.plain(batch=2 * problem.BATCH)
    whole, resumed = (run_two(two, str(tmp_path), stop) for stop in (False, True))
    problem.assert_identical(whole, resumed)
    for pair in (whole, resumed):
        for weights, weight in pair:
            for ours, theirs in zip(weights, model.parameters(), strict=True):
                torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(weight, difficulty.weight)
