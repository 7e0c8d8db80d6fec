"""Laws of cutting splits and of thinning to a long tail."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from longtail.data.splits import class_orders, cut_rows, tail_rows

sizes = st.lists(st.integers(0, 40), min_size=1, max_size=12)
cuts = st.dictionaries(
    st.sampled_from(["test", "val", "select"]), st.one_of(st.integers(1, 9), st.floats(0.01, 0.9)), min_size=1
)


def labels_of(counts: list[int]) -> torch.Tensor:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(7))]


@given(sizes, cuts, st.integers(0, 2**31 - 1))
def test_cuts_are_disjoint_and_exhaustive(counts: list[int], amounts: dict, seed: int) -> None:
    labels = labels_of(counts)
    rows, whole = cut_rows(labels, len(counts), amounts, seed)
    assert torch.cat(list(rows.values())).sort().values.tolist() == list(range(len(labels)))
    for c, n in enumerate(counts):
        have = {name: int((labels[own] == c).sum()) for name, own in rows.items()}
        if n == 0:
            assert c not in whole
        elif n <= len(amounts):
            assert c in whole and have["train"] == n
        else:  # one for each cut and one for training, whatever was asked for
            assert c not in whole and min(have.values()) >= 1


@given(sizes, cuts, st.integers(0, 1000), st.integers(1001, 2000))
def test_the_seed_changes_images_but_not_counts(counts: list[int], amounts: dict, one: int, other: int) -> None:
    labels = labels_of(counts)
    first, second = (cut_rows(labels, len(counts), amounts, seed)[0] for seed in (one, other))
    for name in first:
        assert torch.bincount(labels[first[name]], minlength=len(counts)).equal(
            torch.bincount(labels[second[name]], minlength=len(counts))
        )
    again, _ = cut_rows(labels, len(counts), amounts, one)
    assert all(first[name].equal(again[name]) for name in first)


def test_other_seeds_pick_other_images() -> None:
    labels = labels_of([50, 50])
    assert not cut_rows(labels, 2, {"val": 10}, 0)[0]["val"].equal(cut_rows(labels, 2, {"val": 10}, 1)[0]["val"])


def test_large_classes_are_cut_in_the_proportion_asked_for() -> None:
    labels = labels_of([100, 40, 20])
    rows, _ = cut_rows(labels, 3, {"test": 0.2, "val": 0.15}, 0)
    assert torch.bincount(labels[rows["test"]]).tolist() == [20, 8, 4]
    assert torch.bincount(labels[rows["val"]]).tolist() == [15, 6, 3]
    rows, _ = cut_rows(labels, 3, {"val": 5}, 0)
    assert torch.bincount(labels[rows["val"]]).tolist() == [5, 5, 5]


@given(sizes, st.integers(0, 100))
def test_a_long_tail_has_the_counts_asked_for_and_is_nested(counts: list[int], seed: int) -> None:
    labels = labels_of(counts)
    weak = [(3 * n + 3) // 4 for n in counts]
    strong = [n // 4 for n in counts]
    kept = {name: tail_rows(labels, wanted, seed) for name, wanted in (("weak", weak), ("strong", strong))}
    assert torch.bincount(labels[kept["weak"]], minlength=len(counts)).tolist() == weak
    assert torch.bincount(labels[kept["strong"]], minlength=len(counts)).tolist() == [
        min(n, max(1, k)) for n, k in zip(counts, strong, strict=True)
    ]
    assert set(kept["strong"].tolist()) <= set(kept["weak"].tolist())


def test_class_orders_are_frozen() -> None:
    """The legacy generator of numpy promises this order on every machine, with every version, for ever."""
    assert class_orders(torch.tensor([1, 0, 1, 0, 1, 0, 0]), 2, 5)[0].tolist() == [3, 6, 5, 1]
