"""SIGTERM, as Slurm sends it before it takes a machine away: finish the step, save, end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import torch

from longtail.errors import Terminated

__all__ = ["Ending", "random_state", "set_random_state"]


_JUDGING = "asked to end (SIGTERM) while judging: everything before is saved"


class Ending:
    """Whether the process was asked to end.

    Args:
        alone: It is the only one: several agree on a moment, so that none ends on its own (`at_once`).
    """

    def __init__(self, *, alone: bool = True) -> None:
        self.asked, self.alone, self._waits = False, alone, True

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Take note of SIGTERM in place of dying of it; outside of the main thread nothing is changed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(*_: object) -> None:
            self.asked = True
            if not self._waits:
                raise Terminated(_JUDGING)

        before = signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this, SIGTERM ends the process as Ctrl-C does, wherever it is: nothing here has to be saved.

        Raises:
            Terminated: it came, now or before.
        """
        try:
            self._waits = not self.alone
            if self.asked and self.alone:
                raise Terminated(_JUDGING)
            yield
        finally:
            self._waits = True


def random_state() -> dict[str, Any]:
    """The states of torch's generators, for what is drawn within a step (dropout, proposals of a detector)."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_state(state: dict[str, Any]) -> None:
    """Inverse of `random_state`."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
