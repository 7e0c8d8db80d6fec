"""The command line in real processes, forked from one that has imported everything: quick to start, safe to kill."""

from __future__ import annotations

import atexit
import functools
import multiprocessing as mp
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Command", "run"]

_CONTEXT = mp.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["longtail.cli", "longtail.training.run", "sklearn.datasets", "torchvision"])


class Command:
    """A running ``longtail`` command.

    Args:
        words: The command line, without ``longtail``.
        die_at: The process kills itself with SIGKILL at its n-th replacement of a file, counted from 1; negative: just
            after it instead of just before.
        largest_file: Limit of the size of files in bytes: writing more fails as it does on a full disk.
    """

    def __init__(self, words: Sequence[object], *, die_at: int = 0, largest_file: int | None = None) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        handle, self._output = tempfile.mkstemp(dir=_outputs())
        os.close(handle)
        self.process = _CONTEXT.Process(target=_main, args=([*map(str, words)], self._output, die_at, largest_file))
        self.process.start()

    def kill(self) -> None:
        """SIGKILL, if it is still running."""
        self.process.kill()
        self.wait()

    def interrupt(self) -> None:
        """SIGINT, as Ctrl-C sends it, if it is still running."""
        assert self.process.pid is not None
        if self.running:
            os.kill(self.process.pid, signal.SIGINT)

    def wait(self, seconds: float = 300) -> int:
        """The exit code; ``-9`` after SIGKILL."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"still running after {seconds} s: {self.output}"
        return self.process.exitcode

    @property
    def running(self) -> bool:
        return self.process.exitcode is None

    @property
    def output(self) -> str:
        """What it has printed on standard output."""
        return Path(self._output).read_text(encoding="utf-8")

    @property
    def errors(self) -> list[str]:
        """The lines that it has printed on standard error."""
        return Path(self._output + ".err").read_text(encoding="utf-8").splitlines()


def run(words: Sequence[object], **options: int) -> Command:
    """Run a command to its end."""
    command = Command(words, **options)
    command.wait()
    return command


@functools.cache
def _outputs() -> str:
    folder = tempfile.mkdtemp(prefix="longtail-commands-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _main(words: list[str], output: str, die_at: int, largest_file: int | None) -> None:
    for number, name in ((1, output), (2, output + ".err")):
        with open(name, "w") as f:
            os.dup2(f.fileno(), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background
    if die_at:
        _die(die_at)
    if largest_file is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    import torch

    from longtail.cli import main

    torch.set_num_threads(1)
    code = main(words)
    sys.stdout.flush()
    os._exit(code)


def _die(at: int) -> None:
    replace, count = os.replace, 0

    def replace_or_die(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if count == -at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace_or_die
