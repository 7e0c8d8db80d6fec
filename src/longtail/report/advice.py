"""Checks of finished runs: what their numbers and settings show, and what to try next.

Advice reads what the runs were set to (the hyperparameters in ``config.json``, with the defaults that held) and never
names a setting or a method that was tried.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from longtail.advice import DataFacts, Finding, Seen, check, findings
from longtail.advice.data import some
from longtail.report.compared import Comparison, Group, percent, points
from longtail.report.measures import shot_groups
from longtail.report.statistics import rank_correlation
from longtail.report.tolerant import Floats
from longtail.report.tried import (
    MAX_TAU,
    fixed_taus,
    instead_of_the_rule,
    methods_of,
    next_value,
    number,
    options_of,
    other_settings,
    untried,
)

__all__ = ["advise", "facts_of"]

# What is advised, in this order: always more than what was tried.
_MOMENTA, _FLOORS = (0.5, 0.8, 0.9, 0.95), (0.05, 0.1)
# With so many classes the counts say more than a difficulty, samplers repeat few images too often, and weights do
# better late: measured on CIFAR100-LT, "How to choose" in the documentation.
_MANY_CLASSES = 50


def advise(c: Comparison) -> list[Finding]:
    """What the checks of data and of runs find, the worst first."""
    found = findings("data", facts_of(c)) + findings("runs", c)
    rank = {severity: i for i, severity in enumerate(("error", "warning", "note"))}
    return list(dict.fromkeys(sorted(found, key=lambda finding: rank[finding.severity])))


def facts_of(c: Comparison) -> DataFacts:
    """What the checks of data may know of the data that runs were trained on."""
    train = c.data.counts.get("train")
    return DataFacts(
        name=c.data.name,
        class_names=c.data.class_names,
        counts=c.data.counts,
        groups=dict(shot_groups(c.measures, train)) if train else {},
        boxes=c.data.boxes,
        notes=tuple(dict.fromkeys(note for group in c.groups for run in group.runs for note in run.data.notes)),
    )


# -- numbers -----------------------------------------------------------------------------------------------------------
def _mean(group: Group, c: Comparison, key: str, *, split: str = "test") -> float | None:
    measure = next((m for m in c.measures.measures if m.key == key), None)
    s = group.spread(measure, split=split) if measure else None
    return s.mean if s else None


def _dynamic_taus(c: Comparison) -> Iterator[tuple[Group, Floats]]:
    """The groups whose tau follows the bias, with all its values over epochs and runs."""
    for group in c.groups:
        _, values = group.series("tau")
        tau, options = values[np.isfinite(values)], options_of(group)
        if len(tau) < 5 or number(options.get("tau")) is not None:
            continue
        largest = number(options.get("max_tau")) or MAX_TAU
        if "tau" in options or np.ptp(tau) > 1e-6 or abs(tau[0] - largest) < 1e-3 * largest:
            yield group, tau


def _validation_curve(c: Comparison) -> Floats | None:
    """Mean held-out accuracy of the best method by epoch, without the epochs that lack it."""
    _, values = c.best.series(c.validation)
    known = np.isfinite(values).all(0)
    return values[:, known].mean(0) if known.sum() >= 8 else None


# -- seeds and methods -------------------------------------------------------------------------------------------------
@check(
    "LT101",
    "One seed, one subset",
    of="runs",
    why="With one seed nobody can tell a better method from a luckier run.",
    todo="Run three seeds (--seeds 3), or five for a claim.",
)
def one_seed(c: Comparison) -> str | None:
    seeds = min(len(group.runs) for group in c.groups)
    return f"the method with the fewest finished runs has {seeds}" if seeds < 2 else None


@check(
    "LT102",
    "A difference within the spread between seeds",
    of="runs",
    severity="note",
    why="Another set of seeds may turn it round.",
    todo="Do not rank the two.",
)
def undecided(c: Comparison) -> Seen | None:
    rival = c.baseline if c.baseline is not c.best else c.groups[1] if len(c.groups) > 1 else None
    p = c.paired(c.best, rival, c.key) if rival else None
    if rival is None or p is None or p.clear or p.low is None or p.high is None:
        return None
    needed = p.seeds_needed
    guess = f"about {needed} pairs" if needed else "far more seeds than are practical"
    return Seen(
        f"{c.best.label} and {rival.label}, {c.key.title}: paired difference {points(p.mean)} points, 95 % interval "
        f"{points(p.low)} to {points(p.high)} over {p.n} seeds",
        f"Do not rank the two yet: if mean and spread are as they seem, {guess} would show it with 80 % power.",
    )


@check(
    "LT103",
    "No class-difficulty method was run",
    of="runs",
    severity="note",
    why="How many samples a class has need not be how hard it is.",
    todo="Run cdb-w (weights in the loss) and cdb-s (weights in the sampler) beside these with the same --out.",
)
def no_difficulty(c: Comparison) -> str | None:
    if any(method.startswith("cdb") for method in methods_of(c)) or not any(methods_of(c)):
        return None
    return f"methods so far: {some([group.label for group in c.groups])}"


@check(
    "LT104",
    "Runs that differ in more than the method",
    of="runs",
    why="The methods do not compete on equal terms: a difference may come from the other settings.",
    todo="Run all methods with the same settings, in one longtail compare.",
)
def unequal_terms(c: Comparison) -> str | None:
    differing = other_settings(c)
    return f"settings that differ: {some(differing)}" if differing else None


# -- classes -----------------------------------------------------------------------------------------------------------
@check(
    "LT105",
    "The rare classes are far behind",
    of="runs",
    why="That is what long-tailed training is for, and the mean over all samples hides it.",
    todo="Collect more samples of the rare classes, and augment more strongly.",
)
def rare_far_behind(c: Comparison) -> Seen | None:
    few, many = _mean(c.best, c, "few"), _mean(c.best, c, "many")
    group, rare = "few-shot", few
    if few is None:
        rare, group = _mean(c.best, c, "medium"), "medium-shot"
    if rare is None or many is None or many - rare < 0.15:
        return None
    if c.data.num_classes >= _MANY_CLASSES:
        names = untried(c, [(name, {}) for name in ("balanced-softmax", "cdb-w", "ldam-drw", "crt")], limit=2)
        late, logit = {"tau": 5.0, "defer": 0.8}, {"base": "balanced-softmax", "form": "logit"}
        names = names or untried(c, [("cdb-w", late), ("cdb-w", logit)])
    else:
        names = untried(c, [(name, {}) for name in ("cdb-s", "cdb-w", "class-aware")], limit=2)
        largest = max(fixed_taus(c), default=0.0)
        larger = [tau for tau in (1.0, 2.0, 3.0, 5.0) if tau > largest]
        names = names or untried(c, [(name, {"tau": tau}) for tau in larger for name in ("cdb-s", "cdb-w")])
    first = f"Try {' and '.join(names)}. " if names else ""
    return Seen(
        f"{c.best.label}: many-shot {percent(many)} %, {group} {percent(rare)} %, {percent(many - rare)} points apart",
        f"{first}Stronger augmentation and more samples of the rare classes help where no weighting can.",
    )


@check(
    "LT106",
    "The frequent classes pay for the rare ones",
    of="runs",
    severity="note",
    why="What the rare classes gain is taken from classes that most samples belong to.",
    todo="If they matter to you, soften the weights.",
)
def frequent_pay(c: Comparison) -> Seen | None:
    if c.baseline is None or c.best is c.baseline:
        return None
    ours, theirs = _mean(c.best, c, "many"), _mean(c.baseline, c, "many")
    if ours is None or theirs is None or theirs - ours < 0.03:
        return None
    softer, tau = [], number(options_of(c.best).get("tau"))
    if tau is not None and tau > 0.5 and tau / 2 not in fixed_taus(c):
        softer.append(f"tau={tau / 2:g} (now {tau:g})")
    if options_of(c.best).get("normalize") in (False, "False", "false"):
        softer.append("normalize at its default")
    if c.best.method.startswith("cdb-s"):
        softer += untried(c, [("cdb-w", {})])
    softer += [f"{name} (it starts from the natural distribution)" for name in untried(c, [("progressive", {})])]
    way = f": {' or '.join(softer)}" if softer else " further than these runs did"
    return Seen(
        f"many-shot accuracy: {c.best.label} {percent(ours)} %, {c.baseline.label} {percent(theirs)} %",
        f"If they matter to you, soften the weights{way}.",
    )


@check(
    "LT107",
    "Frequency says little about accuracy here",
    of="runs",
    severity="note",
    why="Methods that weigh by class counts (cb, cfs, class-aware) then lift classes that need no help.",
    todo="Prefer methods that weigh by difficulty (cdb-w, cdb-s), and look at the hard frequent classes.",
)
def frequency_says_little(c: Comparison) -> str | None:
    train, group = c.data.counts.get("train"), c.baseline
    if train is None or group is None or c.data.num_classes < 10 or (c.data.imbalance or 1) < 2:
        return None
    known = np.flatnonzero(np.isfinite(group.mean_per_class))
    rho = rank_correlation([train[i] for i in known], group.mean_per_class[known].tolist())
    if rho is None or rho >= 0.4:
        return None
    return f"rank correlation of training samples and {group.label}'s accuracy over {len(known)} classes: {rho:.2f}"


@check(
    "LT108",
    "Classes that are never recognised",
    of="runs",
    why="No weight of a loss or a sampler has helped them, and each of them pulls the mean over classes down.",
    todo="See what they are taken for in the confusion matrix: merge or re-label classes that look alike, and collect "
    "samples of those with almost none.",
)
def never_recognised(c: Comparison) -> str | None:
    per_class = c.best.mean_per_class
    dead = [i for i in c.data.order if per_class[i] == 0]
    if not dead:
        return None
    train = c.data.counts.get("train")
    names = [c.data.class_names[i] + (f" ({train[i]} samples)" if train else "") for i in dead]
    return f"{c.best.label} has 0 % on {len(dead)} of {len(per_class)} classes: {some(names)}"


# -- the difficulty ----------------------------------------------------------------------------------------------------
@check(
    "LT109",
    "A dynamic tau at its ceiling",
    of="runs",
    why="The rule no longer tells a small bias from a large one, often because some class has accuracy 0.",
    todo="Give a fixed tau.",
)
def tau_at_its_ceiling(c: Comparison) -> Seen | None:
    found, ways = [], []
    for group, tau in _dynamic_taus(c):
        if tau.max() >= 1 and (share := float(np.mean(tau >= 0.98 * tau.max()))) >= 0.5:
            found.append(f"{group.label} within 2 % of {tau.max():.2f} in {100 * share:.0f} % of the epochs")
            if options_of(group).get("bias_quantile") == 0 and not ways:
                ways.append("Or let bias_quantile=0.1 leave out the extreme classes.")
    return Seen(f"tau: {some(found)}", " ".join([instead_of_the_rule(c), *ways])) if found else None


@check(
    "LT110",
    "A dynamic tau that ends near 0",
    of="runs",
    severity="note",
    why="Near balance the rule lets the weights fade to 1: the method has become its baseline.",
    todo="If the hard classes still lag, give a fixed tau.",
)
def tau_too_weak(c: Comparison) -> Seen | None:
    finals = [(group.label, group.last("tau")) for group, _ in _dynamic_taus(c)]
    weak = [f"{final:.2f} ({label})" for label, final in finals if final is not None and final < 0.5]
    todo = f"Nothing, unless the hard classes still lag. {instead_of_the_rule(c)}"
    return Seen(f"tau in the last epoch: {some(weak)}", todo) if weak else None


@check(
    "LT111",
    "Class weights that swing",
    of="runs",
    why="Each epoch trains other classes than the one before.",
    todo="Smooth the difficulty (momentum), or hold out more samples (--val-fraction).",
)
def weights_swing(c: Comparison) -> Seen | None:
    found = []
    for group in c.groups:
        measured = group.runs[0].difficulty
        if measured is None or not measured.weighted or len(measured.epochs) < 4:
            continue
        steps = np.abs(np.diff(measured.weight[len(measured.epochs) // 2 :], axis=0))
        swing = float(np.nanmean(steps)) if np.isfinite(steps).any() else 0.0
        if swing > 0.3:
            found.append((group, swing))
    if not found:
        return None
    group = found[0][0]
    ways = [next_value(c, group, "momentum", _MOMENTA), next_value(c, group, "min_difficulty", _FLOORS)]
    tau = number(options_of(group).get("tau"))
    if tau is not None and tau > 1 and tau / 2 not in fixed_taus(c):
        ways.append(f"tau={tau / 2:g} (now {tau:g})")
    told = [way for way in ways if way] + ["a larger held-out split (--val-fraction)"]
    return Seen(
        "mean change of a class weight from epoch to epoch in the second half (1 is neutral): "
        f"{some([f'{swing:.2f} ({group.label})' for group, swing in found])}",
        f"Try {', '.join(told[:-1])}{' or ' if len(told) > 1 else ''}{told[-1]}.",
    )


@check(
    "LT112",
    "A perfect class gets weight zero",
    of="runs",
    severity="note",
    why="It is not trained until the next measurement finds errors in it again; two classes then take turns.",
    todo="Give the difficulty a floor: min_difficulty=0.05.",
)
def weight_zero(c: Comparison) -> Seen | None:
    for group in c.groups:
        measured = group.runs[0].difficulty
        if measured is None or not measured.weighted:
            continue
        zero = (measured.weight <= 1e-6).any(1)  # NaN is not
        if (share := float(zero.mean())) < 0.25:
            continue
        ways = [next_value(c, group, "min_difficulty", _FLOORS), next_value(c, group, "momentum", _MOMENTA)]
        told = [way for way in ways if way] or ["a floor under the difficulty (min_difficulty)"]
        return Seen(
            f"{group.label}: some class has weight 0 in {100 * share:.0f} % of the measured epochs",
            f"Try {' or '.join(told)}.",
        )
    return None


# -- training ----------------------------------------------------------------------------------------------------------
@check(
    "LT113",
    "Test is worse than the held-out split",
    of="runs",
    why="What was chosen on the held-out split may not be what is best on the test split.",
    todo="Look for near-copies between training and held-out samples, or for a test set from another source; choose "
    "settings on a held-out split that resembles the test set.",
)
def held_out_gap(c: Comparison) -> str | None:
    val, test = _mean(c.best, c, "recall", split="val"), _mean(c.best, c, "recall")
    if val is None or test is None or val - test < 0.05:
        return None
    return f"{c.best.label}: macro recall {percent(val)} % held out, {percent(test)} % on test"


@check(
    "LT114",
    "Too little weight decay to see a difference",
    of="runs",
    why="The training samples are learnt by heart: a class weight multiplies a loss that is almost gone, and more "
    "epochs will not help.",
    todo="Try more weight decay (--weight-decay), stronger augmentation, or a smaller or pretrained model.",
)
def learnt_by_heart(c: Comparison) -> Seen | None:
    config = c.best.runs[0].config
    if config.get("weight_decay", 0) is None:  # of a classifier on features: chosen by cross-validation
        return None
    curve = _validation_curve(c)
    _, loss = c.best.series("train_loss")
    loss = np.array([row[np.isfinite(row)][[0, -1]] for row in loss if np.isfinite(row).any()])
    if curve is None or not len(loss):
        return None
    first, last = loss.mean(0)
    quarter = max(2, len(curve) // 4)
    gain = float(curve[-quarter:].mean() - curve[-2 * quarter : -quarter].mean())
    if last > 0.05 * first or gain > 0.005 or curve[-1] > 0.98:
        return None
    decay = number(config.get("weight_decay"))
    more = f"--weight-decay {5 * decay:g} (now {decay:g})" if decay else "more weight decay (--weight-decay)"
    pretrained = "a smaller model" if config.get("weights") else "a smaller or pretrained model"
    return Seen(
        f"{c.best.label}: training loss fell from {first:.3g} to {last:.2g} while held-out accuracy moved by "
        f"{points(gain)} points over the last half (now {percent(curve[-1])} %)",
        f"Try {more}, stronger augmentation, or {pretrained}.",
    )


@check(
    "LT115",
    "Training ended too early",
    of="runs",
    severity="note",
    why="Held-out accuracy still rises when training ends, and methods differ in how fast they learn.",
    todo="Raise --epochs.",
)
def train_longer(c: Comparison) -> Seen | None:
    curve = _validation_curve(c)
    if curve is None:
        return None
    part = max(2, len(curve) // 5)
    gain = float(curve[-part:].mean() - curve[-2 * part : -part].mean())
    if gain < 0.01:
        return None
    epochs = c.best.runs[0].config.get("epochs")
    now = f" (now {epochs})" if isinstance(epochs, int) else ""
    return Seen(
        f"{c.best.label}: held-out accuracy {points(gain)} points in the last {part} epochs against the {part} before",
        f"Raise --epochs{now}, for all methods alike.",
    )
