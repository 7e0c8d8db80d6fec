"""Counts, weights and labels from pandas: numbers of classes are read by label, those of samples in their order."""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from longtail import ClassDifficulty, ClassStats, ClassWeightedLoss, ClassWeightedSampler, get_method
from longtail import functional as f
from longtail.errors import LongtailError
from longtail.losses import BalancedSoftmaxLoss, GroupSoftmaxLoss, LDAMLoss, class_weighted
from longtail.metrics import ShotAccuracy, head_and_tail, shot_groups
from longtail.samplers import ClassAwareSampler, PowerLawSampler, RepeatFactorSampler

pd = pytest.importorskip("pandas")

LABELS = [2] * 6 + [0] * 3 + [1]
COUNTS = [3, 1, 6]
SERIES = pd.Series(LABELS)
FREQUENCIES = {
    "value_counts": lambda: SERIES.value_counts(),
    "nullable": lambda: SERIES.astype("Int64").value_counts(),
    "of a category": lambda: SERIES.astype("category").value_counts(),
    "of floats": lambda: SERIES.astype(float).value_counts(),
    "groupby": lambda: pd.DataFrame({"label": LABELS}).groupby("label").size(),
    "counter": lambda: Counter(LABELS),
    "dictionary": lambda: {2: 6, 0: 3, 1: 1},
}
every_frequency = pytest.mark.parametrize("make", FREQUENCIES.values(), ids=FREQUENCIES)
WEIGHTS = pd.Series([3.0, 1.0, 2.0], index=[2, 0, 1])


@every_frequency
def test_counts_by_frequency_are_read_by_class(make):
    counts = make()
    torch.testing.assert_close(f.power_law_weights(counts), f.power_law_weights(COUNTS))
    torch.testing.assert_close(f.log_prior(counts), f.log_prior(COUNTS))
    torch.testing.assert_close(f.ldam_margins(counts), f.ldam_margins(COUNTS))
    torch.testing.assert_close(f.power_law_probabilities(counts), f.power_law_probabilities(COUNTS))
    assert head_and_tail(counts, head=1)["head"].tolist() == [False, False, True]
    groups = shot_groups(counts, many=5, few=2)
    assert {name: group.nonzero().flatten().tolist() for name, group in groups.items()} == {
        "many": [2],
        "medium": [0],
        "few": [1],
    }
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 2])
    for loss in (BalancedSoftmaxLoss, LDAMLoss):
        torch.testing.assert_close(loss(counts)(logits, target), loss(COUNTS)(logits, target))


def test_counts_by_frequency_in_everything_that_holds_them():
    counts = SERIES.value_counts()
    assert ClassStats(class_counts=counts).class_counts == tuple(COUNTS)
    assert ClassStats(class_counts=counts).labels.tolist() == [0] * 3 + [1] + [2] * 6
    assert ShotAccuracy(counts).num_classes == 3
    assert torch.equal(GroupSoftmaxLoss(counts, bins=(2, 5)).group, GroupSoftmaxLoss(COUNTS, bins=(2, 5)).group)
    samples = [
        ClassDifficulty(3, normalize="samples", class_counts=c).step([0.1, 0.5, 0.9]).tolist() for c in (counts, COUNTS)
    ]
    assert samples[0] == samples[1]
    cb = [get_method("cb").parts(ClassStats(class_counts=c)).criterion.weight.tolist() for c in (counts, COUNTS)]
    assert cb[0] == cb[1]


def test_weights_and_performances_are_read_by_class():
    assert ClassWeightedLoss(WEIGHTS).weight.tolist() == [1, 2, 3]
    assert class_weighted(ClassWeightedLoss(None), WEIGHTS).weight.tolist() == [1, 2, 3]
    difficulty = ClassDifficulty(3, momentum=0)
    difficulty.step(WEIGHTS / 4)
    assert difficulty.performance.tolist() == [0.25, 0.5, 0.75]
    torch.testing.assert_close(f.difficulty_weights(WEIGHTS / 4), f.difficulty_weights(torch.tensor([0.25, 0.5, 0.75])))
    expected = f.difficulty_probabilities([1.0, 2.0, 3.0], COUNTS)
    torch.testing.assert_close(f.difficulty_probabilities(WEIGHTS, COUNTS), expected)
    torch.testing.assert_close(ClassWeightedSampler(LABELS, WEIGHTS).probabilities(), expected)


