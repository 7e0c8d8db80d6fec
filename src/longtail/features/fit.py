"""A linear classifier on fixed features: the whole training set at once, and out of fold."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from longtail.checks import check_labels, check_range
from longtail.errors import LongtailError

__all__ = ["fit_linear", "folds_of", "out_of_fold"]

_ENOUGH = 3e-4
"""The fit ends where no entry of the gradient is larger than this share of the largest one at zero weights."""


@torch.inference_mode(False)
@torch.enable_grad()
def fit_linear(
    x: Tensor,
    y: Tensor,
    criterion: Callable[[Tensor, Tensor], Tensor],
    *,
    num_classes: int,
    l2: float,
    init: tuple[Tensor, Tensor] | None = None,
    max_iter: int = 300,
) -> tuple[Tensor, Tensor]:
    """The linear layer that minimises ``criterion(x @ W.T + b, y) + l2 / 2 * (W ** 2).sum()``.

    L-BFGS on all samples at once; the bias is not penalised. The features are taken as they are: standardise them and
    divide them by the square root of their number, so that one ``l2`` means the same for any network. Nothing is drawn
    at random: the same input gives the same layer.

    Args:
        x: Features ``[N, D]``, of any floating-point type; computed in float32.
        y: Class indices ``[N]``.
        criterion: ``criterion(logits [N, C], target [N]) -> scalar``, a mean over samples that is the same at every
            call.
        num_classes: Number of classes.
        l2: Strength of the penalty, at least 0.
        init: Start from this layer; default: zeros. It decides how long the fit takes, not where a convex criterion
            ends.
        max_iter: Largest number of iterations.

    Returns:
        ``W [C, D]`` and ``b [C]``, float32 on the device of ``x``.

    Raises:
        LongtailError: shapes or labels that do not fit, features or a criterion that are not finite.
    """
    check_range(l2, "l2", 0, math.inf, open_high=True)
    x, y = _checked(x, y, num_classes)
    if init is None:
        W, b = x.new_zeros(num_classes, x.shape[1]), x.new_zeros(num_classes)
    else:
        W, b = (part.detach().to(x).clone() for part in init)
        if W.shape != (num_classes, x.shape[1]) or b.shape != (num_classes,):
            raise LongtailError(f"init must be W [{num_classes}, {x.shape[1]}] and b [{num_classes}]")
    # The features are as small as 1 / sqrt(D); steps in W * scale are of the size of steps in b.
    scale = 1 / float(x.square().mean(0).max().sqrt().clamp(min=1e-6))
    weight, bias = (W / scale).requires_grad_(), b.requires_grad_()

    def objective() -> Tensor:
        full = weight * scale
        loss = criterion(x @ full.T + bias, y) + l2 / 2 * full.square().sum()
        weight.grad, bias.grad = torch.autograd.grad(loss, (weight, bias))
        return loss.detach()

    optimizer = torch.optim.LBFGS(
        (weight, bias),
        max_iter=max_iter,
        max_eval=2 * max_iter,
        history_size=10,
        tolerance_grad=_ENOUGH * _slope_at_zero(x, y, criterion, num_classes, scale),
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )
    optimizer.step(objective)
    W, b = (weight * scale).detach(), bias.detach()
    if not bool(torch.isfinite(W).all() & torch.isfinite(b).all()):
        raise LongtailError("the fit of the linear layer did not stay finite: a larger l2 or another criterion may do")
    return W, b


def _checked(x: Tensor, y: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Features as float32 that autograd may keep, and labels as int64 beside them."""
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise LongtailError(f"features are [N, D] and labels [N], not {list(x.shape)} and {list(y.shape)}")
    if not x.numel():
        raise LongtailError(f"features [N, D] of shape {list(x.shape)}: there is nothing to fit")
    check_labels(y, num_classes)
    x, y = x.detach().float(), y.detach().to(x.device, torch.int64)
    if not bool(torch.isfinite(x).all()):
        raise LongtailError("features must be finite: some are NaN or infinite")
    return (x.clone() if x.is_inference() else x), (y.clone() if y.is_inference() else y)


def _slope_at_zero(x: Tensor, y: Tensor, criterion: Callable, num_classes: int, scale: float) -> float:
    """The largest entry of the gradient at zero weights: what a small gradient is measured by."""
    logits = x.new_zeros(len(x), num_classes).requires_grad_()
    loss = criterion(logits, y)
    if not bool(torch.isfinite(loss)):
        raise LongtailError("the criterion is not finite where all logits are 0")
    (slope,) = torch.autograd.grad(loss, logits)
    return max(float((slope.T @ x).abs().max()) * scale, float(slope.sum(0).abs().max()))


