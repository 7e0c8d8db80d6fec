"""Laws of bias, tau and weights (Eq. 1-10)."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from clear import assert_clear
from longtail.errors import LongtailError
from longtail.functional import difficulty_shift, difficulty_weights, dynamic_tau, performance_bias

PAPER = ("linear", "poly", "log", "sigmoid")
RULES = (*PAPER, "accv", "code2020")
TAUS = (0, 0.5, 1, 2.0, 5, *RULES)

accuracies = st.lists(st.integers(0, 50).map(lambda m: m / 50), min_size=1, max_size=12)
rules = st.sampled_from(RULES)
taus = st.sampled_from(TAUS)


def tensor(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def naive_tau(bias: float, growth: str, max_tau: float, eps: float, power: float) -> float:
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    largest = 1 / eps - 1
    return {
        "linear": bias / largest * max_tau,
        "poly": (bias / largest) ** power * max_tau,
        "log": max_tau / math.log(largest + 1) * math.log(bias + 1),
        "sigmoid": 2 * max_tau * sigmoid(bias) - max_tau,
        "accv": 2 * sigmoid(bias),
        "code2020": sigmoid(bias + 1),
    }[growth]


def naive_weights(accuracy: list[float], tau: float | str, normalize: bool, floor: float = 0.0) -> list[float]:
    bias = max(max(accuracy) / (min(accuracy) + 0.01) - 1, 0)
    exponent = naive_tau(bias, tau, 5.0, 0.01, 2.0) if isinstance(tau, str) else tau
    weights = [max(1 - a, floor) ** exponent for a in accuracy]
    if normalize:
        total = sum(weights)
        weights = [w / total * len(weights) if total else 1.0 for w in weights]
    return weights


# Bias (Eq. 5)


@given(accuracies)
def test_bias_is_the_formula(accuracy):
    expected = max(max(accuracy) / (min(accuracy) + 0.01) - 1, 0)
    assert float(performance_bias(tensor(accuracy))) == pytest.approx(expected, abs=1e-12)


@given(accuracies)
def test_bias_is_not_negative_bounded_and_zero_iff_equal(accuracy):
    bias = float(performance_bias(tensor(accuracy)))
    assert 0 <= bias <= 99 + 1e-9
    # Accuracies are multiples of 0.02, so that "equal" and "within eps of each other" are the same.
    assert (bias == 0) == (len(set(accuracy)) == 1)


def test_bias_is_zero_while_no_two_classes_differ_by_more_than_eps():
    assert performance_bias(tensor([0.5, 0.5099])) == 0
    assert performance_bias(tensor([0.5, 0.511])) > 0


@given(accuracies, st.integers(0, 11), st.floats(0, 1))
def test_bias_grows_when_the_best_class_gets_better(accuracy, index, gain):
    best = accuracy.index(max(accuracy))
    better = list(accuracy)
    better[best] += (1 - better[best]) * gain
    if len(accuracy) > 1:
        assert performance_bias(tensor(better)) >= performance_bias(tensor(accuracy)) - 1e-12


# tau (Eq. 6-10)


@given(st.floats(0, 99), rules, st.floats(0.1, 10), st.sampled_from([1.0, 2.0, 3.0]))
def test_tau_is_the_formula(bias, growth, max_tau, power):
    value = float(dynamic_tau(tensor([bias]), growth=growth, max_tau=max_tau, power=power))
    assert value == pytest.approx(naive_tau(bias, growth, max_tau, 0.01, power), rel=1e-9, abs=1e-12)


@given(st.floats(0, 99), st.floats(0, 99), rules)
def test_tau_is_monotone_and_bounded(one, other, growth):
    low, high = sorted((one, other))
    taus = dynamic_tau(tensor([low, high]), growth=growth)
    assert taus[0] <= taus[1]
    assert taus[0] >= 0
    assert taus[1] <= (5 if growth in PAPER else 2) + 1e-9


@pytest.mark.parametrize("growth", PAPER)
@pytest.mark.parametrize("eps", [0.01, 0.1])
def test_the_laws_of_the_paper_meet_at_both_ends(growth, eps):
    ends = dynamic_tau(tensor([0.0, 1 / eps - 1]), growth=growth, eps=eps)
    assert ends[0] == 0
    assert float(ends[1]) == pytest.approx(5, rel=1e-3)  # the sigmoid of a bias of 9 is 1 but for 1e-4


def test_power_one_is_the_linear_law():
    bias = torch.linspace(0, 99, 50)
    torch.testing.assert_close(dynamic_tau(bias, growth="poly", power=1), dynamic_tau(bias, growth="linear"))


def test_sigmoid_law_keeps_its_digits_near_balance():
    assert float(dynamic_tau(1e-9)) == pytest.approx(2.5e-9, rel=1e-6)  # slope max_tau / 2 at 0


@pytest.mark.parametrize(("bias", "tau"), [(0.5, 1.22), (1, 2.31), (2, 3.81), (3, 4.53), (5, 4.93), (99, 5.0)])
def test_golden_values_of_the_sigmoid_law(bias, tau):
    assert float(dynamic_tau(bias)) == pytest.approx(tau, abs=0.006)


def test_rules_of_the_public_code():
    best, worst = 0.9, 0.3
    accuracy = tensor([best, 0.5, worst])
    b = best / (worst + 0.01)  # the CIFAR code's bias has no "- 1"
    bias = performance_bias(accuracy)
    assert float(dynamic_tau(bias, growth="code2020")) == pytest.approx(1 / (1 + math.exp(-b)))
    assert float(dynamic_tau(bias, growth="accv")) == pytest.approx(2 / (1 + math.exp(-(b - 1))))


# Weights (Eq. 2-4)


@given(accuracies, taus, st.booleans(), st.sampled_from([0.0, 0.05]))
def test_weights_are_the_formula(accuracy, tau, normalize, floor):
    weights = difficulty_weights(tensor(accuracy), tau=tau, normalize=normalize, min_difficulty=floor)
    expected = naive_weights(accuracy, tau, normalize, floor)
    assert weights.tolist() == pytest.approx(expected, rel=1e-8, abs=1e-12)


@given(accuracies, taus)
def test_weights_sum_to_the_number_of_classes(accuracy, tau):
    weights = difficulty_weights(tensor(accuracy), tau=tau)
    assert bool(torch.isfinite(weights).all())
    assert float(weights.sum()) == pytest.approx(len(accuracy))


@given(accuracies, taus)
def test_weights_without_normalisation_are_in_the_unit_interval(accuracy, tau):
    weights = difficulty_weights(tensor(accuracy), tau=tau, normalize=False)
    assert bool(((weights >= 0) & (weights <= 1)).all())


@given(accuracies, taus, st.booleans())
def test_a_harder_class_is_never_lighter(accuracy, tau, normalize):
    weights = difficulty_weights(tensor(accuracy), tau=tau, normalize=normalize)
    from_easy_to_hard = weights[tensor(accuracy).argsort(descending=True, stable=True)]
    assert bool((from_easy_to_hard.diff() >= -1e-12).all())


@given(accuracies, taus, st.booleans(), st.randoms(use_true_random=False))
def test_weights_follow_a_permutation_of_the_classes(accuracy, tau, normalize, random):
    order = list(range(len(accuracy)))
    random.shuffle(order)
    weights = difficulty_weights(tensor(accuracy), tau=tau, normalize=normalize)
    shuffled = difficulty_weights(tensor([accuracy[i] for i in order]), tau=tau, normalize=normalize)
    torch.testing.assert_close(shuffled, weights[order])


@pytest.mark.parametrize("normalize", [True, False])
def test_tau_zero_gives_ones_exactly_even_for_a_perfect_class(normalize):
    assert difficulty_weights(torch.tensor([1.0, 0.3, 0.0]), tau=0, normalize=normalize).tolist() == [1, 1, 1]


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("accuracy", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("num_classes", [1, 2, 3, 1000])
def test_equal_classes_have_weight_one_exactly(tau, accuracy, num_classes):
    assert difficulty_weights(torch.full((num_classes,), accuracy), tau=tau).unique().tolist() == [1]


@pytest.mark.parametrize("tau", TAUS)
def test_all_classes_perfect(tau):
    perfect = torch.ones(4)
    assert difficulty_weights(perfect, tau=tau).tolist() == [1] * 4
    # The literal formula: 0 ** tau, which is 1 where the rule's tau is 0.
    literal = 1 if tau == 0 or tau in PAPER else 0
    assert difficulty_weights(perfect, tau=tau, normalize=False).tolist() == [literal] * 4
    assert difficulty_weights(perfect, tau=tau, normalize=False, min_difficulty=1).tolist() == [1] * 4


def test_two_classes_one_perfect_is_the_flip_that_a_floor_prevents():
    accuracy = torch.tensor([1.0, 0.0])
    assert difficulty_weights(accuracy).tolist() == [0, 2]
    assert difficulty_weights(accuracy, tau=1, min_difficulty=0.1).tolist() == pytest.approx([2 / 11, 20 / 11])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_computed_in_float32_and_does_not_underflow(dtype):
    weights = difficulty_weights(torch.tensor([0.98, 0.0]).to(dtype), tau=5, normalize=False)
    assert weights.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert 1e-9 < float(weights[0]) < 1e-8


def test_large_tau_does_not_underflow_when_normalised():
    weights = difficulty_weights(torch.tensor([0.999, 0.9985]), tau=30)
    ratio = 1.5**30
    assert weights.tolist() == pytest.approx([2 / (1 + ratio), 2 * ratio / (1 + ratio)], rel=0.02)


@pytest.mark.parametrize("num_classes", [1000, 8142])
def test_thousands_of_classes(num_classes):
    weights = difficulty_weights(torch.rand(num_classes))
    assert float(weights.double().sum()) == pytest.approx(num_classes, rel=1e-5)


def test_difficulty_is_differentiable():
    accuracy = tensor([0.9, 0.55, 0.2, 0.4]).requires_grad_()
    for tau in (1.5, *RULES):
        assert torch.autograd.gradcheck(lambda a, tau=tau: difficulty_weights(a, tau=tau), (accuracy,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"performance": torch.tensor([0.5, math.nan])}, "performance of class 1 is nan"),
        ({"performance": torch.tensor([-0.1, 0.5])}, "performance of class 0 is -0.1: it must be in"),
        ({"performance": torch.tensor([0.5, 60.0])}, "performance of class 1 is 60"),
        ({"performance": torch.tensor([0.5, math.inf])}, "performance of class 1 is inf"),
        ({"performance": torch.tensor(0.5)}, "shape"),
        ({"performance": torch.empty(0)}, "shape"),
        ({"tau": -1}, "tau is -1"),
        ({"tau": math.nan}, "tau is nan"),
        ({"tau": math.inf}, "tau is inf"),
        ({"tau": True}, "tau is True"),
        ({"tau": None}, "tau is None"),
        ({"tau": "quadratic"}, "unknown tau rule 'quadratic': known are linear, poly"),
        ({"max_tau": -1}, "max_tau is -1"),
        ({"eps": 0}, "eps is 0"),
        ({"eps": 1}, "eps is 1"),
        ({"tau": "poly", "power": 0}, "power is 0"),
        ({"min_difficulty": 1.5}, "min_difficulty is 1.5"),
        ({"min_difficulty": "a"}, "min_difficulty is 'a'"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments, message):
    arguments = {"performance": torch.tensor([0.2, 0.8])} | arguments
    with pytest.raises(LongtailError, match=message) as error:
        difficulty_weights(arguments.pop("performance"), **arguments)
    assert_clear(error.value)


def test_an_accuracy_that_rounds_to_above_one_is_accepted():
    weights = difficulty_weights(torch.tensor([1 + 1e-7, 0.5]))
    assert weights.tolist() == [0, 2]


# Quantiles in the bias, weights as a shift of the logits


@given(accuracies, st.floats(0, 0.49))
def test_the_bias_by_quantiles_is_never_larger(accuracy, quantile):
    full = performance_bias(tensor(accuracy))
    assert 0 <= float(performance_bias(tensor(accuracy), quantile=quantile)) <= float(full) + 1e-9
    assert torch.equal(performance_bias(tensor(accuracy), quantile=0), full)


def test_one_failed_class_of_many_does_not_saturate_the_bias_by_quantiles():
    accuracy = torch.tensor([0.0, *[0.5] * 98, 0.9])
    assert performance_bias(accuracy) > 80
    assert performance_bias(accuracy, quantile=0.05) == 0


@pytest.mark.parametrize("quantile", [-0.1, 0.5, "median", math.nan])
def test_another_quantile_is_refused(quantile):
    with pytest.raises(LongtailError, match="bias_quantile is"):
        performance_bias(tensor([0.1, 0.9]), quantile=quantile)


@given(st.lists(st.floats(0, 4), min_size=1, max_size=6), st.floats(0, 3))
def test_the_shift_is_the_formula_and_handicaps_the_heavier_class(weights, strength):
    shift = difficulty_shift(tensor(weights), strength=strength)
    largest = max(weights)
    expected = [-strength * math.log(max(w / largest, 1e-3)) if largest > 1e-300 else 0 for w in weights]
    assert shift.tolist() == pytest.approx(expected, abs=1e-9)
    heavy_first = shift[tensor(weights).argsort(descending=True)]
    assert bool((heavy_first.diff() >= 0).all())


def test_equal_weights_shift_nothing_exactly():
    for weight in (0.0, 1.0, 2.5):
        assert difficulty_shift(torch.full((3,), weight)).tolist() == [0, 0, 0]