@given(st.permutations(list(range(6))), st.lists(st.integers(0, 50), min_size=6, max_size=6))
def test_whatever_the_order_of_the_index(order, counts):
    series = pd.Series([counts[c] for c in order], index=order)
    assert ClassStats(class_counts=series).class_counts == tuple(counts)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            pd.Series([2, 2, 0]).value_counts(),
            r"keys \[2, 0\], .* \.reindex\(range\(C\), fill_value=0\)",
        ),
        (pd.Series([1, 2, 3, 3]).value_counts(), "which count from 0"),
        (SERIES.value_counts(normalize=True), "class_counts are shares, .*: give the numbers of samples"),
        (pd.Series(["cat", "dog", "cat"]).value_counts(), r"\.reindex\(class_names, fill_value=0\)\.to_list\(\)"),
        (pd.Series([5, 3], index=[0, 0]), "not 0 to C - 1"),
        (pd.Series([5, 3], index=[True, False]), "not 0 to C - 1"),
        (pd.DataFrame({"label": LABELS}).value_counts(), "not 0 to C - 1"),
        (pd.DataFrame({"weight": [1, 2]}), "class_counts are a DataFrame: give one of its columns"),
        (Counter("aab"), "class_counts are a Counter with the keys"),
        ({0: 3, 2: 1}, "give a list, one number per class"),
    ],
)
def test_where_the_class_of_a_number_is_not_clear_it_says_what_to_write(values, message):
    for take in (f.power_law_weights, shot_groups, BalancedSoftmaxLoss, lambda c: ClassStats(class_counts=c)):
        with pytest.raises(LongtailError, match=message):
            take(values)


def test_a_table_with_a_column_named_weight_is_no_source_of_weights():
    table = pd.DataFrame({"weight": [1.0, 2.0]})
    for take in (ClassWeightedLoss, lambda w: ClassWeightedSampler([0, 1], w)):
        with pytest.raises(LongtailError, match="class weights are a DataFrame: give one of its columns"):
            take(table)
    assert ClassWeightedLoss(table["weight"]).weight.tolist() == [1, 2]


TABLE = pd.DataFrame({"label": [0, 1, 2, 0, 1, 2, 0, 2]})
PARTS = {
    "filtered": TABLE[TABLE.index % 2 == 1]["label"],
    "shuffled": TABLE.sample(frac=1, random_state=3)["label"],
    "named": TABLE.set_axis(list("abcdefgh"))["label"],
    "nullable": TABLE["label"].astype("Int64"),
    "unsigned": TABLE["label"].astype("uint16"),
}


@pytest.mark.parametrize("labels", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize(
    "build",
    [
        lambda y: ClassWeightedSampler(y, [1.0, 2.0, 3.0]),
        PowerLawSampler,
        ClassAwareSampler,
    ],
)
def test_labels_of_a_part_of_a_table_are_read_in_their_order(build, labels):
    assert list(build(labels)) == list(build(labels.tolist()))
    stats = ClassStats(class_counts=[4, 4, 4], labels=labels)
    assert stats.labels.tolist() == labels.tolist()
    assert list(get_method("cdb-s").parts(stats).sampler) == list(
        get_method("cdb-s").parts(ClassStats(class_counts=[4, 4, 4], labels=torch.tensor(labels.tolist()))).sampler
    )


def test_classes_of_each_image_from_a_part_of_a_table():
    own = pd.Series([[0], [0, 1], [], [2]], index=[7, 3, 5, 1])
    assert list(RepeatFactorSampler(own)) == list(RepeatFactorSampler(own.tolist()))
    assert list(ClassAwareSampler(own)) == list(ClassAwareSampler(own.tolist()))


def test_labels_that_are_no_numbers_and_tables_are_told():
    with pytest.raises(LongtailError, match="labels cannot be read as a tensor of numbers"):
        PowerLawSampler(pd.Series(["cat", "dog"]))
    for build in (PowerLawSampler, RepeatFactorSampler):
        with pytest.raises(LongtailError, match="is a DataFrame: give one of its columns"):
            build(TABLE)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.uint64])
def test_labels_of_every_integer_type_of_numpy(dtype):
    labels = np.array(LABELS, dtype=dtype)
    labels.flags.writeable = False  # as of a memory map, or of pandas
    assert list(ClassAwareSampler(labels)) == list(ClassAwareSampler(LABELS))
    assert ClassStats(class_counts=np.array(COUNTS, dtype=dtype)).class_counts == tuple(COUNTS)
