"""The parts of the page, in order. A part is one function in `BLOCKS` that returns None when its files are missing."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence

import numpy as np

from longtail.advice import Finding, without
from longtail.report import figures
from longtail.report.advice import advise
from longtail.report.compared import Comparison, percent, varied
from longtail.report.figures import Looks
from longtail.report.measures import shot_groups
from longtail.report.page_tables import hardest_table, sample_table, setting, setup_table, split_table
from longtail.report.runs import Difficulty
from longtail.report.statistics import rank_correlation
from longtail.report.tables import Table, difference_table, method_table

__all__ = ["BLOCKS", "Block", "Picture"]

_HARDEST = 10  # classes in the confusion figure
_COLUMNS = 16  # predicted classes in it
_DIFFICULTY_FIGURES = 6
_BAND = "Lines: mean over seeds; bands: lowest to highest seed."


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure: file name without ``.png``, the PNG, what a blind reader is told, what stands below it.

    A ``small`` one does not fill a wide page.
    """

    name: str
    png: bytes
    alt: str
    caption: str
    small: bool = False


@dataclasses.dataclass(frozen=True)
class Block:
    """One part of the page: heading, then what there is of text, figures, tables, advice, remarks and commands."""

    id: str
    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    advice: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def _methods(c: Comparison, looks: Looks) -> Block:
    del looks
    differences = difference_table(c, c.shown)
    remarks, tables = [], [method_table(c, c.shown), *([differences] if differences else [])]
    if differences is not None:
        remarks.append(
            "Paired differences compare runs with the same seed, on the same splits. The 95 % interval is Student's t "
            "over the seeds, of each comparison alone. Better and worse are said where the difference stays beyond "
            "the spread between seeds after Holm's correction for the methods in a column (5 % level); columns are not "
            "corrected for each other."
        )
        if (table := sample_table(c)) is not None:
            tables.append(table)
        else:
            remarks.append(
                "How far the choice of the test samples matters is not told: a bootstrap needs runs that say what they "
                "took each test sample for, pairs tested on the same samples, and a measure of single samples."
            )
    elif c.baseline is not None and len(c.groups) > 1:
        remarks.append(f"No other method has a seed in common with {c.baseline.label}: no differences can be paired.")
    if (what := varied(c)) is not None:
        remarks.append(what)
    if c.measures.headline == "error" and (tested := sum(c.data.counts.get("test", ()))):
        remarks.append(f"The test split has {tested} samples: one sample is {100 / tested:.2g} points of error.")
    if meanings := [f"{m.title}: {m.meaning}" for m in c.shown if m.meaning]:
        remarks.append("; ".join(meanings) + ".")
    return Block("methods", "Methods", tables=tuple(tables), remarks=tuple(remarks))


def _classes(c: Comparison, looks: Looks) -> Block | None:
    if not any(np.isfinite(group.mean_per_class).any() for group in c.groups):
        return None
    what = c.measures.per_class
    train = c.data.counts.get("train")
    text, extremes = [], ""
    if train is not None:
        rhos = []
        for group in dict.fromkeys(g for g in (c.baseline, c.best) if g is not None):
            known = np.flatnonzero(np.isfinite(group.mean_per_class))
            rho = rank_correlation([train[i] for i in known], group.mean_per_class[known].tolist())
            if rho is not None and len(known) >= 5:
                rhos.append(f"{rho:.2f} for {group.label}")
        groups = ", ".join(f"{n} {name}" for name, n in shot_groups(c.measures, train))
        text.append(f"Classes by training samples: {groups}.")
        if rhos:
            text.append(
                f"Rank correlation of training samples and {what}: {', '.join(rhos)} "
                "(1: frequency decides which classes are easy, 0: it says nothing)."
            )
        extremes = f" from {max(train)} down to {min(train)} samples"
    drawn = "Mean over seeds; error bars: one standard deviation."
    if c.data.num_classes > figures.NAMED_CLASSES:
        drawn = "Dots: single classes, mean over seeds" + ("." if len(c.groups) <= 4 else ", best method and baseline.")
    known = np.flatnonzero(np.isfinite(c.best.mean_per_class))
    hardest = ""
    if len(known):
        worst = int(known[np.argmin(c.best.mean_per_class[known])])
        share = percent(float(c.best.mean_per_class[worst]))
        hardest = f" {c.best.label} is weakest on {c.data.class_names[worst]} ({share} %)."
    picture = Picture(
        "class_accuracy",
        figures.class_accuracy(c, looks),
        f"Two charts over the {c.data.num_classes} classes, most frequent first: training samples{extremes}, and below "
        f"it the test {what} of each class for {', '.join(g.label for g in c.groups)}.{hardest}",
        f"{drawn} Dashed lines separate the groups of classes. If frequency alone made classes "
        "hard, the curves would fall evenly from left to right.",
    )
    return Block("classes", f"{what[0].upper()}{what[1:]} by class", text=tuple(text), pictures=(picture,))


