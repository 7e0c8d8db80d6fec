"""Learning rates against their definitions, the laws of stages, and what a resolved configuration holds."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail.data.catalogue import CATALOGUE
from longtail.errors import LongtailError
from longtail.methods import Stage
from longtail.training.config import DataOptions, RunConfig
from longtail.training.configfile import read_config
from longtail.training.recipes import resolve
from longtail.training.schedule import first_drop, learning_rate, stage_bounds


def config(**options) -> RunConfig:
    return resolve(RunConfig(**{"data": "digits", "epochs": 100, "lr": 0.1, "warmup_epochs": 0} | options))


def naive(c: RunConfig, epoch: int) -> float:
    """The rate of a whole epoch, counted from 0, as one would write it down."""
    if epoch < c.warmup_epochs:
        return c.lr * (epoch + 1) / c.warmup_epochs
    if c.schedule == "constant":
        return c.lr
    if c.schedule == "cosine":
        return c.lr / 2 * (1 + math.cos(math.pi * (epoch - c.warmup_epochs) / (c.epochs - c.warmup_epochs)))
    rate = c.lr
    for milestone in c.milestones:
        if epoch >= milestone:
            rate *= c.gamma
    return rate


@pytest.mark.parametrize("warmup", [0, 1, 5])
@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "constant"},
        {"schedule": "cosine"},
        {"schedule": "multistep", "milestones": (60, 80), "gamma": 0.1},
        {"schedule": "multistep", "milestones": (), "gamma": 0.1},
    ],
    ids=lambda o: o["schedule"],
)
def test_every_schedule_is_what_it_says(options, warmup):
    c = config(**options, warmup_epochs=warmup)
    for epoch in range(100):
        assert learning_rate(c, epoch) == pytest.approx(naive(c, epoch), rel=1e-12)


def test_cosine_falls_within_an_epoch_and_ends_at_zero():
    c = config(schedule="cosine")
    steps = [learning_rate(c, i / 7) for i in range(700)]
    assert steps == sorted(set(steps), reverse=True)
    assert learning_rate(c, 50) == pytest.approx(0.05)
    assert learning_rate(c, 100) == pytest.approx(0)


@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({"schedule": "constant"}, 0),
        ({"schedule": "cosine"}, 0),
        ({"schedule": "multistep", "milestones": ()}, 0),
        ({"schedule": "multistep", "milestones": (80, 60)}, 0.6),
        ({"schedule": "multistep", "milestones": (60, 80), "gamma": 1.0}, 0),  # a step that changes nothing
        ({"schedule": "multistep", "milestones": (100,)}, 0),  # after the last epoch
        ({"schedule": "cosine", "milestones": (60,)}, 0),  # read by multistep alone
    ],
)
def test_the_first_drop_is_where_the_rate_first_falls_by_a_step(options, share):
    c = config(**options)
    assert first_drop(c) == share
    rates = [learning_rate(c, epoch) for epoch in range(100)]
    falls = [epoch for epoch in range(1, 100) if rates[epoch] < rates[epoch - 1] * 0.5 and c.schedule != "cosine"]
    assert falls[:1] == ([share * 100] if share else [])


def test_a_milestone_takes_effect_after_its_epoch():
    c = config(schedule="multistep", milestones=(3,), gamma=0.5)
    assert learning_rate(c, 2.999) == 0.1
    assert learning_rate(c, 3) == 0.05


@given(
    span=st.integers(2, 50),
    epoch=st.integers(0, 99),
    schedule=st.sampled_from(["cosine", "constant", "multistep"]),
    warmup=st.integers(0, 20),
)
def test_a_shorter_span_is_the_same_schedule_made_narrower(span, epoch, schedule, warmup):
    c = config(schedule=schedule, warmup_epochs=warmup)
    inside = (epoch + 0.5) / 100
    assert learning_rate(c, inside * span, span=span) == pytest.approx(learning_rate(c, inside * 100), rel=1e-9)


@given(
    epochs=st.integers(1, 300),
    shares=st.lists(st.floats(0.01, 100), min_size=1, max_size=5),
)
def test_stages_share_all_epochs_in_order(epochs, shares):
    stages = [Stage(name=str(i), epochs=share) for i, share in enumerate(shares)]
    bounds = stage_bounds(stages, epochs)
    assert [stage for stage, _, _ in bounds] == stages
    assert bounds[0][1] == 0
    assert bounds[-1][2] == epochs
    for (_, _, end), (_, start, _) in itertools.pairwise(bounds):
        assert end == start
    if epochs >= len(stages):
        assert all(end > start for _, start, end in bounds)
        done = 0.0
        for stage, _, end in bounds:  # each boundary is where the shares say, but for rounding and at least one epoch
            done += stage.epochs
            assert abs(end - epochs * done / sum(shares)) <= 0.5 + len(stages)


def test_no_stages_are_one():
    ((stage, start, end),) = stage_bounds((), 7)
    assert (stage.name, start, end) == ("train", 0, 7)


# -- recipes and configuration -----------------------------------------------------------------------------------------
def of_recipe(name: str, **options: Any) -> RunConfig:
    data = f"{name}:somewhere" if name in ("folder", "lists") else name
    return RunConfig(data=data, task="detect" if CATALOGUE[name].boxes else "classify", **options)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_resolved_configuration_has_no_gap_and_stays_as_it_is(name):
    c = resolve(of_recipe(name))
    filled = CATALOGUE[name].options & {"imbalance_kind", "select_fraction", "broken", "frames", "data_seed"}
    filled -= set() if CATALOGUE[name].imbalance else {"imbalance_kind"}  # without a law there is none
    free = {f.name for f in dataclasses.fields(DataOptions)} - filled | {"weights", "workers", "feature_cache"}
    free |= {"optimizer", "backbone_lr", "layer_decay", "ema", "label_smoothing", "patience", "adapter", "adapter_rank"}
    if c.tune == "head" or c.task == "vectors":  # what only the data tell
        free |= {"batch_size", "weight_decay", "lr"}
    if c.tune != "head":
        free |= {"head", "features", "views", "refit"}
    if c.task == "vectors":
        free |= {"image_size", "tune"}
    assert [k for k, v in c.to_dict().items() if v is None and k not in free] == []
    assert resolve(c) == c
    assert RunConfig.from_dict(json.loads(json.dumps(c.to_dict()))) == c


@given(epochs=st.integers(1, 400), name=st.sampled_from(sorted(CATALOGUE)))
def test_any_number_of_epochs_makes_a_whole_schedule(epochs, name):
    """Milestones and warm-up follow the length, and every epoch has a rate above 0."""
    c = resolve(of_recipe(name, epochs=epochs))
    c = dataclasses.replace(c, lr=c.lr or 1.0)  # of a classifier on features the data tell it
    assert c.warmup_epochs < epochs
    assert all(1 <= m <= epochs for m in c.milestones)
    assert all(learning_rate(c, epoch) > 0 for epoch in range(epochs))


def test_cifar_follows_the_paper():
    c = resolve(RunConfig(data="cifar100"))
    assert (c.epochs, c.milestones, c.gamma, c.warmup_epochs) == (200, (160, 180), 0.01, 5)
    assert (c.batch_size, c.lr, c.weight_decay, c.model) == (128, 0.1, 1e-4, "resnet32")
    assert resolve(RunConfig(data="cifar100", epochs=100)).milestones == (80, 90)
    assert resolve(RunConfig(data="cifar100", protocol="cao")).weight_decay == 2e-4


def test_what_is_given_is_kept():
    given_values = {"epochs": 7, "lr": 0.3, "model": "resnet20", "milestones": (2, 5), "schedule": "multistep"}
    c = resolve(RunConfig(data="cifar10", **given_values))
    assert {k: getattr(c, k) for k in given_values} == given_values


def test_a_configuration_file_is_read_as_it_was_written(tmp_path):
    c = resolve(RunConfig(data="digits", method="cdb-w", method_kwargs=("tau=1", "momentum=0.5"), seed=3))
    (tmp_path / "config.json").write_text(json.dumps({"longtail": "9", "config": c.to_dict()}))
    assert read_config(tmp_path) == read_config(tmp_path / "config.json") == dataclasses.replace(c, weights="none")


def test_a_list_is_as_good_as_a_tuple():
    listed = RunConfig(augment=["no-flip", "mixup"], milestones=[3], epochs=9)  # pyright: ignore[reportArgumentType]
    assert listed == RunConfig(augment=("no-flip", "mixup"), milestones=(3,), epochs=9)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"epochs": True}, "--epochs is True: it must be a whole number"),
        ({"epochs": 3.0}, "--epochs is 3.0: it must be a whole number"),
        ({"lr": "0.1"}, "--lr is '0.1': it must be a finite number"),
        ({"compile": 1}, "--compile is 1: it must be true or false"),
        ({"data": None}, "DATA is None: it must be text"),
        ({"precision": "fp8"}, "--precision is 'fp8': it must be one of fp32, bf16"),
        ({"milestones": "160"}, "--milestones is '160': it must be a list, each a whole number"),
        ({"milestones": [1, 2.5]}, "must be a list, each a whole number"),
        ({"method_kwargs": {"tau": 1}}, "--method-kwargs is"),
        ({"trackers": ["comet"]}, "must be a list, each one of tensorboard, wandb, mlflow"),
        ({"epoch": 3}, "unknown configuration key 'epoch'"),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_named(values, reason):
    with pytest.raises(LongtailError) as error:
        RunConfig.from_dict(values)
    assert reason in str(error.value)


def test_every_field_is_described():
    described = "".join(cls.__doc__ or "" for cls in RunConfig.__mro__)
    for field in dataclasses.fields(RunConfig):
        assert f"        {field.name}: " in described


def test_detectors_warm_up_by_the_step_and_follow_their_schedule_then() -> None:
    c = resolve(RunConfig(data="lvis:DIR", task="detect"))
    assert (c.warmup_epochs, c.epochs, c.lr) == (1, 12, 0.01)
    rates = [learning_rate(c, step / 100) for step in range(1200)]
    assert rates[:100] == pytest.approx([0.01 * max(step / 100, 1e-3) for step in range(100)])
    assert rates[100:] == pytest.approx([0.01] * 700 + [0.001] * 300 + [0.0001] * 100)
