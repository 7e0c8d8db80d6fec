"""The laws of `check_task` for the tasks of the library, and a task of one's own through the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from detection.pictures import write_pictures
from longtail.cli import main
from longtail.config import RunConfig
from longtail.data.catalogue import find_entry
from longtail.errors import LongtailError
from longtail.tasks import Task, check, check_task, task_class
from tasks import profiles
from tasks.test_embeddings import rows

OWN = "tasks.profiles:Profiles"
SOURCE = Path(profiles.__file__)
PICTURES: list[str] = []
ROWS: list[str] = []
DETECTOR = {"image_size": 32, "val_fraction": 0.25}


def settings(kind: str) -> RunConfig:
    """A run of each task on the smallest data."""
    if kind in ("detect", "segment"):
        model = "fasterrcnn_resnet10_fpn" if kind == "detect" else "maskrcnn_resnet10_fpn"
        return RunConfig(task=kind, data=f"coco:{PICTURES[0]}", model=model, **DETECTOR)
    if kind == "video":
        return RunConfig(task=kind, data="moving-digits", model="small3d", image_size=14, imbalance=20.0)
    if kind == "vectors":
        return RunConfig(task=kind, data=f"features:{ROWS[0]}", model="linear")
    return RunConfig(task=kind, data="digits", model="lenet5", image_size=28)


@pytest.fixture(scope="module", autouse=True)
def pictures(tmp_path_factory: pytest.TempPathFactory) -> None:
    PICTURES[:] = [str(write_pictures(tmp_path_factory.mktemp("coco")))]
    ROWS[:] = [str(rows(tmp_path_factory.mktemp("rows") / "rows.npz"))]


def of(kind: str) -> tuple[type[Task], RunConfig]:
    config = settings(kind)
    cls = task_class(kind)
    return cls, cls.settle(config, find_entry(config.data))[0]


def judge_here(rank: int, config: RunConfig) -> Any:
    return check.judge(task_class(config.task), config, rank=rank, world=2)


@pytest.mark.parametrize("kind", ["classify", "video", "vectors", "detect", "segment"])
@pytest.mark.parametrize("law", check.LAWS, ids=lambda law: law.__name__)
def test_every_task_obeys(law: Any, kind: str, run_two: Any) -> None:
    cls, config = of(kind)
    if law is not check.two_processes_judge_as_one:
        law(cls, config)
        return
    alone = check.judge(cls, config)  # the processes of all tests take less time to start than some of its own
    assert all(check.same(found, alone) for found in run_two(judge_here, config))


def test_a_task_of_ones_own_passes_in_at_most_80_lines() -> None:
    assert len(SOURCE.read_text().splitlines()) <= 80
    check_task(settings(OWN))


def test_a_task_of_ones_own_trains_and_is_judged_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"digits --task {OWN} --method cdb-w --epochs 8 --lr 0.2 --device cpu --out {tmp_path / 'run'}"
    assert main(["train", *words.split()]) == 0
    before = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert main(["evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "again.json"), "--device", "cpu"]) == 0
    again = json.loads((tmp_path / "again.json").read_text())["test"]
    assert check.same(again, before) and again["top1"] > 0.5
    with open(tmp_path / "run" / "per_class.csv", newline="") as file:
        assert {row["name"] for row in csv.DictReader(file)} == set("0123456789")
    assert main(["report", str(tmp_path / "run")]) == 0
    assert main(["predict", str(tmp_path / "run"), "x.png"]) == 2
    assert "its task labels no files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            "detection",
            "--task: 'detection' is unknown: choose one of classify, detect, segment, vectors, video, or MODULE:CLASS",
        ),
        ("no_such_module:Task", "no_such_module cannot be imported"),
        ("tasks.profiles:Nothing", "Nothing of tasks.profiles is no class that derives from longtail.tasks.Task"),
        ("tasks.profiles:nn", "nn of tasks.profiles is no class that derives from longtail.tasks.Task"),
    ],
)
def test_a_task_that_is_none_is_one_clear_line(task: str, message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        task_class(RunConfig(task=task).task)


def test_an_option_of_the_data_that_the_task_does_not_understand_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "digits", "--task", OWN, "--augment", "none", "--out", str(tmp_path / "run")]) == 2
    assert f"--augment means nothing to --task {OWN}" in capsys.readouterr().err
    assert main(["train", "shapes-lt", "--task", OWN, "--out", str(tmp_path / "run")]) == 2
    assert "shapes-lt is for --task detect" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# -- each law can fail -------------------------------------------------------------------------------------------------
class _Global(profiles.Profiles):
    """Its noise is that of the global generator."""

    def train_batches(self, batches: Any, *, epoch: int, start: int = 0) -> Any:
        for inputs, target in super().train_batches(batches, epoch=epoch, start=start):
            yield inputs + torch.rand(()), target


class _Late(profiles.Profiles):
    """An epoch that is continued begins anew."""

    def train_batches(self, batches: Any, *, epoch: int, start: int = 0) -> Any:
        return super().train_batches(list(batches)[: len(list(batches)) - start], epoch=epoch)


class _Blocks(profiles.Profiles):
    """Its shares are blocks."""

    def train_batches(self, batches: Any, *, epoch: int, start: int = 0) -> Any:
        rank, world, self.rank, self.world = self.rank, self.world, 0, 1
        for inputs, target in super().train_batches(batches, epoch=epoch, start=start):
            yield inputs.tensor_split(world)[rank], target.tensor_split(world)[rank]


class _Greedy(profiles.Profiles):
    """It says that it understands what is no option."""

    options = profiles.Profiles.options | {"momentum"}


class _Other(profiles.Profiles):
    """It restores another network than it builds."""

    @classmethod
    def restore(cls, info: Any, config: Any, method: Any) -> torch.nn.Module:
        return torch.nn.Sequential(
            *super().restore(info, config, method), torch.nn.Softsign(), torch.nn.Hardtanh(-0.1, 0.1)
        )


class _Loose(profiles.Profiles):
    """Judging leaves the model in ``eval()``."""

    def evaluate(self, model: torch.nn.Module, split: str, **options: Any) -> Any:
        return super().evaluate(model.eval(), split, **options)


class _Constant(profiles.Profiles):
    """Its loss does not depend on the model."""

    def loss(self, model: torch.nn.Module, criterion: Any, batch: Any) -> dict[str, torch.Tensor]:
        found = super().loss(model, criterion, batch)
        return found | {"loss": 0 * found["loss"] + 1}


class _Miscounted(profiles.Profiles):
    """Its statistics are those of another split."""

    def stats(self, **training: Any) -> Any:
        from longtail.methods import ClassStats

        return ClassStats(class_counts=self.data.test.class_counts(10), **training)


@pytest.mark.parametrize(
    ("cls", "law"),
    [
        (_Global, check.a_batch_is_a_function_of_seed_epoch_and_position),
        (_Late, check.a_batch_is_a_function_of_seed_epoch_and_position),
        (_Blocks, check.shards_make_the_whole),
        (_Greedy, check.it_says_what_it_understands),
        (_Other, check.a_restored_model_equals_the_built_one),
        (_Loose, check.a_judgement_is_whole),
        (_Constant, check.its_loss_trains),
        (_Miscounted, check.it_knows_its_classes),
    ],
)
def test_a_planted_fault_is_found(cls: type[Task], law: Any) -> None:
    with pytest.raises(AssertionError):
        law(cls, settings("classify"))
