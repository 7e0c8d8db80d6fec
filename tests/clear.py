"""What one clear line is: `LongtailError` joins all white space, so that a count of lines could never fail."""

from __future__ import annotations

import re

__all__ = ["assert_clear"]

LONGEST = 600
"""Characters; what is known of a long list may be told."""
_NOISE = re.compile(r"Traceback|\\n|\\x|\[\d+ characters\]|\b(?:Key|Type|Attribute|Runtime|Index)Error\b")


def assert_clear(error: BaseException) -> None:
    """The message of an error is short, says what is wrong in words, and shows no insides of a program."""
    text = str(error)
    assert 10 < len(text) <= LONGEST, text
    assert len(text.split()) >= 3, text
    assert not (found := _NOISE.search(text)), f"{found[0] if found else ''!r} in {text}"
