"""Text and JSON from files that anybody may have written or damaged: read as a whole, or one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from longtail.atomic import atomic
from longtail.errors import LongtailError

__all__ = ["json_text", "parse_json", "read_json", "read_text", "write_json"]


def read_text(path: Path) -> str:
    """A file in UTF-8, with or without a byte order mark.

    Raises:
        LongtailError: the file is missing, cannot be read, or is in another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LongtailError(f"{path} does not exist") from None
    except OSError as error:
        raise LongtailError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise LongtailError(f"{path} cannot be read as text ({error}): save it in UTF-8") from None


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: no JSON, also where it is nested too deeply or a number has thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path, *, mend: str) -> Any:
    """The value in a JSON file in UTF-8.

    Args:
        path: The file.
        mend: What to do about a file that is damaged.

    Raises:
        LongtailError: as `read_text`, or it is no JSON.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise LongtailError(f"{path} is not valid JSON ({error}): {mend}") from None


def json_text(value: Any) -> str:
    """A JSON text as all our files hold it."""
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    text = json_text(value)
    atomic(path, lambda p: p.write_text(text, encoding="utf-8"))
