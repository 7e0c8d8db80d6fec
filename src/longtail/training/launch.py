"""Train many runs, those that are missing: what ``longtail compare`` and ``longtail reproduce`` do.

``python -m longtail.training.launch`` is one run in a process of its own: it reads its task from standard input and
ends when that is closed, so that no run outlives whoever began it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from longtail import runfolder
from longtail.config import RunConfig
from longtail.errors import Busy, DataError, LongtailError, Terminated, message_of
from longtail.training.jobs import Job, Outcome, unfinished
from longtail.training.progress import Lines, Progress, Whole, for_terminal

__all__ = ["run_jobs", "train_or_wait"]

_TOLD_EVERY = 15.0
"""Seconds between two lines about all runs where several are trained at a time."""
_GRACE = 5.0
"""Seconds that a run has to save its work when whoever began it has died."""
_AGAIN = 2.0
"""Seconds until a folder that another launcher holds is tried again."""
_BUSY, _DATA = 75, 65
"""Exit codes of a run whose folder is held, and of one whose data cannot be used."""
_LAST_GRACE = 60.0
"""The same when it is asked to end."""
_STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


def run_jobs(jobs: Sequence[Job], *, parallel: int = 1) -> Iterator[Outcome]:
    """Train the jobs that are not finished. One that fails does not end the others, unless the data are the reason and
    none before it has begun.

    Several launchers may share the jobs: each trains what the others do not, and ends when all are done.

    Args:
        jobs: What to train, in this order.
        parallel: Runs at a time; above 1 each is a process of its own with its share of the CPU cores.

    Yields:
        Each job that was trained or failed, as it ends.

    Raises:
        LongtailError: ``parallel`` below 1, a folder that may not be used, or data that cannot be; nothing has been
            trained then.
    """
    if parallel < 1:
        raise LongtailError(f"--jobs is {parallel}: it must be at least 1")
    left = unfinished(jobs)
    if parallel == 1 or len(left) < 2:
        yield from _here(left)
    else:
        with _stopped_by_signals():
            yield from _in_processes(left, parallel)


def train_or_wait(config: RunConfig, folder: Path, progress: Progress, *, wait: bool) -> None:
    """Train, or leave it to the launcher that trains in this folder already: ``wait`` until it has ended.

    Raises:
        Busy: another process holds the folder, and ``wait`` is false.
    """
    from longtail.training.run import train

    told = False
    while True:
        try:
            # A run is in OUT/LABEL/seed-<k>: features are kept beside OUT, for all comparisons there.
            train(config, folder, progress=progress, features=folder.parent.parent.parent / runfolder.FEATURES)
            return
        except Busy:
            if not wait:
                raise
        if not told:
            progress.note(f"another launcher trains in {folder}: waiting for it")
            told = True
        time.sleep(_AGAIN)


def _here(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Train one after the other in this process; those that another launcher trains come last."""
    whole, failed, later = Whole(len(jobs)), set[Path](), set[Path]()
    waiting, begun = [(job, False) for job in jobs], False
    for job, wait in waiting:  # it grows
        problem = _start_missing(job, failed)
        if problem is None:
            try:
                if job.after in later and not wait:
                    raise Busy(f"it starts from {job.after}")
                train_or_wait(job.config, job.folder, for_terminal(job.label, whole), wait=wait)
            except BrokenPipeError:
                raise
            except Busy:
                later.add(job.folder)
                waiting.append((job, True))
                continue
            except Exception as error:
                if isinstance(error, DataError) and not begun:
                    raise
                problem = message_of(error)
                if problem is None:
                    traceback.print_exc()
                    problem = f"{type(error).__name__}: {error}"
        begun = True
        whole.end_run()
        if problem is not None:
            failed.add(job.folder)
        yield Outcome(job, problem)


def _start_missing(job: Job, failed: set[Path]) -> str | None:
    return f"it starts from {job.after}, which failed" if job.after in failed else None


# -- several at a time ----------------------------------------------------------------------------------------------
@dataclasses.dataclass(eq=False)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def problem(self) -> str | None:
        """After the end: why the run failed."""
        code = self.process.returncode
        if not code:
            return None
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        if lines:
            return lines[-1].removeprefix("error: ")
        if code == -9:
            return "killed by signal 9, as the system does where memory runs out: lower --jobs or --batch-size"
        return f"ended by signal {-code}" if code < 0 else f"exit code {code}"


