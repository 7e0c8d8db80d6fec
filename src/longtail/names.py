"""Names that people gave: one name in two forms of Unicode is one name, and a class is known by its number.

Where several classes have one name, it gets their numbers, so that what is printed tells them apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from longtail.errors import LongtailError

__all__ = ["bare_name", "brief", "distinct_names", "nfc", "same_classes"]

_MARK = re.compile(r"(?P<name>.*) \((?:class|category) \S+\)", re.DOTALL)


def nfc(name: str) -> str:
    """``name`` in normal form C, in which names are compared and kept: disks of Apple store ``é`` as two characters."""
    return unicodedata.normalize("NFC", name)


def distinct_names(names: Sequence[str], numbers: Sequence[object] | None = None, *, kind: str = "class") -> list[str]:
    """The names, those that occur more than once with the number of their class: ``crane (class 2)``.

    Args:
        names: Of each class, ``[C]``.
        numbers: Of each class; None: its place.
        kind: What the numbers are of, ``class`` or ``category``.
    """
    numbers = range(len(names)) if numbers is None else numbers
    while repeated := {name for name, times in Counter(names).items() if times > 1}:
        names = [
            f"{name} ({kind} {number})" if name in repeated else name
            for name, number in zip(names, numbers, strict=True)
        ]
    return list(names)


def same_classes(theirs: Sequence[str], ours: Sequence[str], *, where: str, kind: str = "class") -> list[int]:
    """The place in ``ours`` of each class of another data set, by its name; equal lists are not translated.

    Args:
        theirs: The other data's `distinct_names`.
        ours: A run's.
        where: Name of the other data.
        kind: What a class is called.

    Raises:
        LongtailError: a name that the run does not have, or that belongs to several classes here or there.
    """
    theirs, ours = [list(map(nfc, names)) for names in (theirs, ours)]
    if theirs == ours:
        return list(range(len(ours)))
    shared = _shared(theirs) | _shared(ours)
    if several := next((name for name in theirs if bare_name(name) in shared), None):
        raise LongtailError(
            f"{where}: {bare_name(several)!r} is the name of several classes, and which of them is which of the run's "
            f"cannot be told: give each {kind} a name of its own"
        )
    place = {name: c for c, name in enumerate(ours)}
    if unknown := [name for name in theirs if name not in place]:
        raise LongtailError(f"{where} has a {kind} that the run does not know: {unknown[0]} ({len(unknown)} in all)")
    return [place[name] for name in theirs]


def bare_name(name: str) -> str:
    """The name without the number that `distinct_names` gave it."""
    return found["name"] if (found := _MARK.fullmatch(name)) else name


def brief(names: Sequence[object], limit: int = 5) -> str:
    """The first few of many names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(str(name) for name in names[:limit]) + more


def _shared(names: Sequence[str]) -> set[str]:
    """Names that several classes have, without their numbers."""
    bare = Counter(found["name"] for name in names if (found := _MARK.fullmatch(name)))
    return {name for name, times in bare.items() if times > 1}
