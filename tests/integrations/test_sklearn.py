"""The wrapper is an estimator of scikit-learn, and helps the classes that the classifier finds hard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator
from threadpoolctl import threadpool_limits

from longtail import LongtailError
from longtail.integrations._content import digests, folds_by_content
from longtail.integrations.sklearn import DifficultyWeightedClassifier


def table(counts: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    return generator.normal(size=(len(y), 4)) + 1.2 * np.eye(4)[y], y


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with threadpool_limits(1):  # two that share a core with another process make each fit many times slower
        yield


X, Y = table([300, 60, 20, 8], 0)
TEST = table([200] * 4, 1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", [None, DecisionTreeClassifier(random_state=0)], ids=str)
def test_it_passes_the_checks_of_scikit_learn(estimator: Any) -> None:
    """Also that a sample of weight 2 is two samples, which cross-validation by chance would break."""
    results = check_estimator(DifficultyWeightedClassifier(estimator), on_fail=None, on_skip=None)
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []
    assert "check_sample_weight_equivalence_on_dense_data" in {r["check_name"] for r in results}


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), DecisionTreeClassifier(max_depth=4, random_state=0)], ids=str
)
def test_rare_and_hard_classes_weigh_more_and_are_found_more_often(estimator: Any) -> None:
    plain = DifficultyWeightedClassifier(estimator, rounds=0).fit(X, Y)
    assert plain.class_weight_.tolist() == [1] * 4
    assert np.array_equal(plain.predict(TEST[0]), estimator.fit(X, Y).predict(TEST[0]))
    ours = DifficultyWeightedClassifier(estimator).fit(X, Y)
    assert ours.class_weight_[0] < 1 < ours.class_weight_[3]
    assert np.average(ours.class_weight_[Y]) == pytest.approx(1, rel=1e-5)
    gain = balanced_accuracy_score(TEST[1], ours.predict(TEST[0])) - balanced_accuracy_score(
        TEST[1], plain.predict(TEST[0])
    )
    assert gain > 0.02
    assert ours.difficulty_.steps == 3


def test_neither_the_order_of_the_samples_nor_copies_change_the_folds() -> None:
    order = np.random.default_rng(0).permutation(len(Y))
    ours, other = (DifficultyWeightedClassifier().fit(X[rows], Y[rows]) for rows in (slice(None), order))
    np.testing.assert_allclose(ours.class_weight_, other.class_weight_, rtol=1e-6)
    twice = np.concatenate([np.arange(len(Y)), np.arange(len(Y))])
    doubled = DifficultyWeightedClassifier(LogisticRegression(C=0.5)).fit(X[twice], Y[twice])
    whole = DifficultyWeightedClassifier(LogisticRegression(C=0.5)).fit(X, Y, sample_weight=np.full(len(Y), 2.0))
    np.testing.assert_allclose(doubled.class_weight_, whole.class_weight_, rtol=1e-6)


def test_every_class_is_spread_over_the_folds() -> None:
    found = folds_by_content(X, Y, np.ones(len(Y), dtype=bool), folds=5, seed=0)
    table = np.array([[np.sum((c == Y) & (found == k)) for k in range(5)] for c in range(4)])
    assert (table.max(1) - table.min(1) <= 1).all()


def test_tables_keep_their_columns_and_pipelines_hold_it() -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["kind"] = pd.Categorical(np.where(Y % 2, "odd", "even"))
    boosted = DifficultyWeightedClassifier(
        HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=10, random_state=0), rounds=1
    ).fit(frame, Y)
    assert boosted.feature_names_in_.tolist() == [*"abcd", "kind"]
    assert (boosted.predict(frame) == Y).mean() > 0.8
    with pytest.raises(ValueError, match="feature names"):
        boosted.predict(frame.rename(columns={"a": "z"}))
    names = np.array(["ant", "bee", "cow", "dog"])[Y]
    piped = make_pipeline(StandardScaler(), DifficultyWeightedClassifier()).fit(X, names)
    assert set(piped.predict(X)) <= set(names)
    assert piped.predict_proba(X).shape == (len(X), 4)


def test_rows_are_told_apart_by_their_values() -> None:
    objects = np.array([["a", 1], ["a", 2], ["a", 1]], dtype=object)
    for rows in (objects, np.array([[0.0, 1], [0, 2], [0, 1]])):
        one, other, again = digests(rows, 0)
        assert one == again != other and digests(rows, 1)[0] != one


def test_a_class_with_one_sample_and_one_without_weight() -> None:
    x, y = table([20, 5, 1], 0)
    assert DifficultyWeightedClassifier().fit(x, y).class_weight_[2] > 1
    weight = np.where(y == 2, 0.0, 1.0)
    assert np.isfinite(DifficultyWeightedClassifier().fit(x, y, sample_weight=weight).class_weight_).all()


def test_what_cannot_be_weighted_is_told() -> None:
    with pytest.raises(LongtailError, match="KNeighborsClassifier takes no sample_weight"):
        DifficultyWeightedClassifier(KNeighborsClassifier()).fit(X, Y)
    with pytest.raises(LongtailError, match="folds is 1: it must be at least 2"):
        DifficultyWeightedClassifier(folds=1).fit(X, Y)
    with pytest.raises(LongtailError, match="tau"):
        DifficultyWeightedClassifier(tau=-1).fit(X, Y)
