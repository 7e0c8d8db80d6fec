"""Laws that every registered method obeys, driven by the table in settings.py."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import pytest
import torch

from clear import assert_clear
from longtail import methods
from longtail.errors import LongtailError
from longtail.methods import ClassStats, Method, Parts, check_method, cite, get_method, list_methods
from longtail.methods._check import LAWS, worlds
from longtail.methods.base import find_method
from longtail.samplers import PowerLawSampler
from methods.settings import SETTINGS

BUILDS = [
    pytest.param(name, kwargs, stats, id=f"{name}-{kwargs}-{stats.task}")
    for name, row in SETTINGS.items()
    for kwargs in ({}, *row.kwargs)
    for stats in worlds(get_method(name, **kwargs))
]
every_method = pytest.mark.parametrize("name", SETTINGS)
every_build = pytest.mark.parametrize(("name", "kwargs", "stats"), BUILDS)


def test_the_table_has_a_row_for_every_method_and_no_other():
    assert sorted(SETTINGS) == list_methods()


@every_build
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_every_law_holds(law, name, kwargs, stats):
    law(get_method(name, **kwargs), stats)


@every_build
def test_hyperparameters_are_kept(name, kwargs, stats):
    for field, value in kwargs.items():
        assert getattr(get_method(name, **kwargs), field) == value


@every_method
def test_a_method_is_built_for_all_tasks_that_it_names(name):
    tasks = {"classify": "classify", "video": "classify", "detect": "detect", "segment": "detect"}
    assert {stats.task for stats in worlds(get_method(name))} == {tasks[task] for task in find_method(name).tasks}


@every_method
def test_names_and_the_class_are_found(name):
    method = get_method(name)
    assert get_method(name.upper().replace("-", "_")) == method
    assert isinstance(method, Method)
    assert getattr(methods, type(method).__name__) is type(method)
    assert type(method).name == name
    assert method.title


@pytest.mark.parametrize(
    ("name", "arguments", "message"), [(name, *bad) for name, row in SETTINGS.items() for bad in row.bad]
)
def test_an_illegal_hyperparameter_is_one_clear_line(name, arguments, message):
    with pytest.raises(LongtailError) as error:
        get_method(name, **arguments)
    assert message in str(error.value)
    assert_clear(error.value)


@every_method
def test_an_unknown_hyperparameter_names_the_known_ones(name):
    with pytest.raises(LongtailError, match="unknown hyperparameter 'no_such'") as error:
        get_method(name, no_such=1)
    for field in dataclasses.fields(type(get_method(name))):
        assert field.name in str(error.value)


@every_method
def test_presets_are_those_of_the_table_and_can_be_overridden(name):
    presets = type(get_method(name)).presets()
    assert tuple(presets) == SETTINGS[name].presets
    for preset, values in presets.items():
        method = get_method(name, preset=preset)
        assert {key: getattr(method, key) for key in values} == values
        for key, value in values.items():
            assert getattr(get_method(name, preset=preset, **{key: value}), key) == value
    with pytest.raises(LongtailError, match="unknown preset 'mine'"):
        get_method(name, preset="mine")


def test_unknown_methods_and_empty_citations():
    with pytest.raises(LongtailError, match=r"'cdb': did you mean cdb-margin or cdb-s or cdb-w or cdb-w-fl[?] known"):
        get_method("cdb")
    with pytest.raises(LongtailError, match="unknown method 'smote': known are bags, balanced-softmax, cb"):
        get_method("smote")
    with pytest.raises(LongtailError, match="unknown method 'x'"):
        cite("ce", "x")
    with pytest.raises(LongtailError, match="at least one method"):
        cite()
    with pytest.raises(AttributeError, match="NoSuchMethod"):
        methods.NoSuchMethod  # noqa: B018


def test_cite_prints_each_publication_once_in_the_order_asked_for():
    bibtex = cite("focal", "cdb-w", "cdb-s")
    assert bibtex.count("@") == 3
    assert bibtex.index("lin2017focal") < bibtex.index("sinha2022class") < bibtex.index("sinha2020class")


@pytest.mark.parametrize("counts", [[], [-1, 2]])
def test_class_statistics_are_checked(counts):
    with pytest.raises(LongtailError, match="class_counts must be"):
        ClassStats(class_counts=counts)


# -- a method that breaks a law is told which one ----------------------------------------------------------------------
class Own(Method):
    """A method of one's own.

    Formula: cross-entropy. When to use: never. Hyperparameters: none. Reference: none.
    """

    name = "focal"  # for the citation
    title = "Own"


class Restless:
    """A loss with a state that no state dict holds."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, logits, target):
        self.calls += 1
        return self.calls * torch.nn.functional.cross_entropy(logits, target)


class Unseeded(PowerLawSampler):
    count: ClassVar[int] = 0

    def __iter__(self):
        Unseeded.count += 1
        return iter(torch.randperm(55, generator=torch.Generator().manual_seed(Unseeded.count)).tolist())


def vector(logits, target):
    return logits.sum(1)


def undefined(logits, target):
    return logits.sum() * float("nan")


def flat(logits, target):
    return (logits - logits).sum()


def exploding(logits, target):
    return (logits.abs().mean() / 50).exp()


def wide(linear):
    return torch.nn.Linear(5, 7)


BROKEN = {
    "a loss of shape": lambda stats: Parts(criterion=vector),
    "losses": lambda stats: Parts(criterion=undefined),
    "gradient is 0 or infinite": lambda stats: Parts(criterion=flat),
    "not one finite number": lambda stats: Parts(criterion=exploding),
    "cannot be pickled": lambda stats: Parts(criterion=lambda z, y: torch.nn.functional.cross_entropy(z, y)),
    "draws differently from the same seed": lambda stats: Parts(sampler=Unseeded(stats.labels, exponent=0.5)),
    "draws the same from another seed": lambda stats: Parts(sampler=PowerLawSampler(stats.labels, exponent=0.5)),
    "draws an epoch": lambda stats: Parts(sampler=PowerLawSampler(stats.labels, num_samples=9, seed=stats.seed)),
    "not in the state of its parts": lambda stats: Parts(criterion=Restless()),
    "copies of its parts": lambda stats: Parts(criterion=Shared()),
    "the head gives": lambda stats: Parts(head=wide),
}


class Shared(Restless):
    """Copies count together."""

    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_method_is_told_its_fault(message):
    cls = dataclasses.dataclass(frozen=True, kw_only=True)(
        type("Own", (Own,), {"__doc__": Own.__doc__, "parts": lambda self, stats: BROKEN[message](stats)})
    )
    with pytest.raises(AssertionError, match=message):
        check_method(cls())


def test_a_card_without_its_headings_is_told():
    cls = dataclasses.dataclass(frozen=True, kw_only=True)(
        type("Own", (Own,), {"__doc__": "Nothing.", "parts": lambda self, stats: Parts()})
    )
    with pytest.raises(AssertionError, match="lacks 'Formula:'"):
        check_method(cls())


def test_checking_leaves_the_generator_alone_and_takes_hyperparameters_with_a_name():
    before = torch.get_rng_state()
    check_method("cdb-w", tau=1.5)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(LongtailError, match="go with a name"):
        check_method(get_method("ce"), gamma=1)
    with pytest.raises(LongtailError, match="unknown method 'no'"):
        check_method("no")
