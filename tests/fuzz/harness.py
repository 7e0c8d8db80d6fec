"""Runs a reader on damaged files, in a process of its own with bounds on its time and memory."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from commands import FORKED
from fuzz.mutations import mutated
from fuzz.readers import READERS, Reader
from longtail.errors import LongtailError

__all__ = ["Outcome", "fuzz"]

SECONDS = 5
"""Of the processor's time: what a loaded machine does beside this does not count."""
MEMORY = 2 << 30
LONGEST = 1500
"""Characters of one clear line; the known names of a list are many."""


@dataclasses.dataclass
class Outcome:
    """What became of the mutations of one reader."""

    read: int = 0
    refused: int = 0
    seconds: float = 0  # of the processor, with the making of the sample
    failures: list[str] = dataclasses.field(default_factory=list)


class _Hang(BaseException):
    pass


def fuzz(name: str, folder: Path, *, count: int, seed: int = 0, first: int = 0) -> Outcome:
    """Let a reader read ``count`` damaged samples: each is a result or a `LongtailError`, in time and in bounds.

    Args:
        name: Of the reader.
        folder: Empty, for the sample.
        count: Mutations.
        seed, first: Mutation number k is a function of the reader's name, the seed and k; begin with ``first``.
    """
    log = folder / "outcome.json"
    process = FORKED.Process(target=_work, args=(name, str(folder / "sample"), str(log), count, seed, first))
    process.start()
    process.join()
    lines = log.read_text().splitlines() if log.exists() else []
    if process.exitcode == 0:
        return Outcome(**json.loads(lines[-1]))
    return Outcome(failures=[f"the process ended with {process.exitcode} in mutation {lines[-1] if lines else '?'}"])


def _work(name: str, place: str, log: str, count: int, seed: int, first: int) -> None:
    import resource

    import torch

    torch.set_num_threads(1)
    reader, folder = READERS[name], Path(place)
    folder.mkdir()
    signal.signal(signal.SIGPROF, _stop)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), open(log, "w") as out:
        files = list(reader.make(folder))
        whole = _content(folder)
        reader.read(folder)  # the sample is valid; and what it imports is loaded
        _restore(folder, whole)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
        outcome, places = Outcome(), Counter[str]()
        for number in range(first, first + count):
            draw = random.Random(f"{name}:{seed}:{number}")
            path = draw.choice(files)
            content = mutated(path.name, whole[path], draw)
            path.write_bytes(content)
            out.seek(0)
            out.truncate()
            out.write(f"{number} of {path.name}\n")
            out.flush()
            what, fault = _try(reader, folder, path)
            if what == "failed":
                places[fault] += 1
                if places[fault] == 1:
                    outcome.failures.append(f"mutation {number} of {path.relative_to(folder)}: {fault}")
            else:
                setattr(outcome, what, getattr(outcome, what) + 1)
            if reader.writes:
                _restore(folder, whole)
            else:
                path.write_bytes(whole[path])
        outcome.failures = [f"{places[line.partition(': ')[2]]} times, {line}" for line in outcome.failures]
        outcome.seconds = time.process_time()
        out.write(json.dumps(dataclasses.asdict(outcome)) + "\n")


def _stop(*_: Any) -> None:
    raise _Hang


def _try(reader: Reader, folder: Path, path: Path) -> tuple[str, str]:
    """``read``, ``refused`` or ``failed``, and why."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings(action="ignore"):
            reader.read(folder)
        return "read", ""
    except LongtailError as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        return _judged(error, reader, folder, path)
    except _Hang:
        return "failed", f"more than {SECONDS} s at {_place(sys.exc_info()[2])}"
    except BaseException as error:
        return "failed", f"{type(error).__name__} ({str(error)[:100]!r}) at {_place(error.__traceback__)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _judged(error: LongtailError, reader: Reader, folder: Path, path: Path) -> tuple[str, str]:
    text, cause = str(error), error.__context__
    while cause is not None:
        if isinstance(cause, MemoryError):
            return "failed", f"more than {MEMORY >> 20} MiB at {_place(cause.__traceback__)}"
        cause = cause.__context__
    if len(text) > LONGEST or not text.replace("\u200d", "").replace("\u200c", "").isprintable():
        return "failed", f"an error of {len(text)} characters that is no clear line at {_place(error.__traceback__)}"
    if reader.names and path.name not in text and str(folder) not in text:
        return "failed", f"an error that names no file at {_place(error.__traceback__)}: {text[:100]}"
    return "refused", ""


def _place(trace: Any) -> str:
    """The last line of ours, and the last one of all."""
    frames = traceback.extract_tb(trace)
    own = [frame for frame in frames if f"{os.sep}longtail{os.sep}" in frame.filename]
    shown = dict.fromkeys(
        f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno}" for f in (own or frames)[-1:] + frames[-1:]
    )
    return " and ".join(shown)


def _content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _restore(folder: Path, whole: dict[Path, bytes]) -> None:
    for path in list(folder.rglob("*")):
        if path.is_file() and path not in whole:
            path.unlink()
    for path, content in whole.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.write_bytes(content)