def folds_of(y: Tensor, *, folds: int = 5, groups: Tensor | None = None, seed: int = 0) -> Tensor:
    """Which fold each sample is in: every class spread evenly, no group parted.

    Without groups the folds hold equally many samples of a class, give or take one, and of all classes likewise; a
    class with fewer samples than folds is in as many folds as it has samples. With groups, the largest are dealt first,
    each to the fold that has the smallest share of its classes so far; a class of one group is in one fold.

    Args:
        y: Class indices ``[N]``.
        folds: Number of folds, at least 2.
        groups: Group number of each sample, ``[N]``: near copies, frames of one film; None: every sample is its own.
        seed: Of the random order in which equals are dealt.

    Returns:
        int64 ``[N]`` in [0, folds), on the CPU.

    Raises:
        LongtailError: fewer than 2 folds, or fewer samples or groups than folds.
    """
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise LongtailError(f"folds is {folds!r}: it must be a whole number of at least 2")
    if groups is not None and groups.shape != y.shape:
        raise LongtailError(f"groups must be one number a sample, [{len(y)}], not {list(groups.shape)}")
    own = torch.arange(len(y)) if groups is None else groups.cpu().unique(return_inverse=True)[1]
    number = int(own.max()) + 1 if len(own) else 0
    if number < folds:
        what = "samples" if groups is None else "groups of samples"
        raise LongtailError(f"{number} {what} make no {folds} folds: add some, or use fewer folds")
    order = torch.randperm(number, generator=torch.Generator().manual_seed(seed))
    sizes = torch.bincount(own, minlength=number)
    members = own.argsort(stable=True).split(sizes.tolist())
    first = y.cpu()[torch.stack([rows[0] for rows in members])]
    for key in (first, -sizes):  # the largest first, of equals class by class, so that the folds stay equally full
        order = order[key[order].argsort(stable=True)]
    classes = y.cpu().tolist()
    totals = torch.bincount(y.cpu()).tolist()
    held = [[0] * folds for _ in totals]  # samples of each class in each fold
    full = [0] * folds
    result = torch.empty(len(y), dtype=torch.int64)
    for group in order.tolist():
        labels = [classes[row] for row in members[group].tolist()]
        its = set(labels)

        def crowded(fold: int, its: set[int] = its) -> tuple[float, int]:
            return sum(held[c][fold] / totals[c] for c in its), full[fold]

        fold = min(range(folds), key=crowded)
        for c in labels:
            held[c][fold] += 1
        full[fold] += len(labels)
        result[members[group]] = fold
    return result


@torch.inference_mode(False)
@torch.no_grad()
def out_of_fold(
    x: Tensor,
    y: Tensor,
    criterion: Callable[[Tensor, Tensor], Tensor],
    *,
    num_classes: int,
    folds: Tensor,
    l2: float,
    layers: dict[int, tuple[Tensor, Tensor]] | None = None,
    max_iter: int = 300,
) -> Tensor:
    """Logits of every sample by a layer that was fitted without its fold.

    No layer starts from a fit on all samples: where it does not quite reach its own minimum it would remember the fold
    that it must not know.

    Args:
        x: Features ``[N, D]``, as in `fit_linear`.
        y: Class indices ``[N]``.
        criterion: As in `fit_linear`.
        num_classes: Number of classes.
        folds: The fold of each sample, ``[N]``, of `folds_of`.
        l2: As in `fit_linear`.
        layers: What was fitted without each fold before, with another criterion: the fits start from there, and their
            results are entered in its place. None: they start from zeros.
        max_iter: As in `fit_linear`.

    Returns:
        float32 logits ``[N, C]`` on the device of ``x``.

    Raises:
        LongtailError: as in `fit_linear`, or all samples in one fold.
    """
    x, y = _checked(x, y, num_classes)
    folds = folds.to(x.device)
    if folds.shape != y.shape:
        raise LongtailError(f"folds must be one number a sample, [{len(y)}], not {list(folds.shape)}")
    numbers = folds.unique().tolist()
    if len(numbers) < 2:
        raise LongtailError("all samples are in one fold: nothing is left to fit without it")
    layers = {} if layers is None else layers
    logits = x.new_empty(len(x), num_classes)
    for number in numbers:
        out, init = folds == number, layers.get(number)
        W, b = layers[number] = fit_linear(
            x[~out], y[~out], criterion, num_classes=num_classes, l2=l2, init=init, max_iter=max_iter
        )
        logits[out] = x[out] @ W.T + b
    return logits
