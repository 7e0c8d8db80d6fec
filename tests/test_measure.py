"""`ClassDifficulty.measure` is the loop over held-out batches, done right; `reset` makes a new one of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from integrations.problem import launched
from longtail import ClassDifficulty, LongtailError
from longtail.held_out import own_samples

X, Y = torch.randn(23, 4, generator=torch.Generator().manual_seed(0)), torch.arange(23) % 3


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def by_hand(model: nn.Module) -> Tensor:
    """Accuracy of each class over all held-out samples."""
    model.eval()
    with torch.no_grad():
        right = (model(X).argmax(1) == Y).float()
    return torch.stack([right[c == Y].mean() for c in range(3)])


def test_measure_is_the_accuracy_in_eval_mode_and_leaves_the_model_as_it_was() -> None:
    model, difficulty = network().train(), ClassDifficulty(3, momentum=0)
    model[1].eval()  # frozen by its owner
    difficulty.update(torch.zeros(5, dtype=torch.int64), torch.zeros(5, dtype=torch.int64))  # left over
    weight = difficulty.measure(model, DataLoader(TensorDataset(X, Y), 5))
    assert [module.training for module in model] == [True, False, True, True] and model.training
    assert torch.is_grad_enabled() and all(p.grad is None for p in model.parameters())
    torch.testing.assert_close(difficulty.performance, by_hand(model))
    assert difficulty.steps == 1 and torch.equal(weight, difficulty.weight)


class Answer(nn.Module):
    """A model that takes keywords and answers with an object, as those of transformers do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *, pixels: Tensor) -> Any:
        return SimpleNamespace(logits=self.inner(pixels), loss=None)


def test_dictionaries_and_other_batches_are_read() -> None:
    model = network()
    expected = by_hand(model)
    named = [{"pixels": X, "labels": Y}]
    odd = [(X, torch.zeros(23), Y)]

    def third(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch[0]), batch[2]

    for asked, loader, predict in ((Answer(model), named, None), (model, odd, third)):
        difficulty = ClassDifficulty(3, momentum=0)
        difficulty.measure(asked, loader, predict=predict)
        torch.testing.assert_close(difficulty.performance, expected)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([(X, X, Y)], r"a batch of the loader is 3 values: give \(x, y\)"),
        ([X], "a batch of the loader is Tensor"),
        ([(X, Y), (X, Y + 5)], "label 7 is out of range"),
        ([], "no prediction since the last step"),
    ],
)
def test_what_cannot_be_measured_changes_nothing(loader: list[Any], message: str) -> None:
    model, difficulty = network().train(), ClassDifficulty(3)
    with pytest.raises(LongtailError, match=message):
        difficulty.measure(model, loader)
    assert model.training and difficulty.steps == 0 and not difficulty.get_extra_state().any()
    with pytest.raises(LongtailError, match="source='train' measures the training batches"):
        ClassDifficulty(3, source="train").measure(model, loader)


def test_reset_makes_it_new_and_its_holders_follow() -> None:
    difficulty, new = ClassDifficulty(3, tau="sigmoid"), ClassDifficulty(3, tau="sigmoid")
    held = difficulty.weight
    difficulty.step([0.1, 0.5, 0.9])
    difficulty.update(Y, Y)
    difficulty.reset()
    for name, value in new.state_dict().items():
        torch.testing.assert_close(difficulty.state_dict()[name], value, equal_nan=True)
    assert held is difficulty.weight and held.tolist() == [1, 1, 1]


def in_two(rank: int, how: str) -> tuple[Tensor, Tensor]:
    """Performance and number of samples that were counted, by one of two processes."""
    model, data = network(), TensorDataset(X, Y)
    if how.startswith("accelerate"):
        from accelerate import PartialState
        from accelerate.data_loader import prepare_data_loader

        PartialState._reset_state()
        words: dict[str, Any] = {"dispatch_batches": "dispatched" in how, "split_batches": "split" in how}
        words |= {"device": torch.device("cpu"), "put_on_device": "dispatched" in how}
        with launched(rank):
            PartialState(cpu=True)
            loader = prepare_data_loader(DataLoader(data, 4), num_processes=2, process_index=rank, **words)
    elif how == "timm":
        from timm.data.distributed_sampler import OrderedDistributedSampler

        loader = DataLoader(data, 4, sampler=OrderedDistributedSampler(data))
    else:
        loader = DataLoader(data, 4, sampler=DistributedSampler(data))
    if rank:
        model[1].running_mean += 1  # BatchNorm keeps statistics of its own on each process
    difficulty = ClassDifficulty(3, momentum=0)
    counted = torch.zeros((), dtype=torch.int64)
    update = difficulty.update

    def counting(prediction: Tensor, target: Tensor) -> None:
        counted.add_(len(target))
        update(prediction, target)

    difficulty.update = counting  # type: ignore[method-assign]
    difficulty.measure(DistributedDataParallel(model), loader)
    if how.startswith("accelerate"):
        PartialState._reset_state()
    return difficulty.performance, counted


WAYS = ("torch", "timm", "accelerate", "accelerate split", "accelerate dispatched", "accelerate dispatched split")


@pytest.mark.parametrize("how", WAYS)
def test_two_processes_measure_what_one_does_without_the_padding(how: str, run_two: Callable[..., Any]) -> None:
    pytest.importorskip("torch" if how == "torch" else how.partition(" ")[0])
    (first, ours), (second, theirs) = run_two(in_two, how)
    assert torch.equal(first, second) and int(ours + theirs) == 23
    torch.testing.assert_close(first, by_hand(network()))


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("size", [1, 4, 6])
def test_what_accelerate_fills_up_is_last_and_known(split: bool, size: int) -> None:
    """For each length and number of processes: what is counted is every sample, once."""
    from accelerate.data_loader import BatchSamplerShard

    for length in range(1, 30):
        for processes in (2, 3):
            if split and size % processes:
                continue
            found: list[int] = []
            for index in range(processes):
                inner = torch.utils.data.BatchSampler(range(length), size, drop_last=False)
                shard = BatchSamplerShard(inner, processes, index, split_batches=split)
                loader = SimpleNamespace(batch_sampler=shard)
                own = own_samples(loader)
                assert own is not None
                found += [row for batch in shard for row in batch][:own]
            assert sorted(found) == list(range(length))


def test_what_torch_fills_up_is_last_and_known() -> None:
    for length in range(1, 12):
        for replicas in (2, 5):
            samplers = [
                DistributedSampler(range(length), num_replicas=replicas, rank=rank)  # type: ignore[arg-type]
                for rank in range(replicas)
            ]
            found = [row for sampler in samplers for row in first(sampler)]
            assert sorted(found) == list(range(length))


def first(sampler: DistributedSampler) -> Iterator[int]:
    own = own_samples(SimpleNamespace(sampler=sampler))
    assert own is not None
    return iter(list(sampler)[:own])
