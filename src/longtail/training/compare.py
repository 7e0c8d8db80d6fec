"""Train many runs, those that are missing: what ``longtail compare`` and ``longtail reproduce`` do."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from longtail.errors import LongtailError
from longtail.training.config import RunConfig

__all__ = ["Job", "comparison_jobs", "run_jobs"]


@dataclasses.dataclass(frozen=True)
class Job:
    """A run and its folder, and that of the job which must be done before, if there is one."""

    config: RunConfig
    folder: Path
    after: Path | None = None

    @property
    def label(self) -> str:
        return f"{self.folder.parent.name}, seed {self.config.seed}"


def comparison_jobs(config: RunConfig, methods: Sequence[str], seeds: int, out: Path) -> list[Job]:
    """The runs of a comparison, all methods of a seed before the next seed.

    Args:
        config: What the runs have in common; its ``method_kwargs`` go to every method that has such a hyperparameter.
        methods: ``NAME`` or ``NAME:key=value,key=value``.
        seeds: Number of seeds, counted from ``config.seed``.
        out: Folder of the comparison: a run is in ``out/LABEL/seed-<k>``.

    Raises:
        LongtailError: an unknown method or hyperparameter, or one method twice; nothing has been written then.
    """
    from longtail.kwargs import parse_kwargs, parse_method
    from longtail.methods import get_method

    if not methods:
        raise LongtailError("--methods is empty: name at least one, e.g. --methods ce cdb-w cdb-s")
    if seeds < 1:
        raise LongtailError(f"--seeds is {seeds}: it must be at least 1")
    chosen: dict[str, tuple[str, tuple[str, ...]]] = {}
    used: set[str] = set()
    for text in methods:
        name, own = parse_method(text)
        known = {f.name for f in dataclasses.fields(get_method(name))} | {"preset"}
        shared = tuple(item for item in config.method_kwargs if item.partition("=")[0] in known)
        used |= set(shared)
        label = re.sub(r"[^\w.=,+-]+", "_", text.replace(":", "-"))
        if label in chosen:
            raise LongtailError(f"--methods names {text!r} twice")
        get_method(name, **parse_kwargs((*shared, *own)))
        chosen[label] = (name, (*shared, *own))
    for item in config.method_kwargs:
        if item not in used:
            raise LongtailError(f"--method-kwargs {item}: none of {', '.join(methods)} has this hyperparameter")
    return [
        Job(dataclasses.replace(config, method=name, method_kwargs=kwargs, seed=seed), out / label / f"seed-{seed}")
        for seed in range(config.seed, config.seed + seeds)
        for label, (name, kwargs) in chosen.items()
    ]


def run_jobs(jobs: Sequence[Job], *, parallel: int = 1, after: Callable[[Job], None] | None = None) -> None:
    """Train all jobs that are not finished.

    Args:
        jobs: What to train, in this order.
        parallel: Runs at a time; above 1 each is a process of its own with its share of the CPU cores.
        after: Called after every finished job, one call at a time.

    Raises:
        LongtailError: a run failed; what was trained before is kept, and the same call continues.
    """
    if parallel < 1:
        raise LongtailError(f"--jobs is {parallel}: it must be at least 1")
    _check_folders(jobs)
    if parallel == 1:
        from longtail.training.progress import for_terminal
        from longtail.training.run import train

        for job in jobs:
            try:
                train(job.config, job.folder, progress=for_terminal(job.label))
            except LongtailError as error:
                raise LongtailError(f"{job.label}: {error}") from None
            if after:
                after(job)
        return
    for job in _in_processes(jobs, parallel):
        if after:
            after(job)


def _check_folders(jobs: Sequence[Job]) -> None:
    """Refuse before the first run what would be refused at the last one."""
    from longtail.training.folder import RunFolder
    from longtail.training.recipes import resolve

    for job in jobs:
        RunFolder(job.folder).check(resolve(job.config))


def _in_processes(jobs: Sequence[Job], parallel: int) -> Iterator[Job]:
    """Train each job in a process of its own; yields them as they finish. When one fails, the others end too."""
    threads = max(1, (os.cpu_count() or 1) // parallel)
    waiting, running = list(jobs), dict[subprocess.Popen[bytes], tuple[Job, IO[bytes]]]()
    try:
        while waiting or running:
            missing = {job.folder for job in (*waiting, *(job for job, _ in running.values()))}
            ready = next((job for job in waiting if job.after not in missing), None)
            if ready and len(running) < parallel:
                waiting.remove(ready)
                job, errors = ready, tempfile.TemporaryFile()  # noqa: SIM115  (closed with its process)
                running[_start(job, threads, errors)] = job, errors
                continue
            ended = next((process for process in running if process.poll() is not None), None)
            if ended is None:
                time.sleep(0.05)
                continue
            job, errors = running.pop(ended)
            with errors:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines()
            if ended.returncode:
                ending = "exit code" if ended.returncode > 0 else "ended by signal"
                reason = lines[-1] if lines else f"{ending} {abs(ended.returncode)}"
                raise LongtailError(f"{job.label}: {reason.removeprefix('error: ')}")
            yield job
    finally:
        for process, (_, errors) in running.items():
            process.terminate()  # the same call continues it
            process.wait()
            errors.close()


def _start(job: Job, threads: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    code = "import json, sys; from longtail.cli import train_job; sys.exit(train_job(*json.loads(sys.argv[1])))"
    task = json.dumps([job.config.to_dict(), str(job.folder), job.label])
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen([sys.executable, "-c", code, task], env=environment, stderr=errors)
