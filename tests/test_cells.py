"""Text that a spreadsheet would run as a formula is quoted, numbers are not, and reading takes the quote away."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail.cells import quoted, unquoted
from longtail.report.tables import csv_text
from longtail.training.files import read_csv, write_csv

TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\0"), max_size=8)
FORMULAS = st.builds("".join, st.tuples(st.sampled_from(["=", "+", "-", "@", "'=", "'", "''-"]), TEXTS))


@given(TEXTS | FORMULAS)
def test_reading_gives_back_every_text(text):
    assert unquoted(quoted(text)) == text


@given(FORMULAS)
def test_no_cell_begins_like_a_formula_unless_it_is_a_number(text):
    cell = quoted(text)
    if cell[:1] in ("=", "+", "-", "@") and len(cell) > 1:
        float(cell)


@pytest.mark.parametrize("value", [-0.5, 3, None, "-0.5", "+1e-3", "-", "name", "a=b", ""])
def test_numbers_and_plain_texts_stay_as_they_are(value):
    assert quoted(value) == value


@given(st.lists(TEXTS | FORMULAS, min_size=1, max_size=5))
def test_our_tables_are_quoted_and_read_back(tmp_path_factory, names):
    rows = [{"name": name, "value": -1.5} for name in names]
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    write_csv(path, ("name", "value"), rows)
    assert read_csv(path) == [{"name": name, "value": "-1.5"} for name in names]
    cells = list(csv.DictReader(io.StringIO(csv_text(rows, ("name", "value"), ()))))
    assert [row["name"] for row in cells] == [quoted(name) for name in names]
