"""Means, spreads, t-intervals and rank correlations against naive code and against scipy."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from longtail.report.statistics import Answers, bootstrap, holm, paired, rank_correlation, rounded, spread, t_quantile

fractions = st.floats(0, 1, allow_nan=False)


@pytest.mark.parametrize("dof", [1, 2, 3, 4, 5, 9, 10, 29, 100, 999])
@pytest.mark.parametrize("p", [0.5, 0.75, 0.975, 0.995, 0.9999])
def test_t_quantile_is_scipys(p, dof):
    assert t_quantile(p, dof) == pytest.approx(scipy.stats.t.ppf(p, dof), rel=1e-9, abs=1e-12)


def test_t_quantile_is_the_printed_table():
    printed = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042}
    assert {dof: round(t_quantile(0.975, dof), 3) for dof in printed} == printed


@given(st.lists(fractions, min_size=2, max_size=10))
def test_spread_is_mean_and_sample_deviation(values):
    s = spread(values)
    assert s is not None
    assert (s.n, s.mean) == (len(values), pytest.approx(statistics.fmean(values)))
    assert s.std == pytest.approx(statistics.stdev(values), abs=1e-12)


def test_nothing_is_made_up_from_none_or_one():
    assert spread([]) is None
    assert paired([]) is None
    one = spread([0.25])
    assert one is not None
    assert one.std is None
    p = paired([0.1])
    assert p is not None
    assert (p.n, p.mean, p.std, p.low, p.high, p.clear, p.seeds_needed) == (1, 0.1, None, None, None, False, None)


@given(st.lists(st.tuples(fractions, fractions), min_size=2, max_size=8))
def test_paired_interval_is_scipys(pairs):
    a, b = zip(*pairs, strict=True)
    differences = [x - y for x, y in pairs]
    p = paired(differences)
    assert p is not None
    assert p.std is not None
    if p.std > 1e-9:
        low, high = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
        assert (p.low, p.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
        assert p.clear == (low > 0 or high < 0)
    half = scipy.stats.t.ppf(0.975, len(pairs) - 1) * statistics.stdev(differences) / math.sqrt(len(pairs))
    assert p.high == pytest.approx(statistics.fmean(differences) + half, abs=1e-9)


@pytest.mark.parametrize("differences", [[0.03, -0.01, 0.02], [0.05, 0.04, 0.055], [0.1, -0.05, 0.02]])
def test_seeds_needed_is_the_smallest_number_with_80_percent_power(differences):
    p = paired(differences)
    assert p is not None and p.std is not None and p.seeds_needed is not None
    effect = p.mean / p.std

    def power(n: int) -> float:
        bound, shift = scipy.stats.t.ppf(0.975, n - 1), effect * math.sqrt(n)
        return np.nansum([scipy.stats.nct.sf(bound, n - 1, shift), scipy.stats.nct.cdf(-bound, n - 1, shift)])

    assert power(p.seeds_needed) >= 0.8
    assert p.seeds_needed == 2 or power(p.seeds_needed - 1) < 0.8


def test_without_spread_the_difference_is_sure_and_without_difference_nothing_is():
    same = paired([0.1, 0.1, 0.1])
    assert same is not None and (same.clear, same.seeds_needed) == (True, 2)
    none = paired([0.0, 0.0])
    assert none is not None and (none.clear, none.p, none.seeds_needed) == (False, 1.0, None)
    tiny = paired([1e-6, 1.0, -1.0])
    assert tiny is not None and tiny.seeds_needed is None


@given(st.lists(st.lists(fractions, min_size=2, max_size=4), min_size=1, max_size=6))
def test_holm_is_the_naive_procedure(samples):
    """Reject in the order of the p-values, until the first that is not below 0.05 over what is left."""
    found = [paired(sample) for sample in samples]
    corrected = holm(found)
    order = sorted(range(len(found)), key=lambda i: found[i].p)
    rejected = set()
    for rank, i in enumerate(order):
        if not found[i].p * (len(found) - rank) < 0.05:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(corrected) if p.clear} == rejected
    assert [(p.mean, p.low, p.high, p.p) for p in corrected] == [(p.mean, p.low, p.high, p.p) for p in found]
    adjusted = [p.p if p.adjusted is None else p.adjusted for p in corrected]
    assert all(a >= p.p for a, p in zip(adjusted, found, strict=True))
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_what_has_no_pairs_does_not_count_for_holm():
    one, other = paired([0.1, 0.2, 0.15]), paired([0.1, 0.11])
    assert holm([one, None, paired([0.2])])[0] == one
    assert holm([one, None, other])[0].comparisons == 2


def _answers(random, n, wrong, start=0):
    target = np.arange(n) % 4
    predicted = np.where(random.random(n) < wrong, (target + 1) % 4, target)
    return Answers(np.arange(start, start + n), target, predicted)


@pytest.mark.parametrize("measure", ["error", "top1", "recall"])
def test_the_bootstrap_over_one_pair_is_the_one_of_scipy(measure):
    """Of single images scipy draws the same distribution; its quantiles differ by the luck of the draw."""
    random = np.random.default_rng(3)
    a, b = _answers(random, 400, 0.1), _answers(random, 400, 0.2)
    found = bootstrap([(a, b)], measure)
    assert found is not None
    sign = -1 if measure == "error" else 1
    gain = sign * ((a.predicted == a.target).astype(float) - (b.predicted == b.target))
    interval = scipy.stats.bootstrap((gain,), np.mean, method="percentile", random_state=1).confidence_interval
    assert found == pytest.approx((interval.low, interval.high), abs=0.01)
    assert found[0] < gain.mean() < found[1]
    turned = bootstrap([(b, a)], measure)
    assert turned == pytest.approx((-found[1], -found[0]))


def test_the_bootstrap_draws_a_sample_once_for_all_seeds():
    """Seeds that were tested on the same samples with the same answers tell no more than one of them."""
    random = np.random.default_rng(0)
    a, b = _answers(random, 200, 0.1), _answers(random, 200, 0.2)
    one, three = bootstrap([(a, b)], "error"), bootstrap([(a, b)] * 3, "error")
    assert one == pytest.approx(three)
    others = [(_answers(random, 200, 0.1, 1000 * i), _answers(random, 200, 0.2, 1000 * i)) for i in range(1, 9)]
    many = bootstrap(others, "error")
    assert many is not None and one is not None
    assert many[1] - many[0] < 0.6 * (one[1] - one[0])  # other samples do: an eighth of the variance


def test_there_is_no_bootstrap_for_pairs_on_different_samples_or_for_other_measures():
    random = np.random.default_rng(0)
    a, b = _answers(random, 50, 0.1), _answers(random, 50, 0.2, start=1)
    assert bootstrap([(a, b)], "error") is None
    assert bootstrap([(a, a)], "f1") is None
    assert bootstrap([], "error") is None
    assert bootstrap([(a, a)], "error") == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20))
def test_rank_correlation_is_spearmans(pairs):
    a, b = zip(*pairs, strict=True)
    ours = rank_correlation(a, b)
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert ours is None
    else:
        assert ours == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(3.625, 2, "3.63"), (100 * 0.03625, 2, "3.63"), (-3.625, 2, "-3.63"), (0.004, 2, "0.00"), (-0.004, 2, "0.00"),
     (2.675, 2, "2.68"), (0.45, 1, "0.5"), (99.999, 1, "100.0"), (1234567.125, 2, "1234567.13"), (7, 0, "7")],
)  # fmt: skip
def test_one_rounding_to_the_nearest_with_halves_away_from_zero(value: float, digits: int, text: str) -> None:
    assert rounded(value, digits) == text
    assert rounded(value, digits, sign=True) == (f"+{text}" if value > 0 and float(text) else text)
