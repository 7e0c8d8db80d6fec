"""scikit-learn: any classifier with ``sample_weight``, its classes weighted by how difficult they are for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    _check_y,
    check_consistent_length,
    check_is_fitted,
    has_fit_parameter,
    validate_data,
)

from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.integrations._content import folds_by_content

__all__ = ["DifficultyWeightedClassifier"]


def _has(name: str) -> Any:
    return available_if(lambda self: hasattr(getattr(self, "estimator_", None) or self._inner(), name))


class DifficultyWeightedClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier whose samples weigh as their class is difficult for it, measured by cross-validation.

    Each round predicts every training sample by a fit without it, makes the accuracy of each class into weights (as
    `ClassDifficulty` does), and goes on with these; the last fit is on all samples.

    The folds are stratified and follow from the samples themselves: copies of one are never parted, a sample of weight
    2 is as good as two of them, and their order does not matter.

    Args:
        estimator: A classifier whose ``fit`` takes ``sample_weight``; None: logistic regression.
        rounds: Measurements; 0: no weights.
        folds: Of the cross-validation.
        tau, momentum, min_difficulty: As in `ClassDifficulty`; the weights average to 1 over the samples.
        random_state: Seed of the folds, a whole number.

    Attributes:
        estimator_: The fitted classifier.
        classes_: The labels.
        class_weight_: Weight of each of ``classes_``.
        difficulty_: The `ClassDifficulty` after the last round.
    """

    def __init__(
        self, estimator: Any = None, *, rounds: int = 3, folds: int = 5, tau: Any = 1.0, momentum: float = 0.5,
        min_difficulty: float = 0.01, random_state: int = 0,
    ) -> None:  # fmt: skip
        self.estimator, self.rounds, self.folds, self.random_state = estimator, rounds, folds, random_state
        self.tau, self.momentum, self.min_difficulty = tau, momentum, min_difficulty

    def _inner(self) -> Any:
        return LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator

    def _fresh(self) -> Any:
        return clone(self._inner())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DifficultyWeightedClassifier:
        """Fit; ``sample_weight`` is multiplied by the weight of each sample's class."""
        X = self._checked(X, reset=True)
        y = _check_y(y, estimator=self)
        check_classification_targets(y)
        check_consistent_length(X, y)
        if not has_fit_parameter(self._inner(), "sample_weight"):
            raise LongtailError(f"{type(self._inner()).__name__} takes no sample_weight: choose another classifier")
        if self.folds < 2:
            raise LongtailError(f"folds is {self.folds}: it must be at least 2")
        self.classes_, target = np.unique(y, return_inverse=True)
        given = np.ones(len(y)) if sample_weight is None else _check_sample_weight(sample_weight, X)
        counts = np.bincount(target, weights=given)
        self.difficulty_ = ClassDifficulty(
            len(counts), class_counts=counts.tolist(), normalize="samples", tau=self.tau, momentum=self.momentum,
            min_difficulty=self.min_difficulty,
        )  # fmt: skip
        fold = folds_by_content(X, target, given > 0, folds=self.folds, seed=self.random_state)
        for _ in range(self.rounds if len(counts) > 1 else 0):
            right = given * self._right(X, y, fold, given * self.difficulty_.weight.double().numpy()[target])
            with np.errstate(invalid="ignore"):
                self.difficulty_.step(torch.from_numpy(np.bincount(target, weights=right) / counts), trained=True)
        self.class_weight_ = self.difficulty_.weight.double().numpy()
        self.estimator_ = self._fresh().fit(X, y, sample_weight=given * self.class_weight_[target])
        return self

    def _right(self, X: Any, y: Any, fold: Any, weight: Any) -> Any:
        """Which samples a fit without their fold gets right."""
        right = np.zeros(len(y), dtype=bool)
        for held_out in range(self.folds):
            own, others = np.flatnonzero(fold == held_out), np.flatnonzero((fold != held_out) & (weight > 0))
            if len(own) and len(np.unique(y[others])) > 1:  # of one class nothing is learnt
                model = self._fresh().fit(_safe_indexing(X, others), y[others], sample_weight=weight[others])
                right[own] = model.predict(_safe_indexing(X, own)) == y[own]
        return right

    def _checked(self, X: Any, *, reset: bool) -> Any:
        """A table as it is, with its columns for the classifier; anything else as an array."""
        tags = get_tags(self._inner()).input_tags
        words: dict[str, Any] = {
            "accept_sparse": "csr" if tags.sparse else False,
            "dtype": None,
            "ensure_all_finite": False,
        }
        words = {"skip_check_array": True} if hasattr(X, "columns") else words
        return validate_data(self, X, reset=reset, **words)

    def _ask(self, name: str, X: Any) -> Any:
        check_is_fitted(self)
        return getattr(self.estimator_, name)(self._checked(X, reset=False))

    def predict(self, X: Any) -> Any:
        return self._ask("predict", X)

    @_has("predict_proba")
    def predict_proba(self, X: Any) -> Any:
        return self._ask("predict_proba", X)

    @_has("decision_function")
    def decision_function(self, X: Any) -> Any:
        return self._ask("decision_function", X)

    def __sklearn_tags__(self) -> Any:
        tags, inner = super().__sklearn_tags__(), get_tags(self._inner())
        tags.input_tags, tags.classifier_tags = inner.input_tags, inner.classifier_tags
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = False
        return tags
