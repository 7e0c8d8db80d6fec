"""A loop of one's own in `DistributedDataParallel` trains as it does on one process, also over a stop."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from integrations import problem
from longtail import ClassWeightedSampler

METHODS = ("cdb-w", "cdb-s")


def train(
    method: str, *, rank: int = 0, world: int = 1, checkpoint: Path | None = None, momentum: float = 0.9
) -> dict[str, Any]:
    """The loop of ``examples/plain``; with a checkpoint it stops after two epochs, or goes on from there."""
    model: Any = problem.network()
    difficulty, criterion, sampler = problem.parts(method)
    if world > 1:
        model = DistributedDataParallel(model)
        if method == "cdb-w":
            sampler = DistributedSampler(problem.TRAIN)
        else:
            sampler = ClassWeightedSampler(problem.LABELS, difficulty, num_replicas=world, rank=rank)
    loader = DataLoader(problem.TRAIN, problem.BATCH // world, sampler=sampler)
    held_out_sampler = DistributedSampler(problem.HELD_OUT) if world > 1 else None
    held_out = DataLoader(problem.HELD_OUT, 10, sampler=held_out_sampler)
    optimizer = torch.optim.SGD(model.parameters(), problem.LR, momentum=momentum)
    kept = {"model": model, "difficulty": difficulty, "optimizer": optimizer}
    first, last, drawn = 0, problem.EPOCHS, []
    if checkpoint is not None and checkpoint.exists():
        first, states = torch.load(checkpoint)
        for name, part in kept.items():
            part.load_state_dict(states[name])
    elif checkpoint is not None:
        last = 2
    for epoch in range(first, last):
        sampler.set_epoch(epoch)
        for x, y in loader:
            drawn.append(y)
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        difficulty.measure(model, held_out)
    if checkpoint is not None and rank == 0 and not first:
        torch.save((last, {name: part.state_dict() for name, part in kept.items()}), checkpoint)
    if world > 1:
        torch.distributed.barrier()
    return {
        "weights": [p.detach().clone() for p in model.parameters()],
        "difficulty": [difficulty.weight.clone(), difficulty.performance.clone()],
        "drawn": torch.stack(drawn),
    }


def in_two(rank: int, method: str, checkpoint: str | None = None) -> dict[str, Any]:
    return train(method, rank=rank, world=2, checkpoint=None if checkpoint is None else Path(checkpoint))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.shows("one process", "the plain loop itself")
def test_it_is_the_loop_that_the_trainers_are_held_against(method: str) -> None:
    model, difficulty, shares = problem.plain(method=method)
    ours = train(method, momentum=0.0)
    problem.assert_identical(ours["weights"], list(model.parameters()))
    problem.assert_identical(ours["difficulty"][0], difficulty.weight)
    assert torch.equal(problem.shares(ours["drawn"].flatten()), shares)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.shows("two processes", "weights of one process (1e-5)")
@pytest.mark.shows("classes drawn", "those of one process")
def test_two_processes_train_as_one_does(method: str, run_two: Any) -> None:
    """Each batch of one process is shared out; what fills up the held-out split of 21 is not counted."""
    alone, pair = train(method), run_two(in_two, method)
    for ours in pair:
        torch.testing.assert_close(ours["weights"], alone["weights"], rtol=1e-5, atol=1e-5)
        problem.assert_identical(ours["difficulty"], alone["difficulty"])
    problem.assert_identical(pair[0]["weights"], pair[1]["weights"])
    together = torch.cat([ours["drawn"] for ours in pair], dim=1)
    assert torch.equal(together.sort(dim=1)[0], alone["drawn"].sort(dim=1)[0])  # batch by batch


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.shows("stopped and resumed", "bit for bit, on two processes too")
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    method: str, world: int, run_two: Any, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pt"

    def run(checkpoint: Path | None) -> list[dict[str, Any]]:
        if world == 1:
            return [train(method, checkpoint=checkpoint)]
        return run_two(in_two, method, checkpoint and str(checkpoint))

    whole = run(None)
    run(path)
    for ours, theirs in zip(run(path), whole, strict=True):
        problem.assert_identical(ours["weights"], theirs["weights"])
        problem.assert_identical(ours["difficulty"], theirs["difficulty"])
        assert torch.equal(ours["drawn"], theirs["drawn"][len(theirs["drawn"]) * 2 // 3 :])


def warned(rank: int, replicas: int) -> list[str]:
    words = {"num_replicas": 2, "rank": rank} if replicas == 2 else {}
    difficulty, *_ = problem.parts()
    sampler = ClassWeightedSampler(problem.LABELS, difficulty, **words)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        drawn = sum(len(y) for _, y in DataLoader(problem.TRAIN, 8, sampler=sampler))
    assert drawn == len(problem.LABELS) // replicas
    return [str(one.message) for one in seen]


def test_a_sampler_that_nobody_shares_out_warns(run_two: Any) -> None:
    for told in run_two(warned, 1):
        assert "each of 2 processes draws the whole epoch" in "".join(told)
    assert run_two(warned, 2) == [[], []]
