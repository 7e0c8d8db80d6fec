"""Laws that every registered method obeys, driven by the table in settings.py."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle

import pytest
import torch
from torch import nn

from longtail import methods
from longtail.errors import LongtailError
from longtail.losses import with_background
from longtail.methods import ClassStats, Method, Parts, StepContext, cite, get_method, list_methods
from longtail.methods.base import find_method
from methods.settings import SETTINGS

WHOLE = ClassStats(class_counts=[40, 12, 3, 0], epochs=4, seed=7)
BOXES = ClassStats(
    class_counts=[40, 12, 3, 0],
    labels_per_image=[*[[0, 0]] * 16, *[[1, 0]] * 8, *[[1, 1, 2]] * 2, [], [2]],
    task="detect",
    epochs=4,
    seed=7,
)
"""Class 0 is in 24 images of 28, class 1 in 10, class 2 in 3."""


def worlds(name: str, kwargs: dict, *kinds: ClassStats) -> list[ClassStats]:
    """The statistics of the tasks that a method is made for: samples with one label, and boxes with a background.

    With hyperparameters that name another method, this one has its say; there must be a task all the same.
    """
    fitting = [stats for stats in kinds if stats.task in find_method(name).tasks]
    if any(isinstance(value, str) and key in ("base", "loss", "method") for key, value in kwargs.items()):
        fitting = [stats for stats in fitting if fits(get_method(name, **kwargs), stats)]
    assert fitting, (name, kwargs)
    return fitting


def fits(method: Method, stats: ClassStats) -> bool:
    try:
        method.parts(stats)
    except LongtailError:
        return False
    return True


BUILDS = [
    pytest.param(name, kwargs, stats, id=f"{name}-{kwargs}-{stats.task}")
    for name, row in SETTINGS.items()
    for kwargs in ({}, *row.kwargs)
    for stats in worlds(name, kwargs, WHOLE, BOXES)
]
every_method = pytest.mark.parametrize("name", SETTINGS)
every_build = pytest.mark.parametrize(("name", "kwargs", "stats"), BUILDS)


def labels_of(stats: ClassStats) -> torch.Tensor:
    """The label of every training sample; with boxes, the one of an image that has any, and the background."""
    return torch.tensor([1 + own[0] if own else 0 for own in stats.classes_of_images]) if stats.boxes else stats.labels


def outputs_of(stats: ClassStats) -> int:
    return stats.num_classes + stats.boxes


def criterion_of(criterion, stats: ClassStats):
    """The criterion as the task uses it."""
    return with_background(criterion, stats.num_classes) if stats.boxes else criterion


def model_of(parts: Parts, stats: ClassStats) -> nn.Module:
    """A linear classifier; with boxes the method's own, which may have more outputs than there are classes."""
    linear = nn.Linear(5, outputs_of(stats))
    return parts.head(linear) if stats.boxes and parts.head is not None else linear


def held_out() -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.arange(4).repeat(6)
    return torch.randn(len(target), 5, generator=torch.Generator().manual_seed(3)), target


