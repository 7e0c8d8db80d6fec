"""Small files that may be damaged: what can be read of them, and a line about what cannot."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longtail.cells import unquoted
from longtail.textfiles import parse_json

__all__ = ["Floats", "Ints", "finite", "floats", "has_columns", "listed", "printable", "read_columns", "read_json"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_JOINERS = "\u200c\u200d"  # not "printable", but they shape the letters around them


def read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} cannot be read ({type(error).__name__})")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name} holds no JSON object")
        return {}
    return value


def read_columns(path: Path, problems: list[str]) -> dict[str, list[str]]:
    """The whole rows of a CSV file by column; a last line without its end was torn by a kill and is left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        problems.append(f"{path.name} cannot be read ({type(error).__name__})")
        return {}
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        problems.append(f"{path.name} ends in the middle of a line, which is left out")
    try:
        header, *rows = csv.reader(whole.replace("\0", "").splitlines(keepends=True))
    except ValueError:  # no line at all
        return {}
    except csv.Error as error:
        problems.append(f"{path.name} cannot be read ({error})")
        return {}
    fitting = [row for row in rows if len(row) == len(header)]
    if len(fitting) != len(rows):
        problems.append(f"{path.name}: {len(rows) - len(fitting)} rows of a wrong length are left out")
    return {name: [unquoted(row[i]) for row in fitting] for i, name in enumerate(header)} if fitting else {}


def has_columns(columns: Mapping[str, Any], names: Sequence[str], file: str, problems: list[str]) -> bool:
    missing = [name for name in names if name not in columns]
    if missing:
        problems.append(f"{file} lacks the column {missing[0]}")
    return not missing


def floats(values: Sequence[str]) -> Floats:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            return math.nan
        return value if math.isfinite(value) else math.nan

    return np.array([number(v) for v in values], dtype=np.float64)


def finite(value: Any) -> Any:
    """The same with None in the place of what is no number that can be drawn: NaN, infinity, or anything else."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [None if isinstance(v, list | dict) else finite(v) for v in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and abs(value) < 1e300 else None


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def printable(value: Any) -> str:
    """One printable line that can be encoded."""
    text = str(value).encode("utf-8", errors="replace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in text).split())
