"""Hard instances: which samples a focal loss counts for much, and how a run counts them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from longtail.losses import FocalLoss
from longtail.training.config import RunConfig
from longtail.training.files import read_csv
from longtail.training.hard import HardInstances
from longtail.training.run import train


def batch(seed: int, size: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(size, 4, generator=generator), torch.randint(4, (size,), generator=generator)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
def test_the_weight_times_cross_entropy_is_the_focal_loss(gamma: float) -> None:
    logits, target = batch(0)
    target[3] = -100
    weight = FocalLoss(gamma=gamma).instance_weight(logits, target)
    cross_entropy = F.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(weight * cross_entropy, FocalLoss(gamma=gamma, reduction="none")(logits, target))
    assert weight[3] == 0 and weight.min() >= 0 and weight.max() <= 1
    certain = FocalLoss(gamma=2).instance_weight(torch.tensor([[1e4, 0.0], [1e4, 0.0]]), torch.tensor([0, 1]))
    assert certain.tolist() == [0, 1]


def counted(rank: int, seeds: list[int]) -> list[dict[str, int]]:
    hard = HardInstances(FocalLoss(gamma=1.5), 4)
    for seed in seeds[rank::2] if rank < 2 else seeds:
        hard.update(*batch(seed))
    return hard.rows(6)


def test_two_processes_count_what_one_does_and_a_loop_does(run_two) -> None:
    naive = [[0, 0] for _ in range(4)]
    for seed in range(4):
        logits, target = batch(seed)
        for z, y in zip(logits.double(), target.tolist(), strict=True):
            p = float(z[y].exp() / z.exp().sum())
            naive[y][0] += 1
            naive[y][1] += (1 - p) ** 1.5 > 0.8
    expected = [{"epoch": 7, "class": c, "seen": n, "hard": h} for c, (n, h) in enumerate(naive)]
    assert counted(2, [0, 1, 2, 3]) == expected
    assert run_two(counted, [0, 1, 2, 3]) == [expected, expected]


def test_a_loss_that_weighs_no_sample_counts_nothing() -> None:
    hard = HardInstances(nn.CrossEntropyLoss(), 4)
    hard.update(*batch(0))
    assert hard.rows(0) == []


def test_a_run_that_was_stopped_has_each_row_once(tmp_path) -> None:
    options: dict[str, Any] = {
        "data": "digits", "method": "focal", "model": "lenet5-classic", "image_size": 16, "epochs": 3, "device": "cpu",
        "batch_size": 128,
    }  # fmt: skip

    class Stop(Exception):
        pass

    class Stopping:
        """A progress that ends the run after the rows of the second epoch were written, before it is complete."""

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: None

        def epoch(self, row: dict[str, Any]) -> None:
            if row["epoch"] == 2:
                raise Stop

    with pytest.raises(Stop):
        train(RunConfig(**options), tmp_path / "a", progress=Stopping())  # type: ignore[arg-type]
    with (tmp_path / "a" / "hard.csv").open("a") as f:
        f.write("3,0,5,5\n3,1,")  # a kill in the third epoch
    train(RunConfig(**options), tmp_path / "a")
    train(RunConfig(**options), tmp_path / "b")
    rows = read_csv(tmp_path / "a" / "hard.csv")
    assert [(row["epoch"], row["class"]) for row in rows] == [(e, str(c)) for e in "123" for c in range(10)]
    assert rows == read_csv(tmp_path / "b" / "hard.csv")
