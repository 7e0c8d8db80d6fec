"""A class is known by its number: equal names stay apart, and are never guessed to be each other's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail import LongtailError
from longtail.names import distinct_names, same_classes

NAMES = st.lists(st.sampled_from(["crane", "dog", "crane (class 0)", "crane (class 2)", ""]), max_size=8)


@given(names=NAMES)
def test_names_become_distinct_and_stay_so(names: list[str]) -> None:
    own = distinct_names(names)
    assert len(set(own)) == len(names) and distinct_names(own) == own
    for before, after in zip(names, own, strict=True):
        assert after == before if names.count(before) == 1 and own.count(before) == 1 else after.startswith(before)


def test_the_number_is_the_class_or_the_category() -> None:
    assert distinct_names(["crane", "dog", "crane"]) == ["crane (class 0)", "dog", "crane (class 2)"]
    assert distinct_names(["a", "a"], [7, 9], kind="category") == ["a (category 7)", "a (category 9)"]


@given(names=NAMES)
def test_equal_lists_are_not_translated(names: list[str]) -> None:
    own = distinct_names(names)
    assert same_classes(own, own, where="data") == list(range(len(own)))


@given(order=st.permutations(range(5)), count=st.integers(1, 5))
def test_other_lists_are_translated_by_name(order: list[int], count: int) -> None:
    ours = ["ant", "bee", "cat", "dog", "eel"]
    theirs = [ours[c] for c in order[:count]]
    assert same_classes(theirs, ours, where="data") == order[:count]


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        (["crane", "eel", "crane"], ["crane", "dog", "crane", "eel"], "'crane' is the name of several classes"),
        (["crane", "dog"], ["crane", "dog", "crane"], "'crane' is the name of several classes"),
        (["crane", "crane"], ["crane", "dog"], "'crane' is the name of several classes"),
        (["dog", "emu"], ["dog", "cat"], "other has a class that the run does not know: emu"),
    ],
)
def test_what_cannot_be_told_is_refused(theirs: list[str], ours: list[str], message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        same_classes(distinct_names(theirs), distinct_names(ours), where="other")


def test_one_name_in_two_forms_of_unicode_is_one_name() -> None:
    assert same_classes(["Be\u0301b\u00e9", "ant"], ["ant", "B\u00e9be\u0301"], where="data") == [1, 0]


def test_a_name_that_only_the_run_has_twice_does_no_harm() -> None:
    assert same_classes(["dog"], distinct_names(["crane", "dog", "crane"]), where="data") == [1]