def _shots(c: Comparison, looks: Looks) -> Block | None:
    keys = [(key, title) for key, title in c.measures.groups if any(g.values(c.measures[key]) for g in c.groups)]
    if not keys:
        return None
    told = []
    for key, title in keys:
        spreads = [(g.label, s) for g in c.groups if (s := g.spread(c.measures[key]))]
        told.append(f"{title}: " + ", ".join(f"{label} {percent(s.mean)} %" for label, s in spreads[:8]))
    absent = [title.lower() for key, title in c.measures.groups if (key, title) not in keys]
    text = (f"No class of this data set is {' or '.join(absent)}.",) if absent else ()
    picture = Picture(
        "shots",
        figures.shot_bars(c, looks),
        "Bars by class group. " + "; ".join(told) + ".",
        "Bars: mean over seeds; lines: one standard deviation; dots: single seeds.",
    )
    return Block("shots", "Frequent and rare classes", text=text, pictures=(picture,))


def _stages(c: Comparison) -> str:
    """What the dashed lines over epochs mean, if there are any: the stages of each method that has several."""
    told = []
    for group in c.groups:
        stages = dict.fromkeys(group.runs[0].history.get("stage", ()))
        if len(stages) > 1:
            told.append(f"{group.label}: {', '.join(stages)}")
    return f" Dashed lines: a stage begins ({'; '.join(told)})." if told else ""


def _what_is_drawn(d: Difficulty) -> str:
    """What the numbers of the figure are: measured, smoothed or acting."""
    if d.measured is None:
        measured = "Difficulty: 1 - performance as the run recorded it, smoothed where the method smooths it."
    else:
        measured = "Difficulty: 1 - performance measured after the epoch, not smoothed and without a floor."
    if not d.weighted:
        return f"{measured} For comparison: this method does not use its difficulty."
    if d.acting_weight is None:
        return f"{measured} Weight: as computed after the epoch, for the next one. Above 1 a class counts more."
    return (
        f"{measured} Weight: with which the epoch was trained, from the smoothed difficulty of the epoch before; 1 "
        "where no weight acts yet. Above 1 a class counts more."
    )


