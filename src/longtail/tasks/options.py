"""The one place where options that mean nothing are refused, and those that are not set get their values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from longtail.config import DataOptions, RunConfig
from longtail.data.augment import MIXTURES, POLICIES, check_augmentations
from longtail.data.catalogue import CATALOGUE, entry_of
from longtail.errors import LongtailError
from longtail.names import brief
from longtail.tasks.find import task_class, task_of

__all__ = ["check_learning", "check_options", "fill_options", "without_idle_defaults"]

LEARNING = (
    "optimizer", "backbone_lr", "layer_decay", "ema", "label_smoothing", "patience", "adapter", "adapter_rank",
)  # fmt: skip
"""The fields of `RunConfig` about how a given network is trained; where one is not set, nothing is done."""

_DEFAULTS = {"imbalance_kind": "exp", "select_fraction": 0.0, "broken": "refuse"}


def check_options(options: DataOptions, data: str, kind: str) -> None:
    """Refuse what is set and means nothing to the data set or to the task.

    Args:
        options: Of a run, or of data that are only looked at.
        data: Data set as ``NAME[:PATH]``.
        kind: As in ``--task``.

    Raises:
        LongtailError: one line that names the option, and what it is for.
    """
    entry = entry_of(data)
    if entry is None:
        return  # no data set of ours: whoever reads it says so
    known = entry.options & task_class(kind).options
    for field in dataclasses.fields(DataOptions):
        if field.name in known or getattr(options, field.name) == field.default:
            continue
        if field.name in entry.options:
            raise LongtailError(f"--{field.name.replace('_', '-')} means nothing to --task {kind}: leave it out")
        users = [other.name for other in CATALOGUE.values() if field.name in other.options]
        flag = f"--{field.name.replace('_', '-')}"
        raise LongtailError(f"{flag} is for {brief(users)}, not for {entry.name}: leave it out")
    check_augmentations(options.augment)
    if options.imbalance_kind is not None and "imbalance_kind" not in _understood(data, options.imbalance):
        raise LongtailError("--imbalance-kind is the law of --imbalance, which is not given: give both or none")


def check_learning(config: RunConfig) -> None:
    """Refuse options of the training that mean nothing to the task, or to the weights that it starts from.

    Args:
        config: A run, its weights settled.

    Raises:
        LongtailError: one line that names the option.
    """
    for name in config.augment or () if config.tune == "head" else ():
        if name in (*POLICIES, *MIXTURES):
            raise LongtailError(f"--augment {name} is for --tune all or adapter, not for --tune head")
    known, adapters = task_of(config).learns, frozenset({"adapter", "adapter_rank"})
    if config.tune == "adapter" and not adapters <= known:
        raise LongtailError(f"--tune adapter means nothing to --task {config.task}: leave it out")
    for name in LEARNING:
        if getattr(config, name) is None or name in known:
            continue
        flag = f"--{name.replace('_', '-')}"
        if name in adapters:
            raise LongtailError(f"{flag} is for --tune adapter: give both or none")
        if name in task_class(config.task).learns:
            raise LongtailError(f"{flag} is for --tune all, not for --tune {config.tune}: leave it out")
        raise LongtailError(f"{flag} means nothing to --task {config.task}: leave it out")
    for name in ("backbone_lr", "layer_decay"):
        if getattr(config, name) is not None and config.weights in (None, "none", "auto"):
            flag = f"--{name.replace('_', '-')}"
            raise LongtailError(f"{flag} is for a network that is trained already: add --weights, or leave it out")


def fill_options(config: RunConfig) -> RunConfig:
    """The values of those options that are not set and mean something to the data set; the others stay unset."""
    known = _understood(config.data, config.imbalance)
    unset = [key for key in _DEFAULTS if key in known and getattr(config, key) is None]
    return dataclasses.replace(config, **{key: _DEFAULTS[key] for key in unset})


def without_idle_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration without those that hold a default and mean nothing.

    Files of versions in which these options could not be unset hold it with every data set.
    """
    known = _understood(str(values.get("data")), values.get("imbalance"))
    return {k: v for k, v in values.items() if k in known or k not in _DEFAULTS or v != _DEFAULTS[k]}


def _understood(data: str, imbalance: float | None) -> frozenset[str]:
    entry = entry_of(data)
    if entry is None:
        return frozenset()
    idle = {"imbalance_kind"} if imbalance is None and entry.imbalance is None else set[str]()
    return entry.options - idle
