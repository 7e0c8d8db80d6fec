"""``compare`` and ``report``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, Suppress, arg

from longtail.commands.shared import DATA, Aim, file_name, plain
from longtail.config import RunConfig
from longtail.errors import LongtailError
from longtail.output import report_on, say, warn

__all__ = ["Compare", "Report"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare(RunConfig):
    """Train several methods with several seeds, those that are missing, and write a report.

    Args:
        data: Data set as ``NAME[:PATH]``.
        methods: Methods, each ``NAME`` or ``NAME:key=value,key=value``; ``auto``: those that an expert would try, a
            dozen where a classifier is trained on features and ``ce cdb-w cdb-s`` otherwise; ``all``.
        seeds: Number of seeds of each method, counted from ``seed``; default: 5 on features, otherwise 3.
        data_seed: Seed of the subset and of the splits for all runs; default: each seed cuts its own.
        jobs: Runs at a time, each a process with its share of the cores.
        submit: Let a cluster train the runs: ``slurm``, or ``local`` processes in its place.
        submit_options: Of submitit, as ``key=value``: ``slurm_partition=gpu gpus_per_node=1 timeout_min=600``.
        aim: As of ``train``, for every method that has such a choice.
        out: Folder of the comparison: runs in ``LABEL/seed-<k>``, and the report; default: ``runs/DATA``.
        config: A run folder's ``config.json`` to take the other options from.
        baseline: What the others are compared with; default: ``ce`` if it is there.

    Examples:
        longtail compare folder:photos
        longtail compare coco:boxes -m ce seesaw rfs --seeds 3 -o comparison
        longtail compare digits -m ce cdb-w cdb-w:tau=1.5 --seeds 5 --jobs 2 -o comparison
    """

    data: Annotated[Positional[str], DATA] = ""
    method: Suppress[str] = "ce"
    methods: tuple[str, ...] = ("auto",)
    seeds: int | None = None
    jobs: int = 1
    submit: Literal["slurm", "local"] | None = None
    submit_options: tuple[str, ...] = ()
    aim: Aim | None = None
    out: Path | None = None
    config: Path | None = None
    baseline: str | None = None

    def run(self) -> int:
        config = plain(self)
        out = self.out or Path("runs") / file_name(config.data)
        say(f"comparing methods on {config.data}")  # before long imports
        from longtail.training.jobs import comparison_jobs, unfinished
        from longtail.training.launch import run_jobs
        from longtail.training.rows import chosen_methods, worth_tuning

        if self.submit_options and self.submit is None:
            raise LongtailError("--submit-options belongs to --submit slurm")
        methods, seeds = chosen_methods(config, self.methods, self.seeds)
        say(f"{len(methods)} methods with {seeds} seeds each: {', '.join(methods)}")
        jobs = comparison_jobs(config, methods, seeds, out, aim=self.aim)
        baseline = _baseline(self.baseline, jobs, out)
        left = unfinished(jobs)
        say(f"{len(jobs)} runs: {len(jobs) - len(left)} finished already, {len(left)} to train")
        for note in _about_jobs(self.jobs, len(left)) if self.submit is None else ():
            say(f"note: {note}")
        last_of_seed, failed = {job.config.seed: job for job in jobs}, []
        if self.submit is None:
            outcomes = run_jobs(jobs, parallel=self.jobs)
        else:
            from longtail.training.cluster import Submission, submitted

            outcomes = submitted(
                jobs, Submission(self.submit, self.submit_options, out / "submitted"), parallel=self.jobs
            )
        for outcome in outcomes:
            if outcome.problem is not None:
                failed.append(outcome)
                say(f"{outcome.job.label} failed, the others go on: {outcome.problem}")
            elif self.jobs == 1 and outcome.job is last_of_seed[outcome.job.config.seed] is not jobs[-1]:
                report_on(out, baseline=baseline, quiet=True)  # a first answer before all seeds are done
        if len(failed) == len(jobs):
            more = f" (and {len(failed) - 1} more runs failed)" if len(failed) > 1 else ""
            raise LongtailError(f"{failed[0].job.label}: {failed[0].problem}{more}")
        report_on(out, baseline=baseline)
        if self.methods == ("auto",) and config.tune is None and (best := worth_tuning(jobs)):
            words = f"longtail compare {config.data} --tune all --methods {' '.join(best)} --seeds 3 --out {out}-tuned"
            say(f"to fine-tune the best of them on held-out samples: {words}")
        for outcome in failed:
            warn(f"{outcome.job.label} failed: {outcome.problem}")
        return 1 if failed else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Write report.html, CSV tables and figures from the finished runs in and below a folder.

    Args:
        folder: A run folder, a comparison, or any folder above such folders.
        baseline: What the other methods are compared with; default: ``ce`` if it is there.

    Examples:
        longtail report comparison --baseline balanced-softmax
    """

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    baseline: str | None = None

    def run(self) -> int:
        return report_on(self.folder, baseline=self.baseline)


def _baseline(wanted: str | None, jobs: Sequence[Any], out: Path) -> str | None:
    """The baseline as the report will know it, among the runs to come and those that are in ``out`` already."""
    if wanted is None:
        return None
    names = {job.folder.parent.name for job in jobs} | {job.config.method for job in jobs}
    names |= {folder.parent.name for folder in out.glob("*/seed-*")}
    forgiven = wanted.lower().replace("_", "-")
    found = next((name for name in (wanted, wanted.replace(":", "-"), forgiven) if name in names), None)
    if found is None:
        raise LongtailError(f"--baseline {wanted} is none of the methods compared: {', '.join(sorted(names))}")
    return found


def _about_jobs(parallel: int, left: int) -> list[str]:
    """What to say of so many runs at a time."""
    cores, at_once = os.cpu_count() or 1, min(parallel, left)
    if at_once <= cores:
        return []
    return [f"--jobs {parallel}: {at_once} runs at a time share {cores} cores and the memory; --jobs {cores} may do"]
