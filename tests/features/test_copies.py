"""Near copies by their features: groups are the parts of a graph, chains are opened, films are not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clear import assert_clear
from longtail.errors import LongtailError
from longtail.features.copies import best_matches, near_groups


def units(x: Tensor) -> Tensor:
    x = x.double()
    return F.normalize((x - x.mean(0)) / x.std(0, correction=0).clamp_min(1e-12), dim=1)


def naive(x: Tensor, labels: Tensor, threshold: float) -> list[int]:
    """Connected parts by the smallest row that can be reached, relabelled until nothing changes."""
    near = (units(x) @ units(x).T > threshold) & (labels[:, None] == labels)
    near.fill_diagonal_(True)
    part = torch.arange(len(x))
    while True:
        new = torch.where(near, part, len(x)).min(1).values
        if new.equal(part):
            names = {int(p): k for k, p in enumerate(dict.fromkeys(part.tolist()))}
            return [names[p] for p in part.tolist()]
        part = new


def sample(seed: int, n: int, classes: int, spread: float) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(max(1, n // 3), 6, generator=draw)
    x = centres[torch.randint(len(centres), (n,), generator=draw)] + spread * torch.randn(n, 6, generator=draw)
    return x, torch.randint(classes, (n,), generator=draw)


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(1, 4), st.sampled_from([0.1, 0.5, 2.0]))
def test_groups_are_the_connected_parts_whatever_the_blocks(seed: int, n: int, classes: int, spread: float) -> None:
    x, labels = sample(seed, n, classes, spread)
    for threshold in (0.4, 0.8):
        found = near_groups(x, labels, threshold=threshold, together=-1)
        assert found.tolist() == naive(x, labels, threshold)
        assert near_groups(x, labels, threshold=threshold, together=-1, block=7).equal(found)


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(1, 4))
def test_a_group_is_of_one_class_and_hangs_together(seed: int, n: int, classes: int) -> None:
    x, labels = sample(seed, n, classes, 0.7)
    groups, cosine = near_groups(x, labels), units(x) @ units(x).T
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    shuffled = near_groups(x[order], labels[order])
    assert ((groups[order][:, None] == groups[order]) == (shuffled[:, None] == shuffled)).all()
    for group in range(int(groups.max()) + 1):
        own = groups == group
        assert len(labels[own].unique()) == 1
        if (m := int(own.sum())) > 2 and not (cosine[own][:, own] > 0.9).all():
            assert (cosine[own][:, own].sum() - m) / (m * (m - 1)) > 0.5 - 1e-4 or (cosine[own][:, own].min() > 0.5)


def test_a_chain_of_pictures_that_look_alike_is_opened_and_a_film_is_not() -> None:
    """A half circle in small steps: neighbours are alike, the ends are opposite. A film stays near one place."""
    draw = torch.Generator().manual_seed(0)
    turn = torch.linspace(0, 6.2, 18)
    chain = torch.stack([turn.cos(), turn.sin(), torch.zeros(18)], 1)
    film = torch.tensor([0.0, 0.0, 1.0]).repeat(40, 1)
    x = torch.cat([chain, film]) + 0.03 * torch.randn(58, 3, generator=draw)
    x = torch.cat([x, -x])  # the mean is 0
    labels = torch.tensor([0] * 18 + [1] * 40 + [2] * 58)
    swallowed = near_groups(x, labels, together=-1)
    groups = near_groups(x, labels)
    assert torch.bincount(swallowed[:18]).max() == 18  # what would be without the guard
    assert torch.bincount(groups[:18]).max() < 9
    assert len(groups[18:58].unique()) == 1


def test_half_precision_and_features_that_tell_nothing_change_no_group() -> None:
    x, labels = sample(3, 50, 3, 0.3)
    groups = near_groups(x, labels)
    assert near_groups(torch.cat([x, torch.full((50, 2), 7.0)], 1), labels).equal(groups)
    assert near_groups(x * torch.tensor([1, 9, 0.01, 5, 1, 1]) + 3, labels).equal(groups)
    assert near_groups(x.half(), labels).equal(groups)
    assert near_groups(torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)).tolist() == [0, 1, 2, 3]
    assert near_groups(torch.empty(0, 3), torch.empty(0, dtype=torch.int64)).tolist() == []


@given(st.integers(0, 10_000), st.integers(2, 50), st.sampled_from([6, 400]))
def test_the_best_match_of_another_kind_is_found(seed: int, n: int, width: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, width, generator=draw)
    x[: n // 2] = x[n // 2 : n // 2 * 2] + 0.1 * torch.randn(n // 2, width, generator=draw)
    kind = torch.randint(3, (n,), generator=draw)
    cosine = (units(x) @ units(x).T).masked_fill(kind[:, None] == kind, -1)
    match, best = best_matches(x, kind, block=11)
    assert match.ge(0).equal(cosine.max(1).values > 0.9)
    for row in match.ge(0).nonzero().flatten().tolist():
        assert cosine[row, match[row]] == pytest.approx(float(cosine[row].max()), abs=1e-4)
        assert float(best[row]) == pytest.approx(float(cosine[row].max()), abs=1e-4)


@pytest.mark.parametrize(
    ("x", "labels", "threshold"),
    [
        (torch.ones(3), torch.zeros(3, dtype=torch.int64), 0.7),
        (torch.ones(3, 2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), 0.7),
        (torch.ones(3, 2), torch.zeros(4, dtype=torch.int64), 0.7),
        (torch.ones(3, 2), torch.zeros(3, dtype=torch.int64), 1.5),
    ],
)
def test_what_cannot_be_grouped_is_one_clear_line(x: Tensor, labels: Tensor, threshold: float) -> None:
    with pytest.raises(LongtailError) as caught:
        near_groups(x, labels, threshold=threshold)
    assert_clear(caught.value)
