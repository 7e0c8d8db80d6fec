"""The exception type for mistakes that the user can mend, what any exception says, and how a run ends when asked to."""

from __future__ import annotations

__all__ = ["Busy", "DataError", "LongtailError", "Terminated", "message_of"]


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM) and has saved what it had; the command line exits with code 143."""


class LongtailError(ValueError):
    """A mistake in input, options or files, told in one line that says what is wrong and what to do.

    The command line prints the message and exits with code 2. In Python it is an ordinary ``ValueError``.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(map(_shown, str(message).split())))


class Busy(LongtailError):
    """Another process holds the folder: it may be waited for."""


class DataError(LongtailError):
    """The data cannot be used, whatever is trained on them: there is no need to try another method."""


_LONGEST = 240
"""Characters of one word: a path may be long, but no number or garbage of a file fills a screen."""
_JOINERS = "\u200c\u200d"  # not "printable", but they shape the letters around them


def _shown(word: str) -> str:
    """A word as a terminal can take it."""
    if len(word) > _LONGEST:
        word = f"{word[: _LONGEST // 2]}[{len(word) - _LONGEST} characters]{word[-_LONGEST // 2 :]}"
    return "".join(c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode() for c in word)


def message_of(error: Exception) -> str | None:
    """One line for an error that the user can mend; None for any other."""
    if isinstance(error, LongtailError):
        return str(error)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or error}: nothing is half-written; mend it and run the same command"
    if isinstance(error, ImportError):
        return f"{error}: pip install 'longtail[train]' installs what the command line needs"
    if type(error).__name__ == "OutOfMemoryError":
        return "out of GPU memory: lower --batch-size or --image-size, or use --precision bf16"
    return None
