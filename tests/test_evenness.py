"""How evenly the classes fare: the worst tenth, the geometric mean, the lowest class."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail.evenness import evenness, geometric_mean, lowest_class, worst_tenth
from longtail.metrics import Classification
from longtail.report.measures import measure_set

ACCURACY = st.lists(st.floats(0, 1), min_size=1, max_size=130)


@pytest.mark.parametrize(("classes", "counted"), [(1, 1), (9, 1), (10, 1), (19, 1), (20, 2), (101, 10), (1000, 100)])
def test_the_worst_tenth_is_rounded_down_and_at_least_one_class(classes, counted):
    rising = [i / classes for i in range(classes)]
    assert worst_tenth(reversed(rising)) == pytest.approx(statistics.fmean(rising[:counted]))


@given(ACCURACY)
def test_lowest_worst_tenth_and_mean_are_in_order_and_the_geometric_mean_is_below_the_mean(accuracy):
    lowest, tenth, mean = lowest_class(accuracy), worst_tenth(accuracy), statistics.fmean(accuracy)
    assert lowest - 1e-12 <= tenth <= mean + 1e-12
    floored = [max(a, 0.01) for a in accuracy]
    assert min(floored) - 1e-12 <= geometric_mean(accuracy) <= statistics.fmean(floored) + 1e-12
    assert geometric_mean(accuracy) == pytest.approx(math.prod(floored) ** (1 / len(floored)), rel=1e-9, abs=1e-300)


def test_classes_without_samples_take_no_part_and_without_any_there_is_no_number():
    assert evenness([0.5, None, float("nan"), 0.9]) == evenness([0.9, 0.5])
    assert evenness([None]) == {"worst_tenth": None, "geometric_mean": None, "lowest_class": None}


def test_one_dead_class_costs_no_more_than_one_at_one_percent():
    assert geometric_mean([0.0, 0.64]) == pytest.approx(0.08)


def test_the_classifier_reports_them_and_older_runs_give_the_same_from_their_classes():
    import torch

    metric = Classification([10] * 30)
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(30, (900,), generator=draw)
    metric.update(torch.where(torch.rand(900, generator=draw) < 0.6, target, (target + 1) % 30), target)
    found = metric.compute()
    worst = sorted(found["per_class"])[:3]
    assert found["worst_tenth"] == pytest.approx(sum(worst) / 3) and found["lowest_class"] == worst[0]
    older = {key: found[key] for key in ("top1", "recall", "per_class")}
    for key in ("worst_tenth", "geometric_mean", "lowest_class"):
        assert measure_set(older)[key].value(older) == pytest.approx(found[key])
        assert measure_set({"top1": 0.5})[key].value({"top1": 0.5}) is None