def _in_processes(jobs: Sequence[Job], parallel: int) -> Iterator[Outcome]:
    threads = max(1, (os.cpu_count() or 1) // parallel)
    waiting, running, failed, held = list(jobs), list[_Running](), set[Path](), set[Path]()
    whole, told, begun = Whole(len(jobs)), time.monotonic(), False
    try:
        while waiting or running:
            missing = {job.folder for job in (*waiting, *(one.job for one in running))}
            ready = next((job for job in waiting if job.after not in missing), None)
            if ready and (problem := _start_missing(ready, failed)):
                waiting.remove(ready)
                failed.add(ready.folder)
                yield Outcome(ready, problem)
                continue
            if ready and len(running) < parallel:
                waiting.remove(ready)
                others = any(job.folder not in held for job in waiting)  # those that another launcher trains come last
                running.append(_start(ready, threads, wait=not others))
                continue
            ended = next((one for one in running if one.process.poll() is not None), None)
            if ended is None:
                if time.monotonic() - told > _TOLD_EVERY:
                    told = time.monotonic()
                    done = sum(_share_done(one.job) for one in running)
                    print(f"{whole.text(done)}, {len(running)} at a time", flush=True)
                time.sleep(0.05)
                continue
            running.remove(ended)
            if ended.process.returncode == _BUSY:
                held.add(ended.job.folder)
                waiting.append(ended.job)
                _close(ended)
                continue
            problem = ended.problem()
            _close(ended)
            if ended.process.returncode == _DATA and not begun:
                raise DataError(problem or "the data cannot be used")
            begun = True
            if problem is not None:
                failed.add(ended.job.folder)
            whole.end_run()
            yield Outcome(ended.job, problem)
    finally:
        _end(running)


def _share_done(job: Job) -> float:
    """Share of the job's epochs that are done."""
    from longtail.training.recipes import resolve

    try:
        rows = (job.folder / runfolder.HISTORY).read_bytes().count(b"\n") - 1
    except OSError:
        return 0.0
    return max(0, rows) / (resolve(job.config).epochs or 1)


def _start(job: Job, threads: int, *, wait: bool) -> _Running:
    errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with its process)
    process = subprocess.Popen(
        [sys.executable, "-m", "longtail.training.launch"],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdin=subprocess.PIPE,  # stays open: that it closes tells the process that this one has died
        stderr=errors,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has died already: its exit code tells
        process.stdin.write(json.dumps([job.config.to_dict(), str(job.folder), job.label, wait]).encode() + b"\n")
        process.stdin.flush()
    return _Running(job, process, errors)


def _close(one: _Running) -> None:
    one.errors.close()
    assert one.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        one.process.stdin.close()


def _end(running: Sequence[_Running]) -> None:
    """Ask all to end, then wait: the same call continues them."""
    for one in running:
        one.process.terminate()
    until = time.monotonic() + _LAST_GRACE
    try:
        for one in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.process.wait(max(0, until - time.monotonic()))
    finally:
        for one in running:
            one.process.kill()
            one.process.wait()
            _close(one)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let the signals that end a process unwind it first, so that its children are ended too."""

    def stop(number: int, frame: Any) -> None:
        del frame
        sys.stderr.write(f"error: ended by {signal.Signals(number).name}; the same command continues\n")
        raise SystemExit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in _STOPPING:
            if signal.getsignal(number) == signal.SIG_DFL:  # not where nohup wants it ignored
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- one run in a process of its own --------------------------------------------------------------------------------
def _end_with_parent() -> None:
    """Wait until standard input closes: whoever began this run has died."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # saves what it can
    time.sleep(_GRACE)
    os._exit(128 + signal.SIGTERM)


def _main() -> int:
    line = bytearray()
    while (letter := os.read(0, 1)) not in (b"\n", b""):
        line += letter
    threading.Thread(target=_end_with_parent, daemon=True).start()
    config, folder, label, wait = json.loads(line)
    try:
        train_or_wait(RunConfig.from_dict(config), Path(folder), Lines(label), wait=wait)
    except Busy:
        return _BUSY
    except Terminated:
        return 143
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        message = message_of(error)
        if message is None:
            raise
        sys.stderr.write(f"error: {' '.join(message.split())}\n")
        return _DATA if isinstance(error, DataError) else 2
    return 0


if __name__ == "__main__":
    sys.exit(_main())
