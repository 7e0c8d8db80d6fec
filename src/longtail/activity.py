"""What a command is doing, for whoever waits for it: a line when nothing was said for a while.

`watched` says it, `now` and `counted` tell it, from wherever the work is done; without `watched` they do nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, TypeVar

__all__ = ["counted", "now", "rest", "spoke", "watched"]

FIRST, AGAIN = 1.0, 30.0
"""Seconds of silence before the first line of an activity, and before any other."""
T = TypeVar("T")


class _Watch(threading.Thread):
    """Says from time to time what goes on."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(daemon=True)
        self.stream, self.over = stream, threading.Event()
        self.text, self.count, self.begin, self.last = "", "", time.monotonic(), time.monotonic()
        self.patience, self.resting = FIRST, False

    def run(self) -> None:
        while not self.over.wait(0.2):
            if not self.resting and self.text and time.monotonic() - self.last >= self.patience:
                self.say()

    def say(self) -> None:
        waited = round(time.monotonic() - self.begin)
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more
            self.stream.write(f"{self.text}{self.count}" + (f" ({waited} s)\n" if waited > 1 else "\n"))
            self.stream.flush()
        self.last, self.patience = time.monotonic(), AGAIN


_watch: _Watch | None = None


@contextlib.contextmanager
def watched(text: str, stream: IO[str], *, at_once: bool = False) -> Iterator[None]:
    """While this lasts, silence is broken with what goes on.

    Args:
        text: What goes on first.
        stream: Where to say it.
        at_once: Say the first text now: what follows may keep other threads from speaking.
    """
    global _watch
    _watch = own = _Watch(stream)
    own.text = text
    if at_once:
        own.say()
    own.start()
    try:
        yield
    finally:
        own.over.set()
        own.join()
        _watch = None


def now(text: str) -> None:
    """Something else begins."""
    if _watch is not None:
        _watch.text, _watch.count, _watch.begin, _watch.patience = text, "", time.monotonic(), FIRST


def counted(items: Sequence[T]) -> Iterator[T]:
    """The items, with the number of those that are done told."""
    for done, item in enumerate(items):
        if _watch is not None:
            _watch.count = f": {done} of {len(items)}"
        yield item


def spoke() -> None:
    """Something was said: no other line is needed for a while."""
    if _watch is not None:
        _watch.last, _watch.patience = time.monotonic(), AGAIN


def rest(yes: bool = True) -> None:
    """A progress bar is on the screen and says more."""
    if _watch is not None:
        _watch.resting = yes
