"""CDB on top of other methods: weights of 1 change nothing, everything of the base comes along, the rest is refused."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import nn

from clear import assert_clear
from longtail.errors import LongtailError
from longtail.functional import effective_number_weights
from longtail.losses import LDAMLoss
from longtail.methods import ClassStats, Parts, get_method, list_methods
from longtail.methods._compose import base_method, named_method
from longtail.methods._heads import CosineHead
from longtail.samplers import ClassAwareSampler, ClassWeightedSampler

STATS = ClassStats(class_counts=[60, 20, 5, 0], epochs=10)
VARIANTS = ("logit-adjust:post_hoc=true", "eql:form=sigmoid", "seesaw:normalized=true", "focal:gamma=2")
BAD = [0.9, 0.6, 0.2, 0.5]


def fits(key: str, name: str) -> bool:
    try:
        return "classify" in base_method(key, name, sampler=key == "base").tasks
    except LongtailError:
        return False


PAIRS = [
    (method, key, name)
    for method, key in (("cdb-w", "base"), ("cdb-s", "loss"))
    for name in (*list_methods(), *VARIANTS)
    if fits(key, name)
]
every_pair = pytest.mark.parametrize(("method", "key", "name"), PAIRS)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(12, 4, requires_grad=True), torch.tensor([0, 1, 2, 3, 0, 0, 0, 0, 1, 1, 1, 2])


def criteria(parts: Parts) -> list[Any]:
    return [parts.criterion, *(stage.parts["criterion"] for stage in parts.stages if "criterion" in stage.parts)]


def outcome(criterion: Any, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)  # some losses draw at random
    loss = criterion(*batch)
    return loss.detach(), torch.autograd.grad(loss, batch[0])[0]


def test_what_composes_is_what_one_expects():
    names = {key: {name for _, k, name in PAIRS if k == key} for key in ("base", "loss")}
    both = {
        "ce",
        "focal",
        "cb",
        "balanced-softmax",
        "logit-adjust",
        "vs",
        "cdt",
        "ldam-drw",
        "eql",
        "seesaw",
        "tau-norm",
    }
    assert both | set(VARIANTS) <= names["loss"] <= names["base"]
    assert {"cfs", "class-aware", "progressive"} <= names["base"] - names["loss"]
    assert not {"cdb-w", "cdb-w-fl", "cdb-s", "crt", "lws"} & names["base"]


@every_pair
@pytest.mark.parametrize("form", ["weight", "logit"])
def test_with_tau_zero_it_is_the_base(method, key, name, form, batch):
    if method == "cdb-s" and form == "logit":
        return  # cdb-s has one form
    options = {"tau": 0} | ({"form": form} if method == "cdb-w" else {})
    ours, theirs = get_method(method, **{key: name}, **options).parts(STATS), named_method(key, name).parts(STATS)
    ours.difficulty.step(BAD)
    for mine, other in zip(criteria(ours), criteria(theirs), strict=True):
        (loss, gradient), (expected, slope) = outcome(mine, batch), outcome(other, batch)
        if type(other) is nn.CrossEntropyLoss:  # torch sums in another order
            torch.testing.assert_close(loss, expected)
            torch.testing.assert_close(gradient, slope)
        else:
            assert torch.equal(loss, expected)
            assert torch.equal(gradient, slope)


@every_pair
def test_everything_else_of_the_base_comes_along(method, key, name):
    ours, theirs = get_method(method, **{key: name}).parts(STATS), named_method(key, name).parts(STATS)
    assert (ours.head is None) == (theirs.head is None)
    if ours.head is not None:
        heads = [parts.head(nn.Linear(3, 4)) for parts in (ours, theirs)]
        assert type(heads[0]) is type(heads[1])
        assert str(heads[0]) == str(heads[1])
    assert (ours.finish is None) == (theirs.finish is None)
    assert [(s.name, s.epochs, set(s.parts)) for s in ours.stages] == [
        (s.name, s.epochs, set(s.parts)) for s in theirs.stages
    ]
    if method == "cdb-w":
        assert type(ours.sampler) is type(theirs.sampler)
    else:
        assert type(ours.sampler) is ClassWeightedSampler
        assert ours.sampler.weight is ours.difficulty
        assert [type(c) for c in criteria(ours)] == [type(c) for c in criteria(theirs)]


@every_pair
def test_a_held_out_split_is_needed_by_either_of_both(method, key, name):
    base = named_method(key, name).needs_held_out
    options = {key: name, "min_difficulty": 0.05}
    assert get_method(method, **options).needs_held_out
    assert get_method(method, **options, source="train").needs_held_out == base


def test_cross_entropy_is_the_default(batch):
    for method, key in (("cdb-w", "base"), ("cdb-s", "loss")):
        assert get_method(method) == get_method(method, **{key: "ce"})
    focal, fl = get_method("cdb-w", base="focal:gamma=2").parts(STATS), get_method("cdb-w-fl", gamma=2).parts(STATS)
    for parts in (focal, fl):
        parts.difficulty.step(BAD)
    for ours, theirs in zip(outcome(focal.criterion, batch), outcome(fl.criterion, batch), strict=True):
        assert torch.equal(ours, theirs)


def test_ldam_drw_keeps_its_head_stages_and_late_weights_times_the_difficultys(batch):
    parts = get_method("cdb-w", base="ldam-drw:defer=.5,scale=10", tau=1.5).parts(STATS)
    parts.difficulty.step(BAD)
    assert isinstance(parts.head(nn.Linear(3, 4)), CosineHead)
    plain, reweighted = criteria(parts)
    own = effective_number_weights(STATS.class_counts, beta=0.9999)
    for criterion, weight in ((plain, torch.ones(4)), (reweighted, own)):
        expected = LDAMLoss(
            STATS.class_counts, scale=10, weight=weight * parts.difficulty.weight, reduction="weighted_mean"
        )
        torch.testing.assert_close(criterion(*batch), expected(*batch))


def test_a_deferred_difficulty_is_the_base_first_and_acts_later(batch):
    parts = get_method("cdb-w", base="balanced-softmax", defer=0.75, tau=1).parts(STATS)
    base, at_once = (get_method(name, **kwargs).parts(STATS).criterion for name, kwargs in (
        ("balanced-softmax", {}), ("cdb-w", {"base": "balanced-softmax", "tau": 1})
    ))  # fmt: skip
    parts.difficulty.step(BAD)
    at_once.source.step(BAD)
    plain, weighted = parts.stages
    assert [(s.name, s.epochs, s.restart) for s in parts.stages] == [("plain", 0.75, False), ("weighted", 0.25, False)]
    torch.testing.assert_close(plain.parts["criterion"](*batch), base(*batch))
    torch.testing.assert_close(weighted.parts.get("criterion", parts.criterion)(*batch), at_once(*batch))
    assert not torch.allclose(base(*batch), at_once(*batch))
    with pytest.raises(LongtailError, match=r"defer is 0.5: ldam-drw has stages of its own already"):
        get_method("cdb-w", base="ldam-drw", defer=0.5)
    with pytest.raises(LongtailError, match=r"defer is 'late': it must be a number in \[0, 1\]"):
        get_method("cdb-w", defer="late")


@pytest.mark.parametrize("name", ["cdb-w", "cdb-w-fl"])
def test_by_default_the_difficulty_acts_from_the_first_drop_of_the_learning_rate(name):
    dropping = dataclasses.replace(STATS, first_drop=0.8)
    shares = [(s.name, s.epochs) for s in get_method(name).parts(dropping).stages]
    assert shares == [("plain", 0.8), ("weighted", pytest.approx(0.2))]
    assert get_method(name, defer=0.3).parts(dropping).stages[0].epochs == 0.3
    boxes = dataclasses.replace(dropping, task="detect")
    at_once = [
        get_method(name).parts(STATS),  # no drop
        get_method(name, defer=0).parts(dropping),
        get_method(name, preset="paper").parts(dropping),
        get_method(name, preset="code2020-imagenet").parts(dropping),
        *([get_method(name).parts(boxes)] if "detect" in get_method(name).tasks else []),
    ]
    assert [parts.stages for parts in at_once] == [()] * len(at_once)
    assert len(get_method("cdb-w", base="ldam-drw:defer=.5").parts(dropping).stages) == 2  # its own, and no more


def test_a_logit_form_goes_beside_the_prior_of_the_base(batch):
    parts = get_method("cdb-w", base="balanced-softmax", form="logit", strength=0.5, tau=1).parts(STATS)
    parts.difficulty.step(BAD)
    w = parts.difficulty.weight
    counts = torch.tensor([60, 20, 5, 5.0])
    shifted = batch[0] + counts.log() - 0.5 * (w / w.max()).log()
    torch.testing.assert_close(parts.criterion(*batch), nn.functional.cross_entropy(shifted, batch[1]))


@pytest.mark.parametrize(("reduction", "expected"), [("mean", "mean"), ("weighted_mean", "weighted_mean")])
def test_the_reduction_is_the_bases_unless_another_is_asked_for(reduction, expected):
    assert get_method("cdb-w", base="vs", reduction=reduction).parts(STATS).criterion.reduction == expected
    assert get_method("cdb-w", base="ldam-drw", reduction=reduction).parts(STATS).criterion.reduction == "weighted_mean"


def test_a_sampler_of_the_base_stays_and_the_weights_act_on_the_loss():
    parts = get_method("cdb-w", base="class-aware:samples_per_class=2").parts(STATS)
    assert isinstance(parts.sampler, ClassAwareSampler)
    assert parts.criterion.source is parts.difficulty


def test_a_composition_is_a_method_like_others_to_decoupled_training():
    parts = get_method("crt", stage1="cdb-w:base=ldam-drw", balance="cdb-s:loss=balanced-softmax").parts(STATS)
    assert [stage.name for stage in parts.stages] == ["stage1-plain", "stage1-reweighted", "stage2"]
    with pytest.raises(LongtailError, match="balance is 'cdb-w:base=ldam-drw': it has a classifier"):
        get_method("crt", balance="cdb-w:base=ldam-drw")


def test_every_refusal_is_one_line_that_names_the_reason():
    for (method, key), name in itertools.product((("cdb-w", "base"), ("cdb-s", "loss")), list_methods()):
        if "classify" in get_method(name).tasks and (method, key, name) not in PAIRS:
            with pytest.raises(LongtailError, match=f"{key} is '{name}': it has .* of its own; choose") as error:
                get_method(method, **{key: name})
            assert_clear(error.value)
