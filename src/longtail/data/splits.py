"""Cut splits from the training part and thin it to a long tail; every choice is a function of the data seed.

The random orders come from numpy's legacy ``RandomState``, whose bit stream is frozen: the same seed picks the same
images on every machine and with every version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["class_orders", "cut_groups", "cut_rows", "sample_numbers", "tail_rows"]

TEST_FRACTION, VAL_FRACTION = 0.2, 0.15
"""Shares that are cut where a data set has no such split."""


def class_orders(labels: Tensor, num_classes: int, seed: int) -> list[Tensor]:
    """The rows of each class in a seeded random order.

    Args:
        labels: int64 ``[N]``.
        num_classes: Number of classes.
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
        num_classes: Number of classes.
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


def cut_groups(
    labels: Tensor, groups: Tensor, num_classes: int, cuts: Mapping[str, int | float], seed: int
) -> tuple[dict[str, Tensor], list[int]]:
    """Cut splits as `cut_rows` does, as nearly as it goes with every group on one side.

    The groups come in a random order, those of the class with the fewest first. One is taken if the class counts of the
    cut come nearer to the wanted ones (in squares, each class by its own amount), or if its class has nothing in the
    cut. Each class keeps a group for every later cut and for training; one with fewer groups trains as a whole, and so
    do the groups in which it occurs. Where every group is a single image the counts are those of `cut_rows`.

    Args:
        labels: int64 ``[N]`` of the training part.
        groups: int64 ``[N]``, what each image belongs to.
        num_classes: Number of classes.
        cuts: As in `cut_rows`.
        seed: Picks the groups.

    Returns:
        As `cut_rows`; the classes left whole are those with too few groups.
    """
    names, own = np.unique(groups.numpy(), return_inverse=True)
    pairs, sizes = np.unique(np.stack([own, labels.numpy()]), axis=1, return_counts=True)
    held: list[dict[int, int]] = [{} for _ in names]  # of each group: class to number
    members: list[list[int]] = [[] for _ in range(num_classes)]  # of each class: its groups
    for (g, c), n in zip(pairs.T.tolist(), sizes.tolist(), strict=True):
        held[g][c] = n
        members[c].append(g)
    rank = np.random.RandomState((seed, num_classes)).permutation(len(names)).tolist()
    counts, free = torch.bincount(labels, minlength=num_classes).tolist(), [len(own) for own in members]
    whole = [c for c, n in enumerate(free) if 0 < n <= len(cuts)]
    order = sorted((c for c, n in enumerate(free) if n > len(cuts)), key=lambda c: (free[c], c))
    side = np.full(len(names), len(cuts))
    kept = {g for c in whole for g in members[c]}
    for k, amount in enumerate(cuts.values()):
        wanted = [amount if isinstance(amount, int) else max(1, int(amount * n + 0.5)) for n in counts]
        taken, later = [0] * num_classes, len(cuts) - k

        def cost(g: int, taken: list[int] = taken, wanted: list[int] = wanted) -> float:
            """How much farther from the wanted counts the cut is with the group."""
            return sum(n * (n + 2 * (taken[c] - wanted[c])) / wanted[c] for c, n in held[g].items())

        for c in order:
            waiting = sorted((g for g in members[c] if side[g] == len(cuts) and g not in kept), key=rank.__getitem__)
            for must in (False, True):
                if must and taken[c]:
                    break
                if must:
                    waiting.sort(key=cost)
                for g in waiting:
                    if taken[c] >= wanted[c]:
                        break
                    if (must or cost(g) < 0) and all(free[other] > later for other in held[g]):
                        side[g] = k
                        for other, n in held[g].items():
                            taken[other] += n
                            free[other] -= 1
                        if must:
                            break
    where = torch.from_numpy(side[own.reshape(-1)])
    return {name: (where == k).nonzero().flatten() for k, name in enumerate([*cuts, "train"])}, whole


def cut_many_labels(
    labels_per_image: Sequence[Sequence[int]],
    num_classes: int,
    cuts: Mapping[str, int | float],
    seed: int,
    groups: Tensor | None = None,
) -> tuple[dict[str, list[int]], list[int]]:
    """Cut splits from images that show several classes each, or none, as nearly as it goes with each class's share.

    An image is a group of its classes: see `cut_groups`. Images without an object are cut as a class of their own.

    Args:
        labels_per_image: Classes of each image's objects.
        num_classes: Number of classes.
        cuts, seed: As in `cut_groups`.
        groups: int64 ``[N]``, what each image belongs to; None: each is on its own.

    Returns:
        Sorted rows of each cut and of ``train``, and the classes in too few images, or groups, to be cut.
    """
    own = torch.arange(len(labels_per_image)) if groups is None else groups
    pairs = [(row, c) for row, labels in enumerate(labels_per_image) for c in sorted(set(labels)) or [num_classes]]
    rows, labels = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    found, whole = cut_groups(labels, own[rows], num_classes + 1, cuts, seed)
    split = {name: sorted(set(rows[entries].tolist())) for name, entries in found.items()}
    return split, [c for c in whole if c < num_classes]


def tail_rows(labels: Tensor, counts: Sequence[int], seed: int) -> Tensor:
    """The sorted rows of a subset with at most ``counts[c]`` images of class c, at least one where there is one.

    With the same seed a stronger imbalance picks a subset of what a weaker one picks.
    """
    orders = class_orders(labels, len(counts), seed)
    return torch.cat([order[: max(1, n)] for order, n in zip(orders, counts, strict=True)]).sort().values


def sample_numbers(images: Tensor | Sequence[str]) -> Tensor:
    """A number for each sample that is the same whatever split it is in: of its pixels, of a file of its path.

    Args:
        images: As in `Split`.

    Returns:
        int64 ``[N]``: 63 bits of a digest.
    """
    if isinstance(images, Tensor):
        contents = (image.contiguous().numpy().tobytes() for image in images)
    else:
        contents = (str(path).encode("utf-8", "surrogateescape") for path in images)
    digests = (int.from_bytes(hashlib.blake2b(content, digest_size=8).digest()) >> 1 for content in contents)
    return torch.tensor(list(digests), dtype=torch.int64)
