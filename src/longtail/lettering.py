"""Text that matplotlib can draw: no mathematics, and no letter that no installed font has. Imports no pyplot."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from longtail.names import nfc

__all__ = ["drawable", "families", "lettering_note"]

# Tried in this order for letters that matplotlib's own font lacks; those that are not installed are skipped.
_MORE_FONTS = (
    *(
        "Noto Sans CJK JP",
        "Noto Sans CJK SC",
        "Noto Sans JP",
        "Noto Sans SC",
        "Noto Sans KR",
        "Hiragino Sans",
        "PingFang SC",
    ),
    *(
        "Microsoft YaHei",
        "Yu Gothic",
        "Malgun Gothic",
        "WenQuanYi Zen Hei",
        "WenQuanYi Micro Hei",
        "Droid Sans Fallback",
    ),
    *("Noto Sans", "Noto Sans Devanagari", "Noto Sans Arabic", "Noto Sans Thai", "Arial Unicode MS"),
)


def drawable(text: str, fallback: str) -> str:
    """The text as matplotlib draws it, without mathematics and without a missing letter.

    Symbols that no installed font has are left out. A text with another letter that none has gives way to ``fallback``,
    of which only what can be drawn is kept.
    """
    drawn = _drawn(text)
    if drawn is None:
        known = letters()
        drawn = "".join(c for c in nfc(fallback) if ord(c) in known)
    return drawn.replace("$", r"\$")


def _drawn(text: str) -> str | None:
    """The text without symbols that cannot be drawn; None if a letter cannot be, or nothing is left."""
    known, kept = letters(), []
    for c in nfc(text):
        if ord(c) in known:
            kept.append(c)
        elif unicodedata.category(c)[0] in "LN":
            return None
        elif c.isspace():
            kept.append(" ")
    return "".join(kept).strip() or None


def lettering_note(names: Iterable[str]) -> list[str]:
    """A line that says which names cannot be drawn, and what helps; none if all can be."""
    lacking = [name for name in names if _drawn(name) is None]
    if not lacking:
        return []
    more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    return [
        f"no installed font has the letters of {', '.join(lacking[:3])}{more}: pictures show numbers instead; "
        "install a font that has them, e.g. Noto Sans CJK"
    ]


@functools.cache
def families() -> tuple[str, ...]:
    """The installed fonts that letters are looked for in, in this order."""
    installed = set(font_manager.fontManager.get_font_names())
    return ("DejaVu Sans", *(name for name in _MORE_FONTS if name in installed))


@functools.cache
def letters() -> frozenset[int]:
    """The code points that `families` have."""
    paths = (font_manager.findfont(font_manager.FontProperties(family=name)) for name in families())
    return frozenset(code for path in paths for code in FT2Font(path).get_charmap())
