"""One small problem, and the plain loop that every trainer is held against: the same weights from the same seed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from longtail import ClassDifficulty, ClassWeightedLoss, ClassWeightedSampler

COUNTS = [64, 24, 8]  # 96 samples: six batches of 16
LABELS = torch.arange(3).repeat_interleave(torch.tensor(COUNTS))
EPOCHS, BATCH, LR = 3, 16, 0.1


def data(labels: Tensor, seed: int) -> TensorDataset:
    noise = torch.randn(len(labels), 5, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(noise + 1.5 * F.one_hot(labels, 5), labels)


TRAIN, HELD_OUT = data(LABELS, 1), data(torch.arange(3).repeat(7), 2)  # 21: two processes need a filling


def network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(5, 3)


def parts(method: str = "both") -> tuple[ClassDifficulty, Any, Any]:
    """Difficulty, loss and sampler of ``cdb-w`` (weighs, shuffles), ``cdb-s`` (draws), or an unusual one of both."""
    difficulty = ClassDifficulty(3, tau=1.0)
    criterion = torch.nn.CrossEntropyLoss() if method == "cdb-s" else ClassWeightedLoss(difficulty)
    drawn = ClassWeightedSampler(LABELS, difficulty)
    shuffled: Any = DistributedSampler(TRAIN, num_replicas=1, rank=0)
    return difficulty, criterion, shuffled if method == "cdb-w" else drawn


def plain(epochs: int = EPOCHS, batch: int = BATCH, method: str = "both") -> tuple[nn.Linear, ClassDifficulty, Tensor]:
    """Model, difficulty and the share of each class among what was drawn, after some epochs."""
    model, (difficulty, criterion, sampler) = network(), parts(method)
    optimizer = torch.optim.SGD(model.parameters(), LR)
    drawn = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for x, y in DataLoader(TRAIN, batch, sampler=sampler):
            drawn.append(y)
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        difficulty.measure(model, DataLoader(HELD_OUT, 10))
    return model, difficulty, shares(torch.cat(drawn))


def shares(drawn: Tensor) -> Tensor:
    return torch.bincount(drawn, minlength=3) / len(drawn)


def assert_same(
    model: nn.Module, difficulty: ClassDifficulty, expected: tuple[nn.Linear, ClassDifficulty, Tensor]
) -> None:
    """Weights, bias and difficulty agree to the precision of float32."""
    for ours, theirs in zip(model.parameters(), expected[0].parameters(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-5, atol=1e-6)
    assert difficulty.steps == expected[1].steps
    torch.testing.assert_close(difficulty.weight.cpu(), expected[1].weight)


def assert_identical(ours: Any, theirs: Any) -> None:
    """Bit for bit: tensors, and lists of them."""
    if isinstance(ours, Tensor):
        assert torch.equal(ours, theirs)
    else:
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_identical(one, other)


@contextmanager
def launched(rank: int) -> Iterator[None]:
    """The environment that ``torchrun --nproc-per-node 2`` gives a process, whose group is there already."""
    words = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    words |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": 1,
        "TORCHELASTIC_RUN_ID": "tests",
        "ACCELERATE_USE_CPU": "true",
    }
    before = dict(os.environ)
    os.environ.update({name: str(value) for name, value in words.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
