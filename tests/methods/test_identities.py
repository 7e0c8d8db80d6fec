"""What each of the first methods is, told by identities: values, gradients, class frequencies."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

import longtail
from longtail.difficulty import DifficultyOptions
from longtail.errors import LongtailError
from longtail.functional import effective_number_weights
from longtail.methods import ClassStats, Parts, get_method
from longtail.methods.cdb_s import CDBS
from longtail.methods.cdb_w import CDBW
from longtail.methods.cdb_w_fl import CDBWFL

COUNTS = [600, 200, 50, 0]
STATS = ClassStats(class_counts=COUNTS, epochs=10)
ACCURACY = [0.9, 0.6, 0.2, 0.5]


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(12, 4, dtype=torch.float64, requires_grad=True), torch.tensor(
        [0, 1, 2, 3, 0, 0, 0, 0, 1, 1, 1, 2]
    )


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, logits: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def built(name: str, **kwargs) -> Parts:
    """The method's parts after one measurement of ACCURACY."""
    parts = get_method(name, **kwargs).parts(STATS)
    if parts.difficulty is not None:
        parts.difficulty.step(ACCURACY)
    return parts


def drawn(parts: Parts, epochs: int = 20) -> list[float]:
    """Share of each class among the samples drawn."""
    counts = torch.zeros(4)
    for epoch in range(epochs):
        parts.sampler.set_epoch(epoch)
        counts += torch.bincount(STATS.labels[torch.tensor(list(parts.sampler))], minlength=4)
    return (counts / counts.sum()).tolist()


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("focal", {"gamma": 0}),
        ("cb", {"beta": 0}),
        ("cfs", {}),
        ("class-aware", {}),
        ("progressive", {}),
        ("cdb-s", {}),
        ("cdb-w", {"tau": 0}),
        ("cdb-w", {"tau": 0, "normalize": False, "reduction": "weighted_mean"}),
        ("cdb-w-fl", {"tau": 0, "gamma": 0}),
    ],
)
def test_is_cross_entropy(name, kwargs, batch):
    assert_same(built(name, **kwargs).criterion(*batch), F.cross_entropy(*batch), batch[0])


@pytest.mark.parametrize("name", ["cdb-w", "cdb-w-fl"])
def test_equal_accuracies_weigh_nothing(name, batch):
    unweighted = get_method("focal" if name.endswith("fl") else "ce").parts(STATS)
    for rounds in (0, 1):
        parts = get_method(name).parts(STATS)
        for _ in range(rounds):
            parts.difficulty.step([0.4] * 4)
        assert_same(parts.criterion(*batch), unweighted.criterion(*batch), batch[0])


def test_cb_is_the_plain_mean_of_cuis_weights_and_tends_to_inverse_frequency(batch):
    logits, target = batch
    weight = effective_number_weights(COUNTS, beta=0.99).double()
    expected = (weight[target] * F.cross_entropy(*batch, reduction="none")).mean()
    assert_same(built("cb", beta=0.99).criterion(*batch), expected, logits)
    inverse = torch.tensor([1 / 600, 1 / 200, 1 / 50, 0], dtype=torch.float64)
    inverse = inverse / inverse.sum() * 3
    inverse[3] = 1
    expected = (inverse[target] * F.cross_entropy(*batch, reduction="none")).mean()
    torch.testing.assert_close(built("cb", beta=1 - 1e-12).criterion(*batch), expected, rtol=1e-5, atol=0)


def test_cdb_w_is_the_paper(batch):
    logits, target = batch
    d = torch.tensor([0.1, 0.4, 0.8, 0.5], dtype=torch.float64)
    bias = 0.9 / (0.2 + 0.01) - 1
    tau = 5 * (2 / (1 + torch.exp(torch.tensor(-bias))) - 1)
    expected = (d[target] ** tau * F.cross_entropy(*batch, reduction="none")).mean()
    assert_same(built("cdb-w", preset="paper").criterion(*batch), expected, logits)


def test_cdb_w_fl_with_gamma_zero_is_cdb_w(batch):
    ours = built("cdb-w-fl", gamma=0, tau=1.5).criterion(*batch)
    assert_same(ours, built("cdb-w", tau=1.5).criterion(*batch), batch[0])


