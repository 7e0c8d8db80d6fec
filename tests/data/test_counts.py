"""The count laws of long-tailed subsets."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail.data.counts import long_tail_counts
from longtail.errors import LongtailError

TOTALS = {  # CIFAR100-LT as published, imbalance 10, 20, 50, 100, 200
    500: (19573, 15907, 12608, 10847, 9502),
    475: (18591, 15111, 11975, 10302, 9022),
    450: (17614, 14315, 11349, 9754, 8548),
}


@pytest.mark.parametrize(
    ("max_count", "imbalance", "total"),
    [(n, i, total) for n, row in TOTALS.items() for i, total in zip((10, 20, 50, 100, 200), row, strict=True)],
)
def test_cifar100_lt_totals(max_count: int, imbalance: int, total: int) -> None:
    counts = long_tail_counts(max_count, 100, imbalance=imbalance)
    assert sum(counts) == total
    assert counts[0] == max_count and counts[-1] == max_count // imbalance


def test_the_published_formula_written_out() -> None:
    for imbalance in (10, 50, 200):
        expected = [int(500 * (1 / imbalance) ** (c / 99)) for c in range(100)]
        assert long_tail_counts(500, 100, imbalance=imbalance) == expected


@given(
    st.integers(1, 10**6),
    st.integers(1, 300),
    st.floats(1, 1e5, allow_nan=False),
    st.sampled_from(["exp", "step"]),
)
def test_counts_fall_from_the_largest_to_the_smallest(n: int, classes: int, imbalance: float, kind: str) -> None:
    counts = long_tail_counts(n, classes, imbalance=imbalance, kind=kind)
    assert len(counts) == classes and counts[0] == n
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == (n if classes == 1 else int(n / imbalance))


@given(st.integers(1, 1000), st.integers(1, 50))
def test_imbalance_one_keeps_all_classes_equal(n: int, classes: int) -> None:
    assert long_tail_counts(n, classes, imbalance=1) == [n] * classes


def test_step_halves_the_classes() -> None:
    assert long_tail_counts(500, 4, imbalance=100, kind="step") == [500, 500, 5, 5]
    assert long_tail_counts(500, 5, imbalance=100, kind="step") == [500, 500, 500, 5, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"imbalance": 0.01}, "did you mean 100"),
        ({"imbalance": -3}, "at least 1"),
        ({"imbalance": float("nan")}, "at least 1"),
        ({"imbalance": 10, "kind": "linear"}, "known are exp, step"),
        ({"imbalance": 10, "max_count": 0}, "max_count"),
        ({"imbalance": 10, "num_classes": 0}, "num_classes"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        long_tail_counts(**{"max_count": 500, "num_classes": 10} | arguments)


def test_the_count_laws_load_no_torch() -> None:
    code = "import sys, longtail.data.counts; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
