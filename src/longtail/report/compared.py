"""Runs grouped by data set and method, and what their numbers say about who won."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from longtail.errors import LongtailError
from longtail.report.measures import Measure, MeasureSet, measure_set
from longtail.report.runs import Data, Run
from longtail.report.statistics import Paired, Spread, bootstrap, holm, paired, rounded, spread
from longtail.report.tolerant import Floats

__all__ = ["Comparison", "Group", "compare", "headline", "percent", "points", "varied", "with_std"]

# Above this ratio of class sizes in a split, plain accuracy mostly tells about the large classes.
_BALANCED = 1.5


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """The runs of one method: one label, several seeds."""

    label: str
    runs: tuple[Run, ...]

    @property
    def method(self) -> str:
        return self.runs[0].method

    def values(self, measure: Measure, *, split: str = "test") -> dict[tuple[Any, ...], float]:
        """The measure by pair key, of the runs that have it."""
        values = ((run.pair_key, measure.value(run.metrics.get(split, {}))) for run in self.runs)
        return {key: value for key, value in values if value is not None}

    def spread(self, measure: Measure, *, split: str = "test") -> Spread | None:
        return spread(list(self.values(measure, split=split).values()))

    @functools.cached_property
    def per_class(self) -> Floats:
        """Test performance of each class, ``[runs, C]``."""
        return np.stack([run.per_class for run in self.runs])

    @functools.cached_property
    def mean_per_class(self) -> Floats:
        """The same, mean over the runs that measured it: ``[C]``, NaN where none did."""
        known = np.isfinite(self.per_class)
        return np.where(known, self.per_class, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)

    def series(self, column: str) -> tuple[Floats, Floats]:
        """A column of the histories over all epochs: ``epochs [E]`` and ``values [runs, E]``, NaN where absent."""
        epochs = sorted({e for run in self.runs for e in run.history.get("epoch", ())})
        values = np.full((len(self.runs), len(epochs)), np.nan)
        for row, run in zip(values, self.runs, strict=True):
            if column in run.history:
                row[np.searchsorted(epochs, run.history["epoch"])] = run.history[column]
        return np.array(epochs), values

    def last(self, column: str) -> float | None:
        """Mean over the runs of the last number in a column of the histories; None: it has none."""
        _, values = self.series(column)
        ends = [row[np.isfinite(row)][-1] for row in values if np.isfinite(row).any()]
        return float(np.mean(ends)) if ends else None


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """All methods on one data set.

    Args:
        title: Readable and unique among the comparisons of a report.
        groups: Best first by the headline measure.
        baseline: What the others are compared with; None if there is nothing to choose from.
        measures: The task's measures.
        key: Headline measure.
    """

    title: str
    groups: tuple[Group, ...]
    baseline: Group | None
    measures: MeasureSet
    key: Measure

    @property
    def data(self) -> Data:
        return self.groups[0].runs[0].data

    @property
    def best(self) -> Group:
        return self.groups[0]

    @property
    def shown(self) -> tuple[Measure, ...]:
        """Measures with a column on the page, those that a run has: headline, class groups, the others."""
        present = [m for m in self.measures.measures if m.shown and any(group.values(m) for group in self.groups)]
        rank = {self.key.key: 0, self.measures.headline: 1} | {key: 2 for key, _ in self.measures.groups}
        return tuple(sorted(present, key=lambda m: rank.get(m.key, 4 if m.key == "top5" else 3)))

    @functools.cached_property
    def validation(self) -> str:
        """Column of ``history.csv`` with held-out accuracy: the balanced one if the held-out split is long-tailed."""
        balanced = "val_balanced_accuracy"
        known = all(balanced in run.history for group in self.groups for run in group.runs if run.history)
        return balanced if known and not _balanced(self.data, "val") else "val_accuracy"

    @property
    def brief(self) -> tuple[Measure, ...]:
        """The first of these, as many as fit a terminal: headline, class groups and worst tenth."""
        told = {self.key.key, self.measures.headline, "worst_tenth", *(key for key, _ in self.measures.groups)}
        return tuple(m for m in self.shown if m.key in told)

    def paired(self, group: Group, other: Group, measure: Measure) -> Paired | None:
        """``group - other`` over the seeds that both have; None without such a seed.

        Corrected by Holm for all methods that are compared with the baseline, or, where neither is the baseline, for
        all pairs of methods: which two are looked at depends on the numbers then.
        """
        with_baseline = self.baseline in (group, other)
        key = (measure.key, with_baseline)
        if key not in self._families:
            pairs = [(a, b) for a, b in itertools.combinations(self.groups, 2)]
            pairs = [pair for pair in pairs if not with_baseline or self.baseline in pair]
            found = holm([_differences(a, b, measure) for a, b in pairs])
            self._families[key] = {(a.label, b.label): p for (a, b), p in zip(pairs, found, strict=True)}
        if (p := self._families[key].get((group.label, other.label))) is not None:
            return p
        p = self._families[key].get((other.label, group.label))
        return p and p.turned

    @functools.cached_property
    def _families(self) -> dict[tuple[str, bool], dict[tuple[str, str], Paired | None]]:
        """Comparisons that were made together, by measure and by whether they are with the baseline."""
        return {}

    def bootstrap(self, group: Group, other: Group, measure: Measure) -> tuple[float, float] | None:
        """95 % interval of ``group - other`` if other test samples had been drawn; None where that is not known."""
        ours, theirs = ({run.pair_key: run.answers for run in g.runs} for g in (group, other))
        both = [key for key in ours if key in theirs]
        pairs = [(ours[key], theirs[key]) for key in both]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        return bootstrap(known, measure.key) if len(known) == len(pairs) else None


def _differences(a: Group, b: Group, measure: Measure) -> Paired | None:
    """``a - b`` over the seeds that both have, of this comparison alone."""
    ours, theirs = a.values(measure), b.values(measure)
    return paired([ours[key] - theirs[key] for key in ours if key in theirs])


def percent(value: float) -> str:
    """A fraction in percent with two decimals."""
    return rounded(100 * value)


def points(value: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return rounded(100 * value, sign=True)


def with_std(s: Spread) -> str:
    """Mean and, where there is one, standard deviation in percent."""
    return percent(s.mean) + ("" if s.std is None else f" ± {percent(s.std)}")


def compare(runs: Sequence[Run], *, baseline: str | None = None) -> list[Comparison]:
    """Group runs by data set, then by method.

    Args:
        runs: Finished runs, not empty.
        baseline: Label (or identifier) of the method that the others are compared with; None: ``ce`` where it is
            present, else the first label in alphabetical order.

    Raises:
        LongtailError: no data set has the baseline.
    """
    by_data: dict[Any, list[Run]] = defaultdict(list)
    for run in runs:
        by_data[run.data.key].append(run)
    titles = _titles([part[0].data for part in by_data.values()])
    out = [_comparison(title, part, baseline) for title, part in zip(titles, by_data.values(), strict=True)]
    if baseline is not None and all(c.baseline is None for c in out):
        labels = sorted({group.label for c in out for group in c.groups})
        raise LongtailError(f"no finished run of the baseline {baseline!r}: there are {', '.join(labels)}")
    return out


def _comparison(title: str, runs: Sequence[Run], baseline: str | None) -> Comparison:
    measures = measure_set({key: value for run in runs for key, value in run.test.items()})
    present = [m for m in measures.measures if any(m.value(run.test) is not None for run in runs)]
    if not present:
        raise LongtailError(f"{runs[0].path / 'metrics.json'} holds no number: evaluate the run again")
    wanted = measures.headline if _balanced(runs[0].data, "test") else measures.unbalanced_headline
    key = next((m for m in present if m.key == wanted), present[0])
    groups = _groups(runs)

    def rank(group: Group) -> tuple[float, str]:
        s = group.spread(key)
        return (math.inf if s is None else s.mean if key.lower_is_better else -s.mean, group.label)

    groups.sort(key=rank)
    return Comparison(title, tuple(groups), _baseline(groups, baseline), measures, key)


def _balanced(data: Data, split: str) -> bool:
    present = [n for n in data.counts.get(split, ()) if n > 0]
    return not present or max(present) <= _BALANCED * min(present)


def _baseline(groups: Sequence[Group], wanted: str | None) -> Group | None:
    named = sorted(groups, key=lambda g: g.label)
    name = wanted or "ce"
    found = [g for g in named if g.label == name] or [g for g in named if g.method == name]
    return found[0] if found else named[0] if wanted is None else None


def _groups(runs: Sequence[Run]) -> list[Group]:
    """Runs in ``LABEL/seed-<k>`` belong together by folder, others by configuration; labels are made unique."""
    by_key: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if run.label_folder is not None:
            key: tuple[Any, ...] = ("folder", run.label_folder)
        else:
            settings = {k: v for k, v in run.config.items() if k not in ("seed", "data_seed")}
            key = ("config", json.dumps(settings, sort_keys=True, default=str))
            if not settings or any(other.pair_key == run.pair_key for other in by_key[key]):
                key = ("path", run.relative)
        by_key[key].append(run)
    parts = [part for part in by_key.values() if part]
    firsts = [part[0] for part in parts]
    groups = []
    for part in parts:
        same = [run for run in firsts if run is not part[0] and _label(run) == _label(part[0])]
        groups.append(Group(_longer_label(part[0], same) if same else _label(part[0]), tuple(part)))
    return groups


def _label(run: Run) -> str:
    if run.label_folder:
        return run.label_folder.rsplit("/", 1)[-1]
    path = run.path.resolve()
    return " ".join((run.method, *run.kwargs)).strip() or (path if run.label_folder is None else path.parent).name


def _longer_label(run: Run, others: Sequence[Run]) -> str:
    """The label with what sets the run apart: a setting, else its path."""
    differing = [
        f"{key}={value}"
        for key, value in run.config.items()
        if key not in ("seed", "method", "method_kwargs") and all(o.config.get(key) != value for o in others)
    ]
    if differing and not run.label_folder:
        return f"{_label(run)} {differing[0]}"
    return run.label_folder or f"{_label(run)} ({run.relative})"


def _titles(data: Sequence[Data]) -> list[str]:
    """Names of the data sets, with imbalance and then a number where that is needed to tell them apart."""
    names = [d.name for d in data]
    titles = [
        d.name if names.count(d.name) == 1 or d.imbalance is None else f"{d.name}, imbalance {d.imbalance:.4g}"
        for d in data
    ]
    return [t if titles.count(t) == 1 else f"{t} ({titles[:i].count(t) + 1})" for i, t in enumerate(titles)]


def headline(c: Comparison) -> list[str]:
    """Who won, by how much, and how sure that is: one sentence a line, the most important first."""
    best, key = c.best, c.key
    s = best.spread(key)
    if s is None:
        return [f"No run has the measure {key.title}."]
    name = f"test {key.title if key.title.isupper() else key.title.lower()}"
    seeds = f"mean ± standard deviation over {s.n} seeds" if s.n > 1 else "one seed"
    if len(c.groups) == 1:
        only = f"{best.label} reaches a {name} of {with_std(s)} % ({seeds})."
        return [only, "One method: there is nothing to compare it with.", *_why_unbalanced(c)]
    extreme = "lowest" if key.lower_is_better else "highest"
    level = [g.label for g in c.groups[1:] if (o := g.spread(key)) and percent(o.mean) == percent(s.mean)]
    lead = f"{best.label} has" if not level else f"{' and '.join([best.label, *level])} share"
    lead += f" the {extreme} {name}: {with_std(s)} %"
    rivals = [(c.groups[1], "the next best, ")]
    if c.baseline is best:
        seeds += "; it is the baseline: no other method is better"
    elif c.baseline is not None:
        if (b := c.baseline.spread(key)) is not None:
            lead += f", against {with_std(b)} % for the baseline {c.baseline.label}"
        rivals = [(c.baseline, "")] + [r for r in rivals if r[0] is not c.baseline]
    told = [f"{lead} ({seeds}).", *(_against(c, *rival) for rival in rivals), *_why_unbalanced(c)]
    return told + ([what] if (what := varied(c)) else [])


def _against(c: Comparison, other: Group, role: str) -> str:
    p, s = c.paired(c.best, other, c.key), other.spread(c.key)
    if s is None or p is None:
        return f"It has no seed in common with {role}{other.label}: the two cannot be paired."
    sign = -1 if p.mean < 0 else 1
    size = percent(abs(p.mean))
    if float(size):
        difference = f"{size} points {'lower' if sign < 0 else 'higher'} than {role}{other.label}"
    else:
        difference = f"equal to {role}{other.label}"
    if p.low is None or p.high is None:
        return f"It is {difference} on one common seed: the spread between seeds is unknown, so this may be chance."
    low, high = sorted((sign * p.low, sign * p.high))
    text = (
        f"Paired by seed it is {difference} (95 % confidence interval {percent(low)} to {percent(high)}, {p.n} seeds): "
        f"{_verdict(p)}"
    )
    drawn = c.bootstrap(c.best, other, c.key)
    if drawn is None:
        return text
    low, high = sorted((sign * drawn[0], sign * drawn[1]))
    return f"{text} With other test samples these runs would differ by {percent(low)} to {percent(high)} (bootstrap)."


def _verdict(p: Paired) -> str:
    """Whether a difference is beyond the spread between seeds, and how many pairs would tell."""
    of = "" if p.adjusted is None else f" (Holm's correction for {p.comparisons} comparisons: p = {p.adjusted:.2g})"
    if p.clear:
        return f"beyond the spread between seeds{of}."
    needed = p.seeds_needed
    guess = f"; about {needed} pairs would show such a difference with 80 % power" if needed and needed > p.n else ""
    return f"not beyond the spread between seeds{of}{guess}."


def varied(c: Comparison) -> str | None:
    """What differs from seed to seed besides initialisation and order, in one sentence; None with one seed."""
    group = max(c.groups, key=lambda g: len(g.runs))
    if len(group.runs) < 2:
        return None
    data_seeds = {str(run.config.get("data_seed", "")) for run in group.runs}
    digests = [run.split_digests for run in group.runs]
    if all(digests):
        names = [name for name in digests[0] if len({digest.get(name) for digest in digests}) > 1]
        if names:
            told = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
            return f"Each seed has its own {told} split, besides its own initialisation and order."
    if all(digests) or len(data_seeds) == 1:
        seed = data_seeds.pop() if len(data_seeds) == 1 else ""
        fixed = "" if not seed else f" (data seed {seed})"
        return f"All seeds have the same splits{fixed}: their spread is that of initialisation and order alone."
    return "Each seed has its own data seed: what is drawn of the data differs, besides initialisation and order."


def _why_unbalanced(c: Comparison) -> list[str]:
    plain = next((m for m in c.measures.measures if m.key == c.measures.headline), None)
    if plain is None or c.key is plain or c.key.key != c.measures.unbalanced_headline:
        return []
    text = (
        f"The test split is itself long-tailed, so {c.key.title.lower()} decides (every class counts the same); plain "
        f"{plain.title.lower()} mostly tells about the large classes."
    )
    spreads = [(s.mean, group.label) for group in c.groups if (s := group.spread(plain))]
    if spreads:
        mean, label = min(spreads) if plain.lower_is_better else max(spreads)
        text += (
            f" By that, {label} has the best: {percent(mean)} %." if len(spreads) > 1 else f" It is {percent(mean)} %."
        )
    return [text]
