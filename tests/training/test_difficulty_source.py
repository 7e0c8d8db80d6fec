"""What a run measures its difficulty on: the held-out predictions by any measure, or the training batches."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from longtail.data import load_data
from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.tasks import image
from longtail.tasks.image import ImageTask
from longtail.training import run as training
from longtail.training.config import RunConfig
from longtail.training.files import load_tensors, read_csv, read_json

SMALL: dict[str, Any] = {
    "data": "digits", "model": "lenet5-classic", "image_size": 16, "imbalance": 10, "epochs": 3, "batch_size": 128,
    "lr": 0.05, "schedule": "cosine", "warmup_epochs": 0, "device": "cpu", "final": "last", "method": "cdb-w",
}  # fmt: skip


def train(folder: Path, *kwargs: str, **options: Any) -> list[dict[str, str]]:
    """The rows of difficulty.csv."""
    training.train(RunConfig(**SMALL | options, method_kwargs=kwargs), folder)
    return read_csv(folder / "difficulty.csv")


def test_training_batches_are_each_counted_once_before_their_step(tmp_path):
    rows = train(tmp_path / "run", "source=train", "momentum=0")
    counts = read_json(tmp_path / "run" / "data.json")["class_counts"]["train"]
    assert sum(counts) % 128 >= 2  # no sample is left out of the last batch
    for row in rows:
        right = float(row["performance"]) * counts[int(row["class"])]
        assert right == pytest.approx(round(right), abs=1e-3)


def test_a_batch_is_judged_by_the_model_before_its_step(tmp_path):
    large = {"epochs": 1, "batch_size": 100_000}  # one step
    bold, timid = (train(tmp_path / str(lr), "source=train", lr=lr, **large) for lr in (1.0, 1e-9))
    assert bold == timid


def test_a_held_out_split_changes_nothing_but_the_selection(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(image, "load_data", lambda *a, **k: dataclasses.replace(load_data(*a, **k), val=None))
        rows = train(tmp_path / "without", "source=train", "measure=soft")
        with pytest.raises(LongtailError, match="measures difficulty on a held-out split and"):
            train(tmp_path / "refused", "measure=soft")
    assert "val" not in read_json(tmp_path / "without" / "metrics.json")
    assert train(tmp_path / "with", "source=train", "measure=soft") == rows
    assert "val" in read_json(tmp_path / "with" / "metrics.json")
    one, other = (load_tensors(tmp_path / name / "model.safetensors") for name in ("without", "with"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_measure_is_that_of_the_held_out_predictions(tmp_path):
    loops = []

    class Watched(training._Loop):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            loops.append(self)

    original, training._Loop = training._Loop, Watched
    try:
        rows = train(tmp_path / "run", "measure=soft", "momentum=0")
    finally:
        training._Loop = original

    class Kept:
        logits: list[torch.Tensor] = []  # noqa: RUF012
        target: list[torch.Tensor] = []  # noqa: RUF012

        def update(self, logits: torch.Tensor, target: torch.Tensor) -> None:
            self.logits.append(logits.clone())
            self.target.append(target.clone())

    kept = Kept()
    loops[0].task.evaluate(loops[0].model, "val", batch_size=33, observe=kept)
    p, target = torch.cat(kept.logits).softmax(1), torch.cat(kept.target)
    expected = [float(p[target == c, c].mean()) for c in range(10)]
    found = [float(row["performance"]) for row in rows if row["epoch"] == "3"]
    assert found == pytest.approx(expected, abs=1e-5)


def observed_here(rank: int, world: int, measure: str) -> list[float]:
    task = ImageTask(
        load_data("digits"), model="lenet5", image_size=28, device=torch.device("cpu"), rank=rank, world=world
    )
    torch.manual_seed(7)
    difficulty = ClassDifficulty(10, measure=measure)
    task.evaluate(task.build_model(), "val", batch_size=13, observe=difficulty)
    return difficulty.step().tolist()


def observed_by_both(rank: int, measure: str) -> list[float]:
    return observed_here(rank, 2, measure)


@pytest.mark.parametrize("measure", ["recall", "soft", "ap"])
def test_two_processes_observe_every_held_out_sample_once(run_two, measure):
    assert run_two(observed_by_both, measure) == [observed_here(0, 1, measure)] * 2


def test_where_a_trained_model_is_given_its_difficulty_counts_from_the_first_epoch_on(tmp_path):
    train(tmp_path / "given", method="ce")
    given = {"weights": str(tmp_path / "given" / "model.safetensors"), "lr": 1e-9, "epochs": 1}
    for name in ("ce", "cdb-w"):
        train(tmp_path / name, f"method={name}", method="cls", **given)
    losses = [float(read_csv(tmp_path / name / "history.csv")[0]["train_loss"]) for name in ("ce", "cdb-w")]
    assert losses[0] != pytest.approx(losses[1], rel=0.01)
    train(tmp_path / "equal", "method=cdb-w:tau=0", method="cls", **given)
    assert float(read_csv(tmp_path / "equal" / "history.csv")[0]["train_loss"]) == pytest.approx(losses[0])
