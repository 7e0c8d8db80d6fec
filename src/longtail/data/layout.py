"""Which folders and lists are the splits of a data set: the usual spellings, in any case."""

from __future__ import annotations

import re
from collections.abc import Iterable

from longtail.errors import LongtailError

__all__ = ["SPLIT_NAMES", "only_one", "split_named", "split_roles"]

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What a split is called, in any case: in a list's name, in a column, and as a folder."""
_ALSO = {"trn": "train", "dev": "val", "validate": "val", "tst": "test"}
_SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names} | _ALSO
_AROUND = "dataset|set|data|image|img|photo|picture|clip|video|frame|folder|split|part|seg"
_WORD = re.compile(
    rf"(?<![^\W\d_])({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})(?=(?:(?:{_AROUND})s?)?(?![^\W\d_]))"
)
_PLAIN = re.compile(rf"(?:{_AROUND}|s|[\W\d_])*")


def split_named(name: str) -> str | None:
    """The split that ``name`` stands for as it is, in any case; None: none."""
    return next((split for split, names in SPLIT_NAMES.items() if name.strip().lower() in names), None)


def split_roles(names: Iterable[str]) -> dict[str, str]:
    """The names that say a split, each with its split.

    ``Train``, ``test_images`` and ``valid2`` do so by themselves; ``leaves-train`` beside ``leaves-test``, which differ
    in nothing else. ``train_station`` and ``trainer`` do not.
    """
    families: dict[str, dict[str, str]] = {}
    for name in names:
        lower = name.lower()
        if len(words := _WORD.findall(lower)) == 1:
            families.setdefault(_WORD.sub("*", lower), {})[name] = _SPLIT_OF[words[0]]
    roles: dict[str, str] = {}
    for form, family in families.items():
        if _PLAIN.fullmatch(form) or {"train"} < set(family.values()):
            roles |= family
    return roles


def only_one(names: Iterable[str], *, split: str, where: object) -> str | None:
    """The one of ``names`` that is a split; None if there is none.

    Raises:
        LongtailError: there are several.
    """
    found = list(names)
    if len(found) > 1:
        word = {"val": "validation", "train": "training"}.get(split, split)
        raise LongtailError(f"{where} has both {found[0]} and {found[1]}: keep one as the {word} split")
    return found[0] if found else None
