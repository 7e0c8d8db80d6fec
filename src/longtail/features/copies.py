"""Near copies: frames of one film, bursts, pictures that were saved anew. Told from features that are there anyway.

Two pictures are as alike as the cosine of their standardised features says. The bounds below were chosen on pictures
that stand in for films and bursts, and on plain sets; the figures are in ``docs/decisions.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from longtail import activity
from longtail.data.base import Split
from longtail.data.copies import NearCopies
from longtail.errors import LongtailError
from longtail.features.kept import Kept

__all__ = ["ALIKE", "COPY", "TOGETHER", "best_matches", "near_copies", "near_groups"]

ALIKE = 0.65
"""Cosine from which two pictures of one class belong to one group."""
COPY = 0.9
"""Cosine from which a picture is called the near copy of another."""
TOGETHER = 0.5
"""A group whose pictures have a smaller mean cosine is a chain of pictures that merely look alike, and is opened."""
_STEP = 0.05
_BLOCK = 2048
_SHORT = 256
"""Dimensions in which pairs are looked for, before the cosine of those that may be close enough is computed."""
_MARGIN = 4.0


@torch.no_grad()
def near_groups(
    x: Tensor, labels: Tensor, *, threshold: float = ALIKE, together: float = TOGETHER, block: int = _BLOCK
) -> Tensor:
    """Groups of near copies: connected parts of the graph of cosines above ``threshold``, within a class.

    Parts grow by chains: of many samples that merely look alike (apples before white, the digit 1) each is close to
    some other, and one part swallows the class. A film hangs together: the mean cosine over all its pairs is 0.5 and
    more, where a chain's is 0.3 to 0.49. So a part whose mean is below ``together`` is parted again at a threshold that
    is 0.05 higher, and so on.

    The memory is that of ``x`` and of some blocks of ``block`` rows, whatever the size of a class.

    Args:
        x: Features ``[N, D]``, of any floating-point type; they are standardised here, over all rows.
        labels: Class indices ``[N]``.
        threshold: Smallest cosine of a pair, between 0 and 1.
        together: Smallest mean cosine over the pairs of a group.
        block: Rows that are compared with as many others at a time.

    Returns:
        int64 ``[N]``: numbers of groups, from 0 on in the order of their first rows. A sample without a near copy has
        a number of its own.

    Raises:
        LongtailError: shapes, labels or a threshold that do not fit.
    """
    units = _Units(x, block)
    if labels.shape != x.shape[:1]:
        raise LongtailError(f"{len(x)} rows of features but labels of shape {list(labels.shape)}")
    if not 0 < threshold < 1:
        raise LongtailError(f"threshold is {threshold}: it must be between 0 and 1")
    groups = torch.empty(len(x), dtype=torch.int64)
    count, waiting = 0, []
    if len(x):
        labels = labels.cpu()
        waiting = [((labels == c).nonzero().flatten(), threshold) for c in labels.unique().tolist()]
    while waiting:
        rows, bound = waiting.pop()
        parts = _parts(units, rows, bound)
        for own in _members(parts):
            if len(own) > 2 and bound + _STEP < 1 and _mean_cosine(units, rows[own]) < together:
                waiting.append((rows[own], bound + _STEP))
            else:
                groups[rows[own]] = count
                count += 1
    return _in_order(groups)


@torch.no_grad()
def best_matches(x: Tensor, apart: Tensor, *, threshold: float = COPY, block: int = _BLOCK) -> tuple[Tensor, Tensor]:
    """For each sample the most similar one of another kind: of another split, or of another class.

    Args:
        x: Features ``[N, D]``, standardised here over all rows.
        apart: What kind each sample is of, int64 ``[N]``.
        threshold: Smallest cosine that is told.
        block: Rows that are compared with as many others at a time.

    Returns:
        The row of the most similar sample, int64 ``[N]``, -1 where none is as similar; and its cosine, float32
        ``[N]``, NaN there. With more than 256 features the most similar one of each block is found in 256 dimensions.
    """
    units = _Units(x, block)
    best, match = torch.full((len(x),), threshold), torch.full((len(x),), -1, dtype=torch.int64)
    short, slack = units.shortened(threshold)
    for first in torch.arange(len(x)).split(block):
        for second in torch.arange(int(first[0]), len(x)).split(block):
            cosine = (short[first] @ short[second].T).masked_fill_(apart[first].unsqueeze(1) == apart[second], -1)
            for rows, others, (value, place) in ((first, second, cosine.max(1)), (second, first, cosine.max(0))):
                close = value > threshold - slack
                a, b = rows[close], others[place[close]]
                exact = (units[a] * units[b]).sum(1)
                better = exact > best[a]
                best[a[better]], match[a[better]] = exact[better], b[better]
    return match, best.masked_fill(match < 0, math.nan)


def near_copies(splits: Mapping[str, Split], rows: Mapping[str, Tensor], kept: Kept | None = None) -> NearCopies:
    """What the features of the given splits tell of near copies.

    Args:
        splits: Of files.
        rows: The features of each, ``[N, D]``.
        kept: Keeps the answer; None: it is found anew.
    """
    keys = [str(key) for split in splits.values() for key in split.images]
    x, labels = torch.cat([rows[name] for name in splits]), torch.cat([split.labels for split in splits.values()])
    part = torch.cat([torch.full((len(split),), k) for k, split in enumerate(splits.values())])

    def find() -> dict[str, list[Any]]:
        activity.now(f"looking for near copies among {len(x)} {splits['train'].item}s")
        groups = near_groups(x, labels)
        several = torch.bincount(groups)[groups] > 1
        return {
            "groups": torch.where(several, groups, -1).tolist(),
            "copies": _pairs(*best_matches(x, part)) if len(splits) > 1 else [],
            "mixed": _pairs(*best_matches(x, labels)),
        }

    found = find() if kept is None else kept.value("near-copies", find)
    return NearCopies(
        groups={key: f"near copies {g}" for key, g in zip(keys, found["groups"], strict=True) if g >= 0},
        copies=[(keys[a], keys[b]) for a, b in found["copies"]],
        mixed=[(keys[a], keys[b]) for a, b in found["mixed"]],
    )


def _pairs(match: Tensor, cosine: Tensor) -> list[tuple[int, int]]:
    """Rows with their matches, each pair once, the most similar first."""
    rows = (match >= 0).nonzero().flatten()
    rows = rows[cosine[rows].argsort(descending=True, stable=True)]
    return list(dict.fromkeys((min(a, b), max(a, b)) for a, b in zip(rows.tolist(), match[rows].tolist(), strict=True)))


class _Units:
    """Standardised rows of length 1, made when they are asked for."""

    def __init__(self, x: Tensor, block: int) -> None:
        if x.ndim != 2 or not x.is_floating_point():
            raise LongtailError(f"features must be floating-point [N, D], not {x.dtype} {list(x.shape)}")
        self.x, self.block = x.detach(), block
        total, squares = (torch.zeros(x.shape[1], dtype=torch.float64) for _ in range(2))
        for part in self.x.split(block):
            total += part.double().sum(0).cpu()
        self.mean = (total / max(1, len(x))).float()
        for part in self.x.split(block):
            squares += (part.float().cpu() - self.mean).double().square().sum(0)
        spread = (squares / max(1, len(x))).sqrt().float()
        self.scale = torch.where(spread > 1e-4 * spread.max(), 1 / spread, 0.0) if len(x) else spread

    def __getitem__(self, rows: Tensor) -> Tensor:
        """float32 ``[n, D]``; a row that tells nothing is zeros."""
        return F.normalize((self.x[rows.to(self.x.device)].float().cpu() - self.mean) * self.scale, dim=1)

    def shortened(self, threshold: float) -> tuple[Tensor, float]:
        """The rows turned at random into fewer dimensions, of length 1, and how much a cosine may lose there.

        The standard error of a cosine c in k dimensions is (1 - c^2) / sqrt(k).
        """
        rows, width = torch.arange(len(self.x)), self.x.shape[1]
        if width <= _SHORT:
            return self[rows], 0.0
        turn = torch.randn(width, _SHORT, generator=torch.Generator().manual_seed(0))
        short = [F.normalize(self[part] @ turn, dim=1) for part in rows.split(self.block)]
        return torch.cat(short) if short else turn[:0], _MARGIN * (1 - threshold**2) / math.sqrt(_SHORT)


def _parts(units: _Units, rows: Tensor, threshold: float) -> Tensor:
    """The connected part of each of ``rows``, int64 ``[n]``."""
    part = torch.arange(len(rows))
    for first in part.split(units.block):
        one = units[rows[first]]
        for second in torch.arange(int(first[0]), len(rows)).split(units.block):
            other = one if second[0] == first[0] and len(second) == len(first) else units[rows[second]]
            near = ((one @ other.T) > threshold).nonzero()
            ends = (part[first[near[:, 0]]], part[second[near[:, 1]]])
            edges = (ends[0] * len(rows) + ends[1])[ends[0] != ends[1]].unique()
            if len(edges):
                ends = (edges // len(rows), edges % len(rows))
                graph = coo_array((torch.ones(len(edges)).numpy(), ends), shape=(len(rows),) * 2)
                part = torch.from_numpy(connected_components(graph, directed=False)[1]).long()[part]
    return part


def _members(parts: Tensor) -> Iterator[Tensor]:
    """The places of each part."""
    yield from parts.argsort(stable=True).split(torch.bincount(parts).tolist()) if len(parts) else ()


def _mean_cosine(units: _Units, rows: Tensor) -> float:
    """Over all pairs."""
    total, own = torch.zeros(units.x.shape[1]), 0.0
    for part in rows.split(units.block):
        values = units[part]
        total += values.sum(0)
        own += float(values.square().sum())
    return (float(total.square().sum()) - own) / (len(rows) * (len(rows) - 1))


def _in_order(groups: Tensor) -> Tensor:
    """The same groups, numbered in the order of their first rows."""
    _, own = groups.unique(return_inverse=True)
    first = torch.full((int(own.max()) + 1 if len(own) else 0,), len(own))
    first.scatter_reduce_(0, own, torch.arange(len(own)), "amin")
    return first.argsort().argsort()[own]
