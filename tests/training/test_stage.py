"""Stages driven by a plain loop: no folder, no processes, and the same model as `train` makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from longtail.config import RunConfig
from longtail.tasks import task_class
from longtail.training.files import load_tensors
from longtail.training.folder import method_of
from longtail.training.order import cut_batches, epoch_order, seed_of
from longtail.training.recipes import resolve
from longtail.training.run import train
from longtail.training.schedule import first_drop, learning_rate
from longtail.training.stage import Stages

SMALL = {"data": "digits", "imbalance": 10.0, "epochs": 3, "batch_size": 64, "model": "lenet5", "device": "cpu"}


@pytest.mark.parametrize(("method", "kwargs"), [("crt", ()), ("ldam-drw", ()), ("lws", ("share=0.4",))])
def test_a_plain_loop_trains_as_a_run_does(method: str, kwargs: tuple[str, ...], tmp_path: Path) -> None:
    config = resolve(RunConfig(**SMALL, method=method, method_kwargs=kwargs, seed=5))
    train(config, tmp_path / "run")
    assert config.epochs and config.batch_size and config.lr and config.weight_decay is not None
    task = task_class(config.task).load(config, device=torch.device("cpu"))
    parts = method_of(config).parts(task.stats(epochs=config.epochs, seed=5, first_drop=first_drop(config)))
    torch.manual_seed(seed_of("model", 5))
    model, head = task.build(parts)
    lr, momentum, decay = config.lr, config.momentum, config.weight_decay
    stages = Stages(
        model,
        head,
        parts,
        epochs=config.epochs,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=decay),
        schedule=lambda progress, span: learning_rate(config, progress, span=span),
        seed=5,
        features=lambda split: task.features(model, head, split),
    )
    for stage, first, end in stages.bounds:
        stages.enter(stage, first=first, prepare=True)
        assert stages.optimizer is not None
        for epoch in range(first, end):
            torch.manual_seed(seed_of("epoch", 5, epoch, 0))
            order = epoch_order(stages.sampler, len(task.data.train), seed=5, epoch=epoch)
            batches = cut_batches(order, config.batch_size, world=1)
            stages.train_mode()
            for i, batch in enumerate(task.train_batches(batches, epoch=epoch)):
                stages.set_rate(epoch + i / len(batches))
                stages.optimizer.zero_grad()
                task.loss(model, stages.criterion, batch)["loss"].backward()
                stages.optimizer.step()
            if stages.difficulty is not None:
                task.evaluate(model, "val", observe=stages.observer)
                stages.difficulty.step()
    written = load_tensors(tmp_path / "run" / "model.safetensors")
    assert written.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, written[name], rtol=1e-6, atol=1e-7, msg=name)


def test_what_a_stage_freezes_stays_and_is_not_normalised_anew() -> None:
    """The classifier alone is trained: the others keep weights and BatchNorm statistics, also where it is forgotten."""
    from longtail.methods import ClassStats, get_method

    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    parts = get_method("crt").parts(ClassStats(class_counts=[9, 4, 2], epochs=4))
    stages = Stages(
        model,
        model[2],
        parts,
        epochs=4,
        optimizer=lambda parameters: torch.optim.SGD(parameters, 0.1),
        schedule=lambda progress, span: 0.1 * (1 - progress / span),
    )
    (_, *_), (second, first, _) = stages.bounds
    stages.enter(second, first=first)
    stages.train_mode()
    assert [module.training for module in model] == [False, False, True]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stages.set_rate(first)
    assert stages.optimizer is not None and stages.optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    loss = stages.criterion(model(torch.randn(8, 4)), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0]))
    loss.backward()
    stages.optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"2.weight", "2.bias"}