def _difficulty(c: Comparison, looks: Looks) -> Block | None:
    pictures = []
    if (png := figures.tau_and_bias(c, looks)) is not None:
        ends = []
        for group in c.groups if figures.varies(c, "tau") else ():
            if (last := group.last("tau")) is not None:
                ends.append(f"{group.label} ends at tau {last:.2f}")
        both = "the exponent tau and the performance bias" if ends else "the performance bias"
        alt = f"Lines over epochs: {both}." + (f" {'; '.join(ends)}." if ends else "")
        caption = (
            "As computed after each epoch, for the next one, from the smoothed performance. Larger bias: larger gap "
            f"between the easiest and the hardest class. {_BAND}{_stages(c)}"
        )
        if not ends:
            caption += " The exponent is the same in all epochs and is not drawn."
        pictures.append(Picture("tau", png, alt, caption))
    measured = [(g, run, d) for g in c.groups for run in g.runs[:1] if (d := run.difficulty) is not None]
    measured = [m for m in measured if m[2].weighted or m[0] in (c.best, c.baseline)]
    measured.sort(key=lambda m: (not m[2].weighted, m[0] is not c.best, m[0] is not c.baseline))
    for group, run, d in measured[:_DIFFICULTY_FIGURES]:
        last = d.shown[-1]
        hard = [int(i) for i in np.argsort(-np.nan_to_num(last, nan=-1))[:3] if np.isfinite(last[i])]
        told = ", ".join(f"{c.data.class_names[i]} {last[i]:.2f}" for i in hard)
        kind = "measured difficulty and acting weight" if d.weighted else "measured difficulty"
        pictures.append(
            Picture(
                f"difficulty-{group.label}",
                figures.difficulty(c, run, d, looks[group.label].name),
                f"Per class and epoch: {kind} under {group.label}, {run.relative}. Hardest in the last epoch: {told}.",
                f"{group.label}: one run ({run.relative}), classes sorted by training samples. {_what_is_drawn(d)}"
                + (" Grey: not measurable." if np.isnan(d.shown).any() else ""),
            )
        )
    if not pictures:
        return None
    left = [g.label for g, _, _ in measured[_DIFFICULTY_FIGURES:]]
    text = (f"Not drawn, to keep the page short: {', '.join(left)}.",) if left else ()
    return Block("difficulty", "Difficulty, weights and tau", text=text, pictures=tuple(pictures))


def _learning(c: Comparison, looks: Looks) -> Block | None:
    png = figures.learning_curves(c, looks)
    if png is None:
        return None
    ends = []
    for group in c.groups:
        if (last := group.last(c.validation)) is not None:
            ends.append(f"{group.label} ends at {percent(last)} % held-out accuracy")
    picture = Picture(
        "learning",
        png,
        "Lines over epochs: training loss, held-out accuracy and learning rate. " + "; ".join(ends) + ".",
        f"{_BAND} Methods weigh the loss differently: compare the shape of the loss curves, not their height."
        + _stages(c),
    )
    return Block("learning", "Learning curves", pictures=(picture,))


def _confusion(c: Comparison, looks: Looks) -> Block | None:
    del looks
    best, names = c.best, c.data.class_names
    known = np.flatnonzero(np.isfinite(best.mean_per_class))
    if not len(known):
        return None
    train = c.data.counts.get("train", (0,) * len(names))
    every = len(names) <= figures.LINED_CLASSES
    hardest = sorted(known.tolist(), key=lambda i: (best.mean_per_class[i], train[i]))
    hardest = hardest if every else hardest[:_HARDEST]
    shown = [int(i) for i in c.data.order if i in set(hardest)] if every else hardest
    counts = [m for run in best.runs if (m := run.confusion(shown)) is not None]
    share = None
    if counts and (total := np.sum(counts, axis=0)).any():
        share = total / np.maximum(total.sum(1, keepdims=True), 1)
    named = hardest[:_HARDEST]
    table = hardest_table(c, named, {} if share is None else {i: share[shown.index(i)] for i in named})
    if share is None:
        return Block("confusion", "The hardest classes", tables=(table,))
    predicted = shown if every else _columns(shown, share)
    drawn = np.concatenate([share[:, predicted], 1 - share[:, predicted].sum(1, keepdims=True)], axis=1)
    drawn[drawn < 1e-9] = 0
    picture = Picture(
        "confusion",
        figures.confusion(c, best, shown, predicted, drawn),
        f"Matrix: for each of {len(shown)} classes the share of its test samples by predicted class, under "
        f"{best.label}. The table below tells the same in words.",
        f"{best.label}, all seeds together; each row sums to 100 %; frames mark right answers; shares below 0.5 % "
        "are left blank.",
    )
    return Block("confusion", "The hardest classes and what they are taken for", pictures=(picture,), tables=(table,))