def train(parts: Parts, stats: ClassStats, *, steps: int = 2, seed: int = 0) -> tuple[list[float], nn.Module]:
    """Losses of some steps of a linear model on random features, as a stage of training takes them."""
    torch.manual_seed(seed)  # the training loop seeds the global generator too, at the start of every epoch
    generator = torch.Generator().manual_seed(seed)
    labels = labels_of(stats)
    x = torch.randn(len(labels), 5, generator=generator)
    model = model_of(parts, stats)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for epoch in range(steps):
        if parts.sampler is not None:
            parts.sampler.set_epoch(epoch)
        order = torch.arange(len(x)) if parts.sampler is None else torch.tensor(list(parts.sampler))
        index = order[:32]
        loss = take_step(parts, stats, model, (x[index], labels[index]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if parts.difficulty is not None:
            features, target = held_out()
            parts.difficulty.update(model(features)[:, stats.boxes : stats.boxes + 4], target)
            parts.difficulty.step()
    return losses, model


def take_step(
    parts: Parts, stats: ClassStats, model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """The loss to descend."""
    x, target = batch
    if parts.step is None:
        return criterion_of(parts.criterion, stats)(model(x), target)
    context = StepContext(model=model, forward=model, criterion=parts.criterion, batch=batch, meta=held_out(), lr=0.1)
    output = parts.step(context)
    assert output["logits"].shape == (len(x), 4)
    assert output["loss"].shape == ()
    return output["loss"]


def test_the_table_has_a_row_for_every_method_and_no_other():
    assert sorted(SETTINGS) == list_methods()


@every_build
def test_repr_round_trips_and_methods_are_values(name, kwargs, stats):
    method = get_method(name, **kwargs)
    assert eval(repr(method), {type(method).__name__: type(method)}) == method
    assert hash(method) == hash(get_method(name, **kwargs))
    for field, value in kwargs.items():
        assert getattr(method, field) == value
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.name = "other"


@every_method
def test_names_and_the_class_are_found(name):
    method = get_method(name)
    assert get_method(name.upper().replace("-", "_")) == method
    assert isinstance(method, Method)
    assert getattr(methods, type(method).__name__) is type(method)
    assert type(method).name == name
    assert method.title


@every_method
def test_the_card_tells_everything(name):
    cls = type(get_method(name))
    card = cls.card()
    for heading in ("Formula:", "When to use:", "Hyperparameters:", "Reference:"):
        assert heading in card, heading
    inherited = set()
    for parent in cls.__mro__[1:]:
        if issubclass(parent, Method) and dataclasses.is_dataclass(parent):
            inherited |= {field.name for field in dataclasses.fields(parent)}
    for field in dataclasses.fields(cls):
        assert field.name in inherited or f"{field.name}:" in card, f"hyperparameter {field.name} is not in the card"


@every_method
def test_cite_is_well_formed_bibtex(name):
    bibtex = cite(name)
    assert bibtex.startswith("@")
    assert bibtex.count("{") == bibtex.count("}")
    for field in ("title", "author", "year"):
        assert f"{field} " in bibtex


@pytest.mark.parametrize(
    ("name", "arguments", "message"), [(name, *bad) for name, row in SETTINGS.items() for bad in row.bad]
)
def test_an_illegal_hyperparameter_is_one_clear_line(name, arguments, message):
    with pytest.raises(LongtailError) as error:
        get_method(name, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


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


@every_build
def test_it_is_built_from_class_statistics_alone_and_trains(name, kwargs, stats):
    method = get_method(name, **kwargs)
    parts = method.parts(stats)
    difficulties = [parts.difficulty, *(stage.parts.get("difficulty") for stage in parts.stages)]
    assert method.needs_held_out or all(d is None or d.source == "train" for d in difficulties)
    losses, model = train(parts, stats)
    assert torch.isfinite(torch.tensor(losses)).all()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    if parts.difficulty is not None:
        assert parts.difficulty.steps == 2
        assert torch.isfinite(parts.difficulty.weight).all()


@every_build
def test_the_criterion_is_a_finite_scalar_with_a_gradient(name, kwargs, stats):
    parts = get_method(name, **kwargs).parts(stats)
    criteria = [parts.criterion, *(stage.parts["criterion"] for stage in parts.stages if "criterion" in stage.parts)]
    for criterion, scale in itertools.product(criteria, (1.0, 1e4)):
        outputs = model_of(parts, stats)(torch.randn(6, 5)).shape[1]
        logits = (scale * torch.randn(6, outputs)).requires_grad_()
        target = torch.tensor([0, 1, 2, 0, 1, 3])  # 3 is a class without training samples
        loss = criterion_of(criterion, stats)(logits, target)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.shape == ()
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
        assert float(gradient.abs().sum()) > 0


@every_build
def test_the_sampler_draws_samples_that_exist_and_is_seeded(name, kwargs, stats):
    method = get_method(name, **kwargs)
    for which, sampler in enumerate(samplers_of(method.parts(stats))):
        if sampler is not None:
            check_sampler(lambda stats=stats, which=which: samplers_of(method.parts(stats))[which], stats)


def samplers_of(parts: Parts) -> list:
    return [parts.sampler, *(stage.parts.get("sampler") for stage in parts.stages)]


def check_sampler(build, stats: ClassStats) -> None:
    samplers = [build(), build()]
    assert list(samplers[0]) != list(build(dataclasses.replace(stats, seed=8)))
    orders = []
    for sampler, epoch in itertools.product(samplers, (0, 1)):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] == orders[2] != orders[1] == orders[3]
    size = len(labels_of(stats))
    assert size <= len(orders[0]) < 2 * size  # more where images are repeated
    assert set(itertools.chain(*orders)) <= set(range(size))


@every_build
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda parts: pickle.loads(pickle.dumps(parts))])
def test_a_copy_of_the_parts_trains_alike_and_shares_nothing(name, kwargs, stats, copied):
    parts = get_method(name, **kwargs).parts(stats)
    first, _ = train(copied(parts), stats, steps=3)
    second, _ = train(copied(parts), stats, steps=3)
    original, _ = train(parts, stats, steps=3)
    assert first == second == original


@every_build
def test_training_goes_on_exactly_from_a_state_dict(name, kwargs, stats):
    parts = get_method(name, **kwargs).parts(stats)
    train(parts, stats)
    fresh = get_method(name, **kwargs).parts(stats)
    if parts.difficulty is not None:
        fresh.difficulty.load_state_dict(parts.difficulty.state_dict())
    if isinstance(parts.criterion, nn.Module):
        fresh.criterion.load_state_dict(parts.criterion.state_dict())
    if isinstance(parts.step, nn.Module):
        fresh.step.load_state_dict(parts.step.state_dict())
    assert train(fresh, stats, seed=1)[0] == train(parts, stats, seed=1)[0]


@every_build
def test_the_head_is_a_classifier_that_is_rebuilt_from_class_counts_and_its_weights(name, kwargs, stats):
    head = get_method(name, **kwargs).parts(stats).head
    if head is None:
        return
    built = head(nn.Linear(5, outputs_of(stats)))
    x = torch.randn(6, 5)
    for training in (True, False):
        logits = built.train(training)(x)
        assert logits.shape[1] >= outputs_of(stats) if stats.boxes else logits.shape == (6, 4)
        assert torch.isfinite(logits).all()
    counts = ClassStats(class_counts=stats.class_counts, task=stats.task)
    again = get_method(name, **kwargs).parts(counts).head(nn.Linear(5, outputs_of(stats)))
    again.load_state_dict(built.state_dict())
    assert torch.equal(again.eval()(x), logits)
    pickled = pickle.loads(pickle.dumps(built))
    assert torch.equal(pickled(x), logits)


@every_method
def test_equal_counts_and_one_class_are_defined(name):
    equal = [
        ClassStats(class_counts=counts, task=task) for counts in ([5, 5, 5], [9]) for task in ("classify", "detect")
    ]
    for stats in worlds(name, {}, *equal):
        parts, counts = get_method(name).parts(stats), stats.class_counts
        target = torch.zeros(2, dtype=torch.int64)
        logits = model_of(parts, stats)(torch.randn(2, 5))
        assert torch.isfinite(criterion_of(parts.criterion, stats)(logits, target))
        if parts.sampler is not None:
            assert len(list(parts.sampler)) == sum(counts)


def test_unknown_methods_and_empty_citations():
    with pytest.raises(LongtailError, match="unknown method 'cdb': known are bags, balanced-softmax, cb"):
        get_method("cdb")
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
