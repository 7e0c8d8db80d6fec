"""Chosen by cross-validation on the training samples: the features, and the weight decay of a method's loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from longtail.features.fit import fit_linear
from longtail.functional.counting import correct_counts

__all__ = ["DECAYS", "FOLDS", "choose_decay", "cross_validate"]

DECAYS = (2e-4, 6e-5, 2e-5, 6e-6, 2e-6)
"""Strengths that are tried, strongest first, for features of mean square length 1."""
FOLDS = 3
_COMPONENTS = 256
"""The best strength hardly depends on how many principal components there are; the time does."""
_ITERATIONS = 20
Criterion = Callable[[Tensor, Tensor], Tensor]


def cross_validate(
    x: Tensor, y: Tensor, criterion: Criterion, *, num_classes: int, folds: Tensor, decays: Sequence[float] = DECAYS
) -> list[float]:
    """Class-mean accuracy out of fold for each strength of the weight decay.

    The fits of a fold follow each other from the strongest decay to the weakest, each from where the one before ended.

    Args:
        x: Features ``[N, K]``, of `projection_of`: the first components are the largest.
        y: Class indices ``[N]``.
        criterion: ``criterion(logits [N, C], target [N]) -> scalar``.
        num_classes: Number of classes.
        folds: The fold of each sample, ``[N]``.
        decays: Strengths, the strongest first.
    """
    x = x[:, :_COMPONENTS].contiguous()
    right = torch.zeros(len(decays), num_classes, dtype=torch.float64)
    total = torch.zeros(num_classes, dtype=torch.float64)
    for fold in folds.unique().tolist():
        out = folds == fold
        layer = None
        for i, decay in enumerate(decays):
            layer = fit_linear(
                x[~out], y[~out], criterion, num_classes=num_classes, l2=decay, init=layer, max_iter=_ITERATIONS
            )
            counts = correct_counts(x[out] @ layer[0].T + layer[1], y[out], num_classes=num_classes).double().cpu()
            right[i] += counts[0]
        total += counts[1]
    return (right / total).nanmean(1).tolist()


def choose_decay(scores: Sequence[float], decays: Sequence[float] = DECAYS) -> float:
    """The strength with the best score, of equals the strongest."""
    return decays[max(range(len(decays)), key=lambda i: (round(scores[i], 6), decays[i]))]
