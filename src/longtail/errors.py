"""The one exception type for mistakes that the user can mend."""

__all__ = ["LongtailError"]


class LongtailError(ValueError):
    """A mistake in input, options or files, told in one line that says what is wrong and what to do.

    The command line prints the message and exits with code 2. In Python it is an ordinary ``ValueError``.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(map(_shown, str(message).split())))


_LONGEST = 240
"""Characters of one word: a path may be long, but no number or garbage of a file fills a screen."""
_JOINERS = "\u200c\u200d"  # not "printable", but they shape the letters around them


def _shown(word: str) -> str:
    """A word as a terminal can take it."""
    if len(word) > _LONGEST:
        word = f"{word[: _LONGEST // 2]}[{len(word) - _LONGEST} characters]{word[-_LONGEST // 2 :]}"
    return "".join(c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode() for c in word)
