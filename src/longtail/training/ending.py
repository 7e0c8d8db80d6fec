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


class Ending:
    """Whether the process was asked to end."""

    def __init__(self) -> None:
        self.asked = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Take note of SIGTERM in place of dying of it; outside of the main thread nothing is changed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(*_: object) -> None:
            self.asked = True

        before = signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)

    def now(self) -> None:
        """End here if that was asked for: everything is saved.

        Raises:
            Terminated: it was.
        """
        if self.asked:
            raise Terminated("asked to end (SIGTERM): everything so far is saved")


def random_state() -> dict[str, Any]:
    """The states of torch's generators, for what is drawn within a step (dropout, proposals of a detector)."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_state(state: dict[str, Any]) -> None:
    """Inverse of `random_state`."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
