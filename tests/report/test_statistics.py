"""Means, spreads, t-intervals and rank correlations against naive code and against scipy."""

from __future__ import annotations

import math
import statistics

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from longtail.report.statistics import paired, rank_correlation, spread, t_quantile

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


def test_seeds_needed_is_the_smallest_number_whose_interval_leaves_out_zero():
    p = paired([0.03, -0.01, 0.02])
    assert p is not None
    assert p.std is not None
    assert not p.clear
    n = p.seeds_needed
    assert n is not None

    def half(n: int) -> float:
        return scipy.stats.t.ppf(0.975, n - 1) * p.std / math.sqrt(n)

    assert half(n) < p.mean <= half(n - 1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20))
def test_rank_correlation_is_spearmans(pairs):
    a, b = zip(*pairs, strict=True)
    ours = rank_correlation(a, b)
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert ours is None
    else:
        assert ours == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-9)
