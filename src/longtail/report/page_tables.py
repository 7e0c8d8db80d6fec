"""Tables that stand on the page alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from longtail.report.compared import Comparison, percent, points
from longtail.report.tables import NOTHING, Table

__all__ = ["hardest_table", "sample_table", "setting", "setup_table", "split_table"]


def sample_table(c: Comparison) -> Table | None:
    """How far the differences in the headline measure depend on seeds, and on the test samples."""
    rows = []
    for group in c.groups:
        if c.baseline is None or group is c.baseline or (p := c.paired(group, c.baseline, c.key)) is None:
            continue
        if (drawn := c.bootstrap(group, c.baseline, c.key)) is None:
            continue
        seeds = NOTHING if p.low is None or p.high is None else f"{points(p.low)} to {points(p.high)}"
        tested = f"{points(drawn[0])} to {points(drawn[1])}"
        corrected = p.p if p.adjusted is None else p.adjusted
        cells = [NOTHING if corrected is None else f"{corrected:.2g}", str(p.seeds_needed or NOTHING)]
        rows.append((group.label, points(p.mean), seeds, tested, *cells))
    if not rows or c.baseline is None:
        return None
    columns = ("Method", f"{c.key.title}, difference", "95 %: other seeds", "95 %: other test samples")
    columns += ("p, corrected (Holm)", "Pairs for 80 % power")
    title = f"{c.title}: difference to {c.baseline.label} in points, if seeds or test samples had been others"
    return Table(title, columns, tuple(rows))


def hardest_table(c: Comparison, hardest: Sequence[int], share: Mapping[int, np.ndarray]) -> Table:
    """Classes with their counts and performance; ``share``: of each, how often which class was said, ``[C]``."""
    train, test, names = c.data.counts.get("train"), c.data.counts.get("test"), c.data.class_names
    other = c.baseline if c.baseline is not c.best else None
    rows = []
    for i in hardest:
        cells = [names[i], str(train[i]) if train else NOTHING, str(test[i]) if test else NOTHING]
        cells.append(percent(c.best.mean_per_class[i]))
        if other:
            cells.append(NOTHING if math.isnan(other.mean_per_class[i]) else percent(other.mean_per_class[i]))
        if i in share:
            wrong = share[i].copy()
            wrong[i] = 0
            top = [j for j in np.argsort(-wrong, kind="stable")[:3] if wrong[j] > 0]
            cells.append(", ".join(f"{names[j]} ({100 * wrong[j]:.0f} %)" for j in top) or NOTHING)
        rows.append(tuple(cells))
    columns = ["Class", "Training samples", "Test samples", f"{c.best.label}, %"]
    columns += [f"{other.label}, %"] if other else []
    columns += ["Taken for"] if share else []
    title = f"{c.title}: the {len(rows)} classes with the lowest test {c.measures.per_class} under {c.best.label}"
    return Table(title, tuple(columns), tuple(rows), numeric=False)


def setup_table(c: Comparison, differing: Sequence[str]) -> Table:
    """A row per method: what it was run with; ``differing``: the settings that are not alike."""
    rows = []
    for group in c.groups:
        seeds = ", ".join(str(run.seed) for run in group.runs if run.seed is not None) or NOTHING
        epochs = sorted({len(run.history["epoch"]) for run in group.runs if run.history})
        seconds = [np.nansum(run.history["seconds"]) for run in group.runs if "seconds" in run.history]
        row = [group.label, group.method or NOTHING, " ".join(group.runs[0].kwargs) or "defaults", seeds]
        row += ["-".join(map(str, epochs[:1] + epochs[1:][-1:])) or NOTHING, _duration(seconds)]
        row += [", ".join(sorted({setting(run.config.get(key)) for run in group.runs})) for key in differing]
        rows.append(tuple(row))
    columns = ("Label", "Method", "Hyperparameters", "Seeds", "Epochs", "Time a run", *differing)
    return Table("What was run", columns, tuple(rows), numeric=False)


def split_table(c: Comparison) -> Table:
    """Sizes of the splits, and of their largest and smallest class."""
    rows = []
    for split, counts in c.data.counts.items():
        present = [n for n in counts if n > 0]
        low, high = (str(min(present)), str(max(present))) if present else (NOTHING, NOTHING)
        rows.append((split, str(sum(counts)), f"{len(present)} of {len(counts)}", high, low))
    columns = ("Split", "Samples", "Classes present", "Largest class", "Smallest class present")
    return Table("Splits", columns, tuple(rows))


def setting(value: object) -> str:
    """A setting as it is shown."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or NOTHING
    return NOTHING if value is None or value == "" else str(value)


def _duration(seconds: Sequence[float]) -> str:
    mean = float(np.mean(seconds)) if len(seconds) else 0.0
    if mean <= 0:
        return NOTHING
    if mean < 120:
        return f"{mean:.1f} s"
    return f"{mean / 60:.1f} min" if mean < 7200 else f"{mean / 3600:.1f} h"
