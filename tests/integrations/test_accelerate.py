"""Accelerate trains as the plain loop does, on one process and on two, also over a stop."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from integrations import problem

accelerate = pytest.importorskip("accelerate")
METHODS = ("cdb-w", "cdb-s")
pytestmark = pytest.mark.filterwarnings("ignore")


def train(method: str, *, split: bool = False, folder: Path | None = None, goes_on: bool = False) -> dict[str, Any]:
    """The loop of ``examples/accelerate``; with a folder it stops after two epochs, or goes on from there."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    config = accelerate.utils.DataLoaderConfiguration(split_batches=split)
    accelerator = accelerate.Accelerator(cpu=True, dataloader_config=config)
    difficulty, criterion, sampler = problem.parts(method)
    model = problem.network()
    optimizer = torch.optim.SGD(model.parameters(), problem.LR)
    loaders = DataLoader(problem.TRAIN, problem.BATCH, sampler=sampler), DataLoader(problem.HELD_OUT, 10)
    accelerator.register_for_checkpointing(difficulty)
    model, optimizer, loader, held_out = accelerator.prepare(model, optimizer, *loaders)
    first, drawn = 0, []
    if goes_on:
        accelerator.load_state(str(folder))
        first = 2
        loader.set_epoch(first)  # else Accelerate draws for epoch 0
    for _ in range(first, problem.EPOCHS if folder is None or goes_on else 2):
        for x, y in loader:
            drawn.append(y)
            optimizer.zero_grad()
            accelerator.backward(criterion(model(x), y))
            optimizer.step()
        difficulty.measure(model, held_out)
    if folder is not None and not goes_on:
        accelerator.save_state(str(folder))
    accelerator.wait_for_everyone()
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    return {
        "weights": [p.detach().clone() for p in model.parameters()],
        "difficulty": [difficulty.weight.clone(), difficulty.performance.clone()],
        "drawn": torch.stack(drawn),
    }


def in_two(rank: int, method: str, split: bool, folder: str = "", goes_on: bool = False) -> tuple[Any, list[str]]:
    with problem.launched(rank), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = train(method, split=split, folder=Path(folder) if folder else None, goes_on=goes_on)
    return found, [str(one.message) for one in seen if "whole epoch" in str(one.message)]


def runs(world: int, run_two: Any, method: str, *words: Any, split: bool = False) -> list[dict[str, Any]]:
    if world == 1:
        folder, goes_on = (Path(words[0]), words[1]) if words else (None, False)
        return [train(method, folder=folder, goes_on=goes_on)]
    pair = run_two(in_two, method, split, *words)
    assert [told for _, told in pair] == [[], []]  # Accelerate shares out what the sampler draws: it does not warn
    return [found for found, _ in pair]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.shows("one process", "weights of the plain loop (1e-5)")
@pytest.mark.shows("classes drawn", "those of the plain loop")
def test_one_process_trains_as_the_plain_loop(method: str) -> None:
    model, difficulty, shares = problem.plain(method=method)
    ours = train(method)
    torch.testing.assert_close(ours["weights"], [p.detach() for p in model.parameters()], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours["difficulty"][0], difficulty.weight)
    assert torch.equal(problem.shares(ours["drawn"].flatten()), shares)


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.shows("two processes", "weights of one process with both batches together (1e-5)")
def test_two_processes_train_as_the_plain_loop_with_their_batches_together(
    method: str, split: bool, run_two: Any
) -> None:
    """What fills up the held-out split of 21 is not counted: the difficulty is that of one process."""
    model, difficulty, shares = problem.plain(method=method, batch=problem.BATCH * (1 if split else 2))
    pair = runs(2, run_two, method, split=split)
    for ours in pair:
        torch.testing.assert_close(ours["weights"], [p.detach() for p in model.parameters()], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours["difficulty"][0], difficulty.weight, rtol=1e-5, atol=0)
    problem.assert_identical(pair[0]["weights"], pair[1]["weights"])
    assert torch.equal(problem.shares(torch.cat([ours["drawn"].flatten() for ours in pair])), shares)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.shows("stopped and resumed", "bit for bit, on two processes too")
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    method: str, world: int, run_two: Any, tmp_path: Path
) -> None:
    whole = runs(world, run_two, method)
    runs(world, run_two, method, str(tmp_path), False)
    for ours, theirs in zip(runs(world, run_two, method, str(tmp_path), True), whole, strict=True):
        problem.assert_identical(ours["weights"], theirs["weights"])
        problem.assert_identical(ours["difficulty"], theirs["difficulty"])
        assert torch.equal(ours["drawn"], theirs["drawn"][len(theirs["drawn"]) * 2 // 3 :])
