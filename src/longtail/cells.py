"""Text in the cells of a CSV file that a spreadsheet would take for a formula."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["quoted", "unquoted"]

_FORMULA = re.compile(r"'*[=+\-@\t\r].", re.DOTALL)


def quoted(value: Any) -> Any:
    """The value, and a text that begins like a formula with an apostrophe before it; numbers stay as they are.

    A spreadsheet runs what begins with ``=``, ``+``, ``-`` or ``@``: names of classes and files come from elsewhere.
    """
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def unquoted(text: str) -> str:
    """Inverse of `quoted` for texts."""
    return text[1:] if text.startswith("'") and quoted(text[1:]) != text[1:] else text
