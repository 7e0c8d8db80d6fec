"""Which methods a comparison is made of: by name, or those that an expert would try."""

from __future__ import annotations

from collections.abc import Sequence

from longtail.config import RunConfig
from longtail.errors import LongtailError
from longtail.methods.base import find_method, get_method, list_methods
from longtail.tasks.find import task_class, task_of
from longtail.training.folder import RunFolder
from longtail.training.jobs import Job
from longtail.training.recipes import resolve

__all__ = ["ON_FEATURES", "SEEDS", "chosen_methods", "worth_tuning"]

ON_FEATURES = (
    "ce",
    "logit-adjust:post_hoc=True",
    "balanced-softmax",
    "balanced-softmax:tau=cv",
    "cb",
    "class-aware",
    "crt",
    "tau-norm",
    "ncm",
    "cdb-w:preset=cross-fit",
    "cdb-s:preset=cross-fit",
    "cdb-w:preset=cross-fit,base=balanced-softmax",
)
"""``auto`` where a run takes seconds: a classifier on features."""
IN_TRAINING = ("ce", "cdb-w", "cdb-s")
"""``auto`` where a network is trained."""
_FROM_FEATURES = {"preset=cross-fit", "source=cross-fit", "tau=cv"}
SEEDS, SEEDS_IN_TRAINING = 5, 3


def chosen_methods(config: RunConfig, methods: Sequence[str], seeds: int | None) -> tuple[tuple[str, ...], int]:
    """The methods and the number of seeds of a comparison.

    Args:
        config: What the runs have in common.
        methods: Names, or ``auto`` or ``all`` alone. ``all``: whatever the task can be trained with as it comes.
        seeds: Number of seeds; None: five where a run takes seconds, otherwise three.

    Raises:
        LongtailError: ``auto`` or ``all`` beside others.
    """
    resolved = resolve(config)
    quick = task_of(resolved).on_features
    if len(methods) > 1 and (both := {"auto", "all"} & set(methods)):
        raise LongtailError(f"--methods {min(both)} stands alone: leave the others out, or name those that you want")
    if tuple(methods) == ("auto",):
        methods = ON_FEATURES if quick else IN_TRAINING
        if "cosine" in (resolved.head, resolved.model):
            methods = [name for name in methods if name != "tau-norm"]  # whose lengths a cosine does not see
    elif tuple(methods) == ("all",):
        methods = [name for name in list_methods() if _fits(name, resolved.task)]
    return tuple(methods), (SEEDS if quick else SEEDS_IN_TRAINING) if seeds is None else seeds


def worth_tuning(jobs: Sequence[Job], count: int = 2) -> list[str]:
    """The methods of a comparison on features that are worth a fine-tuning: the best on held-out samples.

    Those whose difficulty or exponent comes from the features themselves are left out.

    Returns:
        Up to ``count`` methods as `comparison_jobs` takes them, the best first.
    """
    scores: dict[str, list[float]] = {}
    first = resolve(jobs[0].config) if jobs else None
    if first is None or first.tune != "head" or first.task == "video":  # a network that takes clips is another one
        return []
    for job in jobs:
        kwargs, folder = job.config.method_kwargs, RunFolder(job.folder)
        if folder.finished and not _FROM_FEATURES & set(kwargs) and "val" in folder.metrics:
            known = [value for value in folder.metrics["val"]["per_class"] if value is not None]
            name = ":".join([job.config.method, *([",".join(kwargs)] if kwargs else [])])
            scores.setdefault(name, []).append(sum(known) / len(known))
    return sorted(scores, key=lambda name: -sum(scores[name]) / len(scores[name]))[:count]


def _fits(name: str, kind: str) -> bool:
    if find_method(name).needs_weights:
        return False
    try:
        task_class(kind).check_method(get_method(name), kind)
    except LongtailError:
        return False
    return True
