"""Whatever is given as a hyperparameter, a method works with it or says in one line why it does not."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from clear import assert_clear
from longtail.errors import LongtailError
from longtail.methods import ClassStats, get_method, list_methods

STATS = ClassStats(class_counts=[40, 12, 3, 0], epochs=4)
NUMBERS = [True, -1, 0.5, float("nan"), 1e308, 10**20]
NONSENSE = [None, *NUMBERS, "", "x", "ce:gamma=1", [1, 2], {}, torch.ones(2), object()]


@pytest.mark.parametrize("name", list_methods())
def test_whatever_a_hyperparameter_is_it_works_or_is_refused_in_one_line(name: str) -> None:
    unnamed = []
    for key in [*(field.name for field in dataclasses.fields(get_method(name))), "preset"]:
        for value in NONSENSE:
            try:
                get_method(name, **{key: value}).parts(STATS)
            except LongtailError as error:
                assert_clear(error)
                named = key in str(error) or str(error).startswith("unknown ")  # a method inside of the method
                unnamed += [] if named else [f"{key}: {error}"]
    assert not unnamed  # each says which hyperparameter it is about


@pytest.mark.parametrize("name", [None, 5, b"ce", ["ce"]])
def test_a_name_that_is_no_text_is_an_unknown_method(name: object) -> None:
    with pytest.raises(LongtailError, match="unknown method"):
        get_method(name)  # pyright: ignore[reportArgumentType]
