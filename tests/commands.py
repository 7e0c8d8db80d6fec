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
from typing import Any

__all__ = ["FORKED", "Command", "count_calls", "die_at_replacement", "run"]

FORKED = mp.get_context("forkserver")
"""Its processes begin with PyTorch imported."""
FORKED.set_forkserver_preload(["longtail.cli", "longtail.training.run", "sklearn.datasets", "torchvision"])


class Command:
    """A running ``longtail`` command.

    Args:
        words: The command line, without ``longtail``.
        die_at: The process sends itself ``by`` at its n-th replacement of a file, counted from 1; negative: just after
            it instead of just before.
        torn: It has then written half of that file only.
        die_at_call: It does so at its n-th call of a function of longtail instead.
        by: The signal; SIGKILL cannot be caught.
        largest_file: Limit of the size of files in bytes: writing more fails as it does on a full disk.
        environment: More variables of its environment.
    """

    def __init__(
        self,
        words: Sequence[object],
        *,
        die_at: int = 0,
        torn: bool = False,
        die_at_call: int = 0,
        by: signal.Signals = signal.SIGKILL,
        largest_file: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        handle, self._output = tempfile.mkstemp(dir=_outputs())
        os.close(handle)
        death = (die_at, torn, die_at_call, by)
        given = ([*map(str, words)], self._output, death, largest_file, environment or {})
        self.process = FORKED.Process(target=_main, args=given)
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

    def wait(self, seconds: float = 1200) -> int:
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


def run(words: Sequence[object], **options: Any) -> Command:
    """Run a command to its end."""
    command = Command(words, **options)
    command.wait()
    return command


@functools.cache
def _outputs() -> str:
    folder = tempfile.mkdtemp(prefix="longtail-commands-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def count_calls(words: Sequence[object]) -> int:
    """Run a command to its end; the number of its calls of functions of longtail."""
    command = run(words, die_at_call=-1)
    assert command.wait() == 0, command.errors
    return int(Path(command._output + ".calls").read_text())


def _main(
    words: list[str],
    output: str,
    death: tuple[int, bool, int, signal.Signals],
    largest_file: int | None,
    environment: dict[str, str],
) -> None:
    os.environ.update(environment)
    for number, name in ((1, output), (2, output + ".err")):
        with open(name, "w") as f:
            os.dup2(f.fileno(), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background
    die_at, torn, die_at_call, by = death
    if die_at:
        die_at_replacement(die_at, torn=torn, by=by)
    if largest_file is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    import torch

    from longtail.cli import main

    torch.set_num_threads(1)
    calls = _Calls(die_at_call, by) if die_at_call else None
    code = main(words)
    if calls is not None:
        Path(output + ".calls").write_text(str(calls.count))
    sys.stdout.flush()
    os._exit(code)


def die_at_replacement(at: int, *, torn: bool = False, by: signal.Signals = signal.SIGKILL) -> None:
    """Let this process end at a moment that is the same on every machine; arguments as in `Command`."""
    replace, count = os.replace, 0

    def replace_or_die(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count == at:
            if torn:
                os.truncate(source, os.path.getsize(source) // 2)
            os.kill(os.getpid(), by)
        replace(source, target)
        if count == -at:
            os.kill(os.getpid(), by)

    os.replace = replace_or_die


class _Calls:
    """Counts the calls of this thread, and ends the process at one of them."""

    def __init__(self, at: int, by: signal.Signals) -> None:
        self.count, self.at, self.by = 0, at, by
        sys.setprofile(self)

    def __call__(self, frame: Any, event: str, _: Any) -> None:
        if event == "call" and "longtail" in frame.f_code.co_filename:
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), self.by)
