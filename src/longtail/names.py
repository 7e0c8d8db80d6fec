"""Names that people gave: one name in two forms of Unicode is one name."""

from __future__ import annotations

import unicodedata

__all__ = ["nfc"]


def nfc(name: str) -> str:
    """``name`` in normal form C, in which names are compared and kept: disks of Apple store ``é`` as two characters."""
    return unicodedata.normalize("NFC", name)
