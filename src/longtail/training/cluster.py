"""Runs as jobs of a cluster: one Slurm array, through submitit (extra ``slurm``)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from longtail.config import RunConfig
from longtail.errors import LongtailError, message_of
from longtail.kwargs import parse_kwargs
from longtail.training.jobs import Job, Outcome, unfinished
from longtail.training.launch import train_or_wait
from longtail.training.progress import Lines

__all__ = ["Submission", "submitted"]

_LOOK = 1.0
"""Seconds between two looks at the jobs."""


@dataclasses.dataclass(frozen=True)
class Submission:
    """How a cluster trains runs: by ``slurm``, or by ``local`` processes in its place.

    Args:
        cluster: Which.
        options: Of submitit, ``key=value``: ``slurm_partition=gpu``, ``timeout_min=600``, ``gpus_per_node=1``.
        folder: Where its scripts and logs go.
    """

    cluster: str
    options: tuple[str, ...]
    folder: Path


class _Run:
    """One run on the machine that it is given; asked to make room, it is queued again and continues."""

    def __call__(self, config: dict[str, Any], folder: str, label: str) -> str | None:
        """Train; why that failed, in one line."""
        try:
            train_or_wait(RunConfig.from_dict(config), Path(folder), Lines(label), wait=True)
        except Exception as error:
            message = message_of(error)
            if message is None:
                raise
            return message
        return None

    def checkpoint(self, *arguments: Any) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def submitted(jobs: Sequence[Job], how: Submission, *, parallel: int) -> Iterator[Outcome]:
    """Submit the jobs that are not finished, those that wait for another one after it, and wait for all.

    What was submitted goes on where this process ends; the same command continues, and trains nothing twice.

    Args:
        jobs: What to train.
        how: By what.
        parallel: Jobs of the array at a time; 1: as many as the cluster likes.

    Raises:
        LongtailError: submitit is missing, or refuses an option; nothing has been submitted then.
    """
    executor = _executor(how, parallel)
    waiting, running, failed = unfinished(jobs), dict[Path, tuple[Job, Any]](), set[Path]()
    while waiting or running:
        for job in [job for job in waiting if job.after in failed]:
            waiting.remove(job)
            failed.add(job.folder)
            yield Outcome(job, f"it starts from {job.after}, which failed")
        missing = {job.folder for job in waiting} | set(running)
        ready = [job for job in waiting if job.after not in missing]
        if ready:
            arguments = [(job.config.to_dict(), str(job.folder.absolute()), job.label) for job in ready]
            handles = executor.map_array(_Run(), *zip(*arguments, strict=True))
            running |= {job.folder: (job, handle) for job, handle in zip(ready, handles, strict=True)}
            waiting = [job for job in waiting if job not in ready]
            print(f"submitted {len(ready)} runs, logs in {how.folder}", flush=True)
        for job, handle in [one for one in running.values() if one[1].done()]:
            del running[job.folder]
            problem = _problem(handle)
            if problem is not None:
                failed.add(job.folder)
            yield Outcome(job, problem)
        if running:
            time.sleep(_LOOK)


def _problem(handle: Any) -> str | None:
    error = handle.exception()
    if error is None:
        return handle.result()
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"job {handle.job_id} ended without a result ({lines[-1]}): see {handle.paths.stderr}"


def _executor(how: Submission, parallel: int) -> Any:
    try:
        import submitit
    except ImportError:
        raise LongtailError("--submit needs submitit: pip install 'longtail[slurm]'") from None
    options = parse_kwargs(how.options)
    if how.cluster == "slurm" and parallel > 1:
        options = {"slurm_array_parallelism": parallel} | options
    try:
        executor = submitit.AutoExecutor(folder=how.folder, cluster=how.cluster)
        executor.update_parameters(name="longtail", **{"timeout_min": 24 * 60} | options)
    except (NameError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise LongtailError(f"--submit {how.cluster}: {' '.join(str(error).split())}") from None
    return executor
