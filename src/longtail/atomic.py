"""Files that are whole or absent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["atomic", "named"]


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an error of the system say which file could not be written: of a full disk it does not on its own."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from None


def atomic(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    A process killed at any moment leaves the old file or the new one, never a part of one.

    Args:
        path: The file to be.
        write: Called with the path of the temporary file.

    Raises:
        OSError: the file cannot be written; the old one is untouched and no temporary file stays.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # of a process that was killed, or a link that somebody put there
    try:
        # A new file, never one that a link leads to; the system takes the umask off its permissions.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        mode = temporary.stat().st_mode
        with named(path):
            write(temporary)
            with open(temporary, "rb+") as f:
                os.fsync(f.fileno())
        if temporary.stat().st_mode != mode:  # some writers make private files of their own
            temporary.chmod(mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # some file systems cannot sync a directory
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
