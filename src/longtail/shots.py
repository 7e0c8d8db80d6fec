"""Many-, medium- and few-shot classes, the one place of their bounds. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FEW", "MANY", "classes_by_shot"]

MANY, FEW = 100, 20
"""Many-shot: more than 100 training samples. Few-shot: fewer than 20. Medium-shot: the rest, both bounds included."""


def classes_by_shot(counts: Sequence[int], *, many: float = MANY, few: float = FEW) -> dict[str, list[int]]:
    """The classes of each group, ``{"many", "medium", "few"}``, by their training counts ``[C]``."""
    groups: dict[str, list[int]] = {"many": [], "medium": [], "few": []}
    for c, count in enumerate(counts):
        groups["many" if count > many else "few" if count < few else "medium"].append(c)
    return groups