def _columns(true: Sequence[int], share: np.ndarray) -> list[int]:
    """The true classes and the wrong answers that are most frequent over all of them."""
    wrong = share.sum(0)
    wrong[list(true)] = 0
    others = [int(i) for i in np.argsort(-wrong, kind="stable") if wrong[i] > 0]
    return [*true, *others[: _COLUMNS - len(true)]]


def _examples(c: Comparison, looks: Looks) -> Block | None:
    pictures = []
    for group in dict.fromkeys(g for g in (c.best, c.baseline) if g is not None):
        run = next((run for run in group.runs if run.examples is not None), None)
        if run is not None and run.examples is not None:
            alt = f"Test images with boxes: on the left what is there, on the right what {group.label} finds."
            caption = f"{looks[group.label].name}, {run.relative}: left what is there, right what is found with a score"
            caption += " of 0.3 or more. The first image shows one of the rarest classes, the last frequent ones only."
            pictures.append(Picture(f"examples-{group.label}", run.examples, alt, caption))
    shown = next((own for group in c.groups for run in group.runs if (own := run.near_copies) is not None), None)
    if shown is not None:
        alt = "The largest groups of near copies in the data: a row of small pictures each, below its class and size."
        caption = (
            "The largest groups of near copies in the data, up to five pictures of each. Frames of one film, bursts "
            "and files saved anew belong together and stay on one side of a cut; if these merely look alike, train "
            "with --group-by none. The notes below count them (LT012 to LT014)."
        )
        pictures.append(Picture("near-copies", shown, alt, caption, small=True))
    return Block("examples", "Examples", pictures=tuple(pictures)) if pictures else None


def _next(c: Comparison, looks: Looks) -> Block:
    del looks
    advice = tuple(advise(c))
    if not advice:
        return Block("next", "What to try next", text=("None of the checks found anything.",))
    remark = "Each code is a section of the documentation's page Common pitfalls; checks.json holds the same."
    return Block("next", "What to try next", advice=advice, remarks=(remark,))


def _setup(c: Comparison, looks: Looks) -> Block:
    del looks
    runs = [run for group in c.groups for run in group.runs]
    keys = dict.fromkeys(key for run in runs for key in run.config)
    values = {key: [setting(run.config.get(key)) for run in runs] for key in keys}
    same = [(key, found[0]) for key, found in values.items() if len(set(found)) == 1]
    own = ("method", "method_kwargs", "seed")
    differing = [key for key, found in values.items() if len(set(found)) > 1 and key not in own]
    versions = sorted({(name, v) for run in runs for name, v in run.versions.items()})
    tables = [setup_table(c, differing), split_table(c)]
    tables = [t for t in tables if t.rows]
    if same:
        tables.append(
            Table("Settings that all runs share", ("Setting", "Value"), tuple(same), numeric=False, folded=True)
        )
    if versions:
        tables.append(Table("Versions", ("Library", "Version"), tuple(versions), numeric=False, folded=True))
    text = [f"Data: {c.data.name}, {c.data.num_classes} classes."]
    if c.data.imbalance is not None:
        text.append(f"Imbalance of the training split (largest over smallest class): {c.data.imbalance:.4g}.")
    if hardware := dict.fromkeys(run.hardware for run in runs if run.hardware):
        text.append(f"Hardware: {'; '.join(hardware)}.")
    if c.data.model:
        size = f", {c.data.image_size} pixels a side" if c.data.image_size else ""
        text.append(f"Model: {c.data.model}{size}.")
    notes = without(dict.fromkeys(note for run in runs for note in run.data.notes), advise(c))
    configs = (f"{g.runs[0].relative}/config.json".removeprefix("./") for g in c.groups if g.method)
    commands = tuple(f"longtail train --config {shlex.quote(config)} --out NEW" for config in configs)
    return Block("setup", "Setup", tuple(text), tuple(tables), remarks=tuple(notes), commands=commands)


BLOCKS: tuple[Callable[[Comparison, Looks], Block | None], ...] = (
    _methods,
    _classes,
    _shots,
    _difficulty,
    _learning,
    _confusion,
    _examples,
    _next,
    _setup,
)
