"""timm's loader draws by a sampler, and everything else of it stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from longtail import (
    ClassAwareSampler,
    ClassDifficulty,
    ClassWeightedLoss,
    ClassWeightedSampler,
    LongtailError,
    labels_of,
)

timm = pytest.importorskip("timm")

from timm.data import FastCollateMixup, create_dataset, create_loader  # noqa: E402
from timm.data.distributed_sampler import OrderedDistributedSampler  # noqa: E402
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy  # noqa: E402
from timm.optim import create_optimizer_v2  # noqa: E402

from integrations import problem  # noqa: E402
from longtail.integrations.timm import with_sampler  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for name, count in (("ant", 24), ("bee", 6), ("cow", 2)):
        (folder / name).mkdir()
        for i in range(count):
            Image.fromarray(generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def loader(photos: Path, **words: Any) -> Any:
    options: dict[str, Any] = {"num_workers": 0, "device": torch.device("cpu"), "is_training": True}
    return create_loader(create_dataset("", root=str(photos)), (3, 16, 16), 8, **options | words)


@pytest.mark.parametrize("use_prefetcher", [True, False])
def test_classes_are_drawn_by_the_sampler_and_the_rest_stays(use_prefetcher: bool, photos: Path) -> None:
    stock = loader(photos, use_prefetcher=use_prefetcher)
    labels = labels_of(stock.dataset)
    assert labels.tolist() == [0] * 24 + [1] * 6 + [2] * 2
    sampler = ClassAwareSampler(labels, num_samples=24)
    ours = with_sampler(stock, sampler)
    assert type(ours) is type(stock) and len(ours) == 3 and ours.sampler is sampler
    for epoch in range(2):
        ours.sampler.set_epoch(epoch)
        batches = list(ours)
        assert torch.equal(torch.cat([y for _, y in batches]), labels[sampler.indices()])
        assert batches[0][0].shape == (8, 3, 16, 16) and batches[0][0].dtype == torch.float32


def test_mixup_of_the_loader_gives_soft_targets_that_the_loss_takes(photos: Path) -> None:
    mixup = FastCollateMixup(mixup_alpha=0.8, num_classes=3)
    stock = loader(photos, collate_fn=mixup)
    ours = with_sampler(stock, ClassAwareSampler(labels_of(stock.dataset)))
    x, y = next(iter(ours))
    assert y.shape == (8, 3) and ours.mixup_enabled
    logits = x.flatten(1)[:, :3]
    torch.testing.assert_close(ClassWeightedLoss(ClassDifficulty(3))(logits, y), SoftTargetCrossEntropy()(logits, y))
    hard = torch.arange(8) % 3
    smooth = ClassWeightedLoss(ClassDifficulty(3), label_smoothing=0.1)
    torch.testing.assert_close(smooth(logits, hard), LabelSmoothingCrossEntropy(0.1)(logits, hard))


def test_loaders_that_draw_otherwise_are_refused(photos: Path) -> None:
    sampler = ClassAwareSampler([0, 1, 2])
    for words, message in (
        ({"use_multi_epochs_loader": True}, "draws samples before the weights are known: leave it out"),
        ({"input_size_choices": [16, 24]}, "plans its batches by itself"),
        ({"is_training": False}, "a sampler of its own already, SequentialSampler"),
    ):
        with pytest.raises(LongtailError, match=message):
            with_sampler(loader(photos, **words), sampler)


def train(rank: int, world: int, *, checkpoint: str = "", goes_on: bool = False) -> tuple[list[Any], Any, Any]:
    """timm's own loop is a plain loop: what is tested is its optimiser and samplers with our parts.

    Weights, difficulty and what was drawn; with a checkpoint it stops after two epochs, or goes on from there.
    """
    model, (difficulty, criterion, sampler) = problem.network(), problem.parts()
    optimizer = create_optimizer_v2(model, "momentum", lr=problem.LR, weight_decay=0.0, momentum=0.0)
    forward = DistributedDataParallel(model) if world > 1 else model
    if world > 1:
        sampler = ClassWeightedSampler(problem.LABELS, difficulty, num_replicas=world, rank=rank)
    loader = with_sampler(DataLoader(problem.TRAIN, problem.BATCH // world, shuffle=True), sampler)
    filling = OrderedDistributedSampler(problem.HELD_OUT, world, rank)
    held_out = DataLoader(problem.HELD_OUT, 10, sampler=filling)
    kept = {"model": model, "difficulty": difficulty, "optimizer": optimizer}
    if goes_on:
        for name, state in torch.load(checkpoint).items():
            kept[name].load_state_dict(state)
    drawn = []
    for epoch in range(2 if goes_on else 0, 2 if checkpoint and not goes_on else problem.EPOCHS):
        loader.sampler.set_epoch(epoch)
        for x, y in loader:
            drawn.append(y)
            optimizer.zero_grad()
            criterion(forward(x), y).backward()
            optimizer.step()
        difficulty.measure(forward, held_out)
    if checkpoint and not rank and not goes_on:
        torch.save({name: part.state_dict() for name, part in kept.items()}, checkpoint)
    if world > 1:
        torch.distributed.barrier()
    return [p.detach() for p in model.parameters()], difficulty.weight, torch.cat(drawn)


def in_two(rank: int, **words: Any) -> Any:
    return train(rank, 2, **words)


def in_two_stopped(rank: int, checkpoint: str) -> Any:
    train(rank, 2, checkpoint=checkpoint)
    return train(rank, 2, checkpoint=checkpoint, goes_on=True)


def assert_plain(weights: list[Tensor], weight: Tensor, drawn: Tensor) -> None:
    model, difficulty, shares = problem.plain()
    torch.testing.assert_close(weights, [p.detach() for p in model.parameters()], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weight, difficulty.weight)
    assert torch.equal(problem.shares(drawn), shares)


@pytest.mark.shows("one process", "weights of the plain loop (1e-5)")
@pytest.mark.shows("classes drawn", "those of the plain loop")
def test_one_process_trains_as_the_plain_loop() -> None:
    assert_plain(*train(0, 1))


@pytest.mark.shows("two processes", "weights of one process (1e-5)")
def test_two_processes_train_as_one_does(run_two: Any) -> None:
    """`OrderedDistributedSampler` fills up the held-out split of 21: that is not counted."""
    first, second = run_two(in_two)
    problem.assert_identical(first[:2], second[:2])
    assert_plain(first[0], first[1], torch.cat([first[2], second[2]]))


@pytest.mark.shows("stopped and resumed", "bit for bit, on two processes too")
def test_a_training_that_was_stopped_ends_as_one_that_was_not(run_two: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "one.pt")
    train(0, 1, checkpoint=path)
    problem.assert_identical(train(0, 1, checkpoint=path, goes_on=True)[:2], train(0, 1)[:2])
    whole, resumed = run_two(in_two), run_two(in_two_stopped, str(tmp_path / "two.pt"))
    for ours, theirs in zip(resumed, whole, strict=True):
        problem.assert_identical(ours[:2], theirs[:2])
