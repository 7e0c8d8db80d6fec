"""What the runs of a comparison were set to, and which settings are left to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from longtail.report.compared import Comparison, Group

__all__ = [
    "DEFAULT_TAU",
    "MAX_TAU",
    "fixed_taus",
    "instead_of_the_rule",
    "methods_of",
    "next_value",
    "number",
    "options_of",
    "other_settings",
    "untried",
]

DEFAULT_TAU, MAX_TAU = 2.0, 5.0
"""`ClassDifficulty`'s own, for runs whose configuration does not name them."""


def options_of(group: Group) -> Mapping[str, Any]:
    """The method's hyperparameters with their defaults; of versions that did not record these, the given ones."""
    run = group.runs[0]
    given = dict(item.split("=", 1) for item in run.kwargs if "=" in item)
    return {name: _value(text) for name, text in given.items()} | dict(run.hyperparameters)


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def number(value: Any) -> float | None:
    """A setting that is a number, as one; None: it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def methods_of(c: Comparison) -> set[str]:
    """The identifiers of the methods that were run."""
    return {group.method for group in c.groups}


def untried(c: Comparison, candidates: Sequence[tuple[str, Mapping[str, Any]]], *, limit: int = 1) -> list[str]:
    """The first candidates, method and options, that no group has run, as one writes them for ``--methods``."""
    ran = [(group.method, options_of(group)) for group in c.groups]
    new = []
    for method, wanted in candidates:
        if not any(method == name and wanted.items() <= options.items() for name, options in ran):
            given = ",".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in wanted.items())
            new.append(f"{method}:{given}" if given else method)
    return new[:limit]


def next_value(c: Comparison, group: Group, option: str, ladder: Sequence[float]) -> str | None:
    """The next value of an option above all that runs of the same method had, with the group's own; None: no more."""
    own = number(options_of(group).get(option))
    had = [number(options_of(g).get(option)) for g in c.groups if g.method == group.method]
    if own is None:  # a run of a version that did not record it
        return None
    new = next((value for value in ladder if value > max(value for value in had if value is not None)), None)
    return None if new is None else f"{option}={new:g} (now {own:g})"


def fixed_taus(c: Comparison) -> list[float]:
    """The fixed exponents that were run; a run of a version that did not record its own may have had the default."""
    taus = [options_of(group).get("tau", DEFAULT_TAU) for group in c.groups if group.method.startswith("cdb")]
    return [tau for tau in map(number, taus) if tau is not None]


def instead_of_the_rule(c: Comparison) -> str:
    """What to take in place of a tau that follows the bias."""
    taus = sorted({tau for group in c.groups if (tau := number(options_of(group).get("tau"))) is not None})
    if not taus:
        return "Give a fixed tau: leave tau out for the default, which is a number."
    return f"Prefer the fixed tau that you have run ({', '.join(f'{tau:g}' for tau in taus)})."


def other_settings(c: Comparison) -> list[str]:
    """Settings in which the runs differ: not method, hyperparameters and seeds, and none that changes no number."""
    runs = [run for group in c.groups for run in group.runs]
    own = ("method", "method_kwargs", "seed", "data_seed", "download", "frame_cache", "trackers", "workers")
    keys = dict.fromkeys(key for run in runs for key in run.config if key not in own)
    return [key for key in keys if len({str(run.config.get(key)) for run in runs}) > 1]
