"""Scripts without a main guard: each process that they start would run them again from the top."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from pathlib import Path

__all__ = ["leave_unguarded_script", "unguarded_script"]


def leave_unguarded_script() -> None:
    """End a process that is still on its way up and so runs the script of the one that started it; that one tells."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself finds out
        raise SystemExit(1)


def unguarded_script() -> str | None:
    """The running script if it has no main guard; None if it has one, or if nothing is known of it."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    with contextlib.suppress(OSError, ValueError):
        if file and "__name__" not in Path(file).read_text(encoding="utf-8", errors="replace"):
            return str(file)
    return None
