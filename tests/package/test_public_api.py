"""What a release allowed goes on working; `public_api` writes and reads the list of public names."""

from __future__ import annotations

import pytest

from package import public_api
from package.public_api import broken


def test_every_public_name_and_parameter_is_still_there():
    """New names and new optional parameters are no harm; ``python tests/package/public_api.py`` writes them down."""
    now = dict(public_api._split(line) for line in public_api.described())
    recorded = public_api.FILE.read_text(encoding="utf-8").splitlines()
    assert len(recorded) > 200
    assert [told for line in recorded if (told := broken(line, now))] == []


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("a.f(x, y=1, *, z=2)", ""),
        ("a.f(x, y=1, *, z=2, new=3)", ""),
        ("a.f(x, y=1, new=3, *, z=2)", ""),
        ("a.f(x, y=1, z=2)", ""),
        ("a.g(x)", "a.f is gone"),
        ("a.f", "can no longer be called"),
        ("a.f(x, *, y=1, z=2)", "y cannot be given by its place"),
        ("a.f(y=1, x=0, *, z=2)", "x cannot be given by its place"),
        ("a.f(x, y=2, *, z=2)", "the default of y was 1 and is 2"),
        ("a.f(x, y=1)", "the parameter z is gone"),
        ("a.f(x, y=1, *, z=2, new)", "new is new and must be given"),
    ],
)
def test_what_breaks_a_caller_is_told(now, told):
    found = broken("a.f(x, y=1, *, z=2)", dict([public_api._split(now)]))
    assert found == "" if told == "" else told in found