def test_the_preset_of_the_cifar_code(batch):
    logits, target = batch
    d = torch.tensor([0.1, 0.4, 0.8, 0.5], dtype=torch.float64)
    tau = torch.sigmoid(torch.tensor(0.9 / (0.2 + 0.01)))
    w = d**tau
    expected = (w[target] / w.sum() * 4 * F.cross_entropy(*batch, reduction="none")).mean()
    assert_same(built("cdb-w", preset="code2020-cifar").criterion(*batch), expected, logits)


def test_the_preset_of_the_imagenet_code(batch):
    d = torch.tensor([0.1, 0.4, 0.8, 0.5], dtype=torch.float64)
    tau = 2 * torch.sigmoid(torch.tensor(0.9 / (0.2 + 0.01) - 1))
    expected = F.cross_entropy(*batch, weight=d**tau)
    assert_same(built("cdb-w", preset="code2020-imagenet").criterion(*batch), expected, batch[0])


@pytest.mark.parametrize("cls", [CDBW, CDBWFL, CDBS])
def test_presets_are_class_methods(cls):
    assert cls.paper() == get_method(cls.name, preset="paper")
    for variant in ("cifar", "imagenet"):
        assert cls.code2020(variant) == get_method(cls.name, preset=f"code2020-{variant}")
    with pytest.raises(LongtailError, match="known are cifar, imagenet"):
        cls.code2020("mnist")


@pytest.mark.parametrize("cls", [CDBW, CDBWFL, CDBS])
def test_presets_do_not_lean_on_defaults_that_may_change(cls):
    for preset in cls.presets().values():
        unused = {"power", "absent", "gamma", "strength"} | ({"max_tau"} if preset["tau"] != "sigmoid" else set())
        assert {field.name for field in dataclasses.fields(cls)} - unused <= set(preset)


def test_the_defaults_are_in_one_place():
    """But for the mean of the weights, which the methods take over the samples: a difficulty alone has no counts."""
    for cls in (CDBW, CDBWFL, CDBS):
        difficulty = longtail.ClassDifficulty(3, class_counts=[5, 2, 1], normalize=cls().normalize)
        assert repr(cls().difficulty([5, 2, 1])) == repr(difficulty)
        for field in dataclasses.fields(DifficultyOptions):
            expected = "samples" if field.name == "normalize" else field.default
            assert getattr(cls(), field.name) == expected


@pytest.mark.parametrize(
    ("name", "kwargs", "expected"),
    [
        ("cfs", {}, [600**0.5, 200**0.5, 50**0.5, 0]),
        ("cfs", {"exponent": 1}, [600, 200, 50, 0]),
        ("class-aware", {}, [1, 1, 1, 0]),
        ("cdb-s", {"tau": 2, "momentum": 0}, [0.01, 0.16, 0.64, 0]),
        ("cdb-s", {"tau": 0}, [1, 1, 1, 0]),
    ],
)
def test_classes_are_drawn_by_the_law(name, kwargs, expected):
    assert drawn(built(name, **kwargs)) == pytest.approx([e / sum(expected) for e in expected], abs=0.015)


def test_cdb_s_is_class_balanced_before_the_first_measurement():
    parts = get_method("cdb-s").parts(STATS)
    assert drawn(parts) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.015)


def test_progressive_follows_the_length_of_the_training():
    sampler = get_method("progressive").parts(STATS).sampler
    shares = []
    for epoch in (0, 5, 9):
        sampler.set_epoch(epoch)
        shares.append(float((STATS.labels[torch.tensor(list(sampler))] == 0).double().mean()))
    assert shares == pytest.approx([600 / 850, 0.5 * 600 / 850 + 0.5 / 3, 0.1 * 600 / 850 + 0.9 / 3], abs=0.05)


def test_cdb_s_and_its_difficulty_are_connected():
    parts = get_method("cdb-s", tau=1, momentum=0).parts(STATS)
    parts.difficulty.step([1.0, 1.0, 0.0, 0.0])
    assert drawn(parts, epochs=1) == [0, 0, 1, 0]
    parts.difficulty.double().float()
    parts.difficulty.step([0.0, 1.0, 1.0, 0.0])
    assert drawn(parts, epochs=1) == [1, 0, 0, 0]
