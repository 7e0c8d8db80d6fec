"""The runs of a comparison, and which of them are still to train."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from longtail import runfolder
from longtail.config import RunConfig
from longtail.errors import LongtailError

__all__ = ["Job", "Outcome", "comparison_jobs", "unfinished"]


@dataclasses.dataclass(frozen=True)
class Job:
    """A run and its folder, and that of the job which must be done before, if there is one."""

    config: RunConfig
    folder: Path
    after: Path | None = None

    @property
    def label(self) -> str:
        return f"{self.folder.parent.name}, seed {self.config.seed}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A job that is over; ``problem`` says in one line why it failed, None: it did not."""

    job: Job
    problem: str | None = None


def comparison_jobs(
    config: RunConfig, methods: Sequence[str], seeds: int, out: Path, *, aim: str | None = None
) -> list[Job]:
    """The runs of a comparison, all methods of a seed before the next seed.

    Args:
        config: What the runs have in common; its ``method_kwargs`` go to every method that has such a hyperparameter.
            With ``data_seed`` None each seed cuts its own splits and subset: the data seed is the seed.
        methods: ``NAME`` or ``NAME:key=value,key=value``; several in one text, separated by commas, are several.
        seeds: Number of seeds, counted from ``config.seed``.
        out: Folder of the comparison: a run is in ``out/LABEL/seed-<k>``.
        aim: The hyperparameter ``aim`` of every method with which it has a part in what the method does.

    Raises:
        LongtailError: an unknown method or hyperparameter, one method twice, or runs in ``out`` on splits of another
            data seed; nothing has been written then.
    """
    from longtail.kwargs import parse_kwargs, parse_method, split_methods
    from longtail.methods import get_method

    methods = split_methods(methods)
    if not methods:
        raise LongtailError("--methods is empty: name at least one, e.g. --methods ce cdb-w cdb-s")
    if seeds < 1:
        raise LongtailError(f"--seeds is {seeds}: it must be at least 1")
    chosen: dict[str, tuple[str, tuple[str, ...]]] = {}
    used: set[str] = set()
    for text in methods:
        name, own = parse_method(text)
        plain = get_method(name)
        known = {f.name for f in dataclasses.fields(plain)} | {"preset"}
        shared = tuple(item for item in config.method_kwargs if item.partition("=")[0] in known)
        used |= set(shared)
        label = re.sub(r"[^\w.=,+-]+", "_", "-".join([plain.name, *filter(None, [text.partition(":")[2]])]))
        label = label.replace(":", "-")
        if label in chosen:
            raise LongtailError(f"--methods names {text!r} twice")
        aimed = aim is not None and get_method(name, **parse_kwargs((*shared, *own))).takes_aim
        own = (*shared, *own, *([f"aim={aim}"] if aimed else []))
        get_method(name, **parse_kwargs(own))
        chosen[label] = (plain.name, own)
    for item in config.method_kwargs:
        if item not in used:
            raise LongtailError(f"--method-kwargs {item}: none of {', '.join(methods)} has this hyperparameter")
    if aim is not None and not any(f"aim={aim}" in kwargs for _, kwargs in chosen.values()):
        raise LongtailError(f"--aim {aim}: none of {', '.join(methods)} does anything with it")
    jobs = []
    for seed in range(config.seed, config.seed + seeds):
        data_seed = seed if config.data_seed is None else config.data_seed
        for label, (name, kwargs) in chosen.items():
            own = dataclasses.replace(config, method=name, method_kwargs=kwargs, seed=seed, data_seed=data_seed)
            jobs.append(Job(own, out / label / f"seed-{seed}"))
    if config.data_seed is None:
        _check_data_seeds(jobs)
    return jobs


def _check_data_seeds(jobs: Sequence[Job]) -> None:
    """Refuse to mix runs that cut their own splits with those of a comparison that was begun on the same ones."""
    from longtail.training.folder import RunFolder

    for job in jobs:
        if (job.folder / runfolder.CONFIG).is_file():
            there = RunFolder(job.folder).config().data_seed
            if there != job.config.data_seed:
                raise LongtailError(
                    f"{job.folder} was trained on the splits of data seed {there}, and now each seed cuts its own: "
                    f"continue the old comparison with --data-seed {there}, or choose another --out"
                )


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """Those that are still to train.

    Raises:
        LongtailError: a folder holds another run or something else; nothing has been written then.
    """
    from longtail.training.folder import RunFolder
    from longtail.training.recipes import resolve

    left = []
    for job in jobs:
        folder = RunFolder(job.folder)
        folder.check(resolve(job.config))
        if not folder.finished:
            left.append(job)
    return left
