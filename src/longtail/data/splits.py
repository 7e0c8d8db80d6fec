"""Cut splits from the training part and thin it to a long tail; every choice is a function of the data seed.

The random orders come from numpy's legacy ``RandomState``, whose bit stream is frozen: the same seed picks the same
images on every machine and with every version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["class_orders", "cut_rows", "tail_rows"]


def class_orders(labels: Tensor, num_classes: int, seed: int) -> list[Tensor]:
    """The rows of each class in a seeded random order.

    Args:
        labels: int64 ``[N]``.
        num_classes: C.
        seed: The order of class c is a function of ``(seed, c)`` and of its size alone.

    Returns:
        C tensors of row numbers.
    """
    rows = torch.argsort(labels, stable=True).split(torch.bincount(labels, minlength=num_classes).tolist())
    return [own[torch.from_numpy(np.random.RandomState((seed, c)).permutation(len(own)))] for c, own in enumerate(rows)]


def cut_rows(
    labels: Tensor, num_classes: int, cuts: Mapping[str, int | float], seed: int
) -> tuple[dict[str, Tensor], list[int]]:
    """Cut stratified splits from a training part.

    A cut that is an int takes so many images of each class, a float that share of them (rounded, at least one). A class
    must leave at least one image to each cut and one to training; one that is too small for this trains as a whole.

    Args:
        labels: int64 ``[N]`` of the training part.
        num_classes: C.
        cuts: Name of the split to its amount, in the order of precedence.
        seed: Picks the images, never their number.

    Returns:
        Rows of each cut and of ``train``, sorted, disjoint and together all N; and the classes left whole.
    """
    taken: dict[str, list[Tensor]] = {name: [] for name in [*cuts, "train"]}
    whole = []
    for c, order in enumerate(class_orders(labels, num_classes, seed)):
        size, start = len(order), 0
        if 0 < size <= len(cuts):
            whole.append(c)
        if size > len(cuts):
            for waiting, (name, amount) in zip(range(len(cuts), 0, -1), cuts.items(), strict=True):
                wanted = amount if isinstance(amount, int) else max(1, int(amount * size + 0.5))
                stop = start + min(wanted, size - start - waiting)
                taken[name].append(order[start:stop])
                start = stop
        taken["train"].append(order[start:])
    empty = torch.empty(0, dtype=torch.int64)
    return {name: torch.cat([empty, *parts]).sort().values for name, parts in taken.items()}, whole


def tail_rows(labels: Tensor, counts: Sequence[int], seed: int) -> Tensor:
    """The sorted rows of a subset with at most ``counts[c]`` images of class c, at least one where there is one.

    With the same seed a stronger imbalance picks a subset of what a weaker one picks.
    """
    orders = class_orders(labels, len(counts), seed)
    return torch.cat([order[: max(1, n)] for order, n in zip(orders, counts, strict=True)]).sort().values
