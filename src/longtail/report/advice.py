"""What to try next: rules over the numbers of a comparison. A rule is one function in `RULES`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from longtail.report.comparison import Comparison, Group, percent, points
from longtail.report.runs import Floats
from longtail.report.statistics import rank_correlation

__all__ = ["RULES", "Advice", "advise"]


@dataclasses.dataclass(frozen=True)
class Advice:
    """What to do, why it may help, and the numbers that led to it."""

    title: str
    text: str
    evidence: str


# ClassDifficulty's own default, for runs whose configuration does not name it.
_MAX_TAU = 5.0
# With so many classes the counts say more than a difficulty, samplers repeat few images too often, and weights do
# better late: measured on CIFAR100-LT, "How to choose" in the documentation.
_MANY_CLASSES = 50


def advise(c: Comparison) -> list[Advice]:
    """The advice of every rule that the numbers trigger, in the order of `RULES`."""
    return [advice for rule in RULES if (advice := rule(c)) is not None]


def _mean(group: Group, c: Comparison, key: str, *, split: str = "test") -> float | None:
    measure = next((m for m in c.measures.measures if m.key == key), None)
    s = group.spread(measure, split=split) if measure else None
    return s.mean if s else None


def _some(names: Sequence[str], limit: int = 6) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _methods(c: Comparison) -> set[str]:
    return {group.method for group in c.groups}


def _final(group: Group, column: str) -> float | None:
    """Mean over the runs of the last number in a column of the history."""
    _, values = group.series(column)
    last = [row[np.isfinite(row)][-1] for row in values if np.isfinite(row).any()]
    return float(np.mean(last)) if last else None


def more_seeds(c: Comparison) -> Advice | None:
    """Too few seeds to tell the best method from its rival."""
    seeds = min(len(group.runs) for group in c.groups)
    if seeds < 2:
        return Advice(
            "Run more seeds",
            "With one seed nobody can tell a better method from a luckier run: add --seeds 3, or 5 for a claim.",
            f"Method with the fewest finished runs: {seeds}.",
        )
    rival = c.baseline if c.baseline is not c.best else c.groups[1] if len(c.groups) > 1 else None
    p = c.paired(c.best, rival, c.key) if rival else None
    if rival is None or p is None or p.clear or p.low is None or p.high is None:
        return None
    needed = p.seeds_needed
    guess = f"about {needed} pairs" if needed else "far more seeds than are practical"
    return Advice(
        f"Do not rank {c.best.label} and {rival.label} yet",
        f"Their difference is within the spread between seeds. If mean and spread are as they seem, {guess} would "
        "show it with 80 % power.",
        f"{c.key.title}: paired difference {points(p.mean)} points, 95 % interval {points(p.low)} to {points(p.high)} "
        f"over {p.n} seeds.",
    )


def not_long_tailed(c: Comparison) -> Advice | None:
    """Hardly any imbalance."""
    ratio = c.data.imbalance
    if ratio is None or ratio >= 2:
        return None
    return Advice(
        "Expect little from re-balancing",
        "The training classes are almost equally large. Difficulty weights may still help with classes that are hard "
        "for other reasons; otherwise work on data and model first.",
        f"Imbalance (largest over smallest class) {ratio:.3g}.",
    )


def try_difficulty(c: Comparison) -> Advice | None:
    """No class-difficulty method was run."""
    if any(method.startswith("cdb") for method in _methods(c)) or not any(_methods(c)):
        return None
    return Advice(
        "Try class-difficulty methods",
        "Run cdb-w (weights in the loss) and cdb-s (weights in the sampler) beside these methods with the same --out.",
        f"Methods so far: {_some([group.label for group in c.groups])}.",
    )


def frequency_or_difficulty(c: Comparison) -> Advice | None:
    """Accuracy of the baseline hardly follows the class frequency: the setting class difficulty is made for."""
    train, group = c.data.counts.get("train"), c.baseline
    if train is None or group is None or c.data.num_classes < 10 or (c.data.imbalance or 1) < 2:
        return None
    known = np.flatnonzero(np.isfinite(group.mean_per_class))
    rho = rank_correlation([train[i] for i in known], group.mean_per_class[known].tolist())
    if rho is None or rho >= 0.4:
        return None
    return Advice(
        "Trust difficulty more than frequency here",
        "How many samples a class has says little about how well it is recognised. Methods that weigh by class counts "
        "(cb, cfs, class-aware) then lift classes that need no help; prefer cdb-w or cdb-s, and look at the hard "
        "frequent classes.",
        f"Rank correlation of training samples and {group.label}'s accuracy over {len(known)} classes: {rho:.2f}.",
    )


def few_behind_many(c: Comparison) -> Advice | None:
    """The rare classes are still far behind."""
    few, many = _mean(c.best, c, "few"), _mean(c.best, c, "many")
    group, rare = "few-shot", few
    if few is None:
        rare, group = _mean(c.best, c, "medium"), "medium-shot"
    if rare is None or many is None or many - rare < 0.15:
        return None
    names, last = ("cdb-s", "cdb-w", "class-aware"), "a larger fixed tau (1.5 or 2) for cdb-s or cdb-w"
    if c.data.num_classes >= _MANY_CLASSES:
        names = ("balanced-softmax", "cdb-w", "ldam-drw", "crt")
        last = "cdb-w with tau=5 and defer=0.8 (strong weights in the last epochs only)"
        if any(item.startswith("defer=") for group in c.groups for item in group.runs[0].kwargs):
            last = "cdb-w with base=balanced-softmax and form=logit"
    missing = [name for name in names if name not in _methods(c)]
    first = f"Try {' and '.join(missing[:2]) or last}"
    return Advice(
        f"The {group} classes are still far behind",
        f"{first}, with min_difficulty raised if weights jump; stronger augmentation and more samples of the rare "
        "classes help where no weighting can.",
        f"{c.best.label}: many-shot {percent(many)} %, {group} {percent(rare)} %, {percent(many - rare)} points apart.",
    )


def head_dropped(c: Comparison) -> Advice | None:
    """The best method pays with the frequent classes."""
    if c.baseline is None or c.best is c.baseline:
        return None
    ours, theirs = _mean(c.best, c, "many"), _mean(c.baseline, c, "many")
    if ours is None or theirs is None or theirs - ours < 0.03:
        return None
    return Advice(
        "The frequent classes pay for the rare ones",
        "If they matter to you, soften the weights: a smaller tau, normalize left on, cdb-w instead of a sampler, or "
        "the progressive sampler, which starts from the natural distribution.",
        f"Many-shot accuracy: {c.best.label} {percent(ours)} %, {c.baseline.label} {percent(theirs)} %.",
    )


def _dynamic_tau(group: Group) -> Floats | None:
    """All values of a tau that follows the bias, over epochs and runs; None for a fixed one."""
    _, values = group.series("tau")
    tau = values[np.isfinite(values)]
    if len(tau) < 5:
        return None
    given = dict(item.split("=", 1) for item in group.runs[0].kwargs if "=" in item)
    if _number(given.get("tau", "")) is not None:
        return None
    largest = _number(given.get("max_tau", "")) or _MAX_TAU
    return tau if np.ptp(tau) > 1e-6 or abs(tau[0] - largest) < 1e-3 * largest else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def tau_at_its_ceiling(c: Comparison) -> Advice | None:
    """A dynamic tau that no longer moves."""
    found = []
    for group in c.groups:
        tau = _dynamic_tau(group)
        if tau is not None and tau.max() >= 1 and (share := float(np.mean(tau >= 0.98 * tau.max()))) >= 0.5:
            found.append(
                (group.label, f"{group.label} within 2 % of {tau.max():.2f} in {100 * share:.0f} % of the epochs")
            )
    if not found:
        return None
    return Advice(
        f"The exponent of {_some([label for label, _ in found])} sits at its ceiling",
        "The rule no longer tells small from large bias, often because some class has accuracy 0. Lower max_tau, add "
        "momentum, or give a fixed tau (1 to 2).",
        f"tau: {_some([evidence for _, evidence in found])}.",
    )


def tau_too_weak(c: Comparison) -> Advice | None:
    """A dynamic tau that ends near 0."""
    finals = [(group.label, _final(group, "tau")) for group in c.groups if _dynamic_tau(group) is not None]
    weak = [(label, final) for label, final in finals if final is not None and final < 0.5]
    if not weak:
        return None
    return Advice(
        f"The exponent of {_some([label for label, _ in weak])} ends too weak to matter",
        "Near balance the dynamic rule lets the weights fade to 1. If the hard classes still lag, try a fixed tau of "
        "1 to 2.",
        f"tau in the last epoch: {_some([f'{final:.2f} ({label})' for label, final in weak])}.",
    )


def weights_jump(c: Comparison) -> Advice | None:
    """Weights swing from epoch to epoch."""
    found = []
    for group in c.groups:
        measured = group.runs[0].difficulty
        if measured is None or not measured.weighted or len(measured.epochs) < 4:
            continue
        steps = np.abs(np.diff(measured.weight[len(measured.epochs) // 2 :], axis=0))
        swing = float(np.nanmean(steps)) if np.isfinite(steps).any() else 0.0
        if swing > 0.3:
            found.append((group.label, swing))
    if not found:
        return None
    return Advice(
        f"The weights of {_some([label for label, _ in found])} swing",
        "Each epoch trains other classes than the one before. Raise momentum (0.5 to 0.9) or min_difficulty, lower "
        "tau, or enlarge the held-out split.",
        "Mean change of a class weight from epoch to epoch in the second half (1 is neutral): "
        f"{_some([f'{swing:.2f} ({label})' for label, swing in found])}.",
    )


def unmeasured_classes(c: Comparison) -> Advice | None:
    """Classes without held-out samples."""
    val = c.data.counts.get("val")
    if not val or not any(val):
        return None
    without = [c.data.class_names[i] for i in c.data.order if val[i] == 0]
    if not without:
        return None
    return Advice(
        "Some classes have no held-out image",
        "Their difficulty cannot be measured, so they follow the option absent. Add samples, or raise the held-out "
        "share with --val-fraction.",
        f"{len(without)} of {len(val)} classes: {_some(without)}.",
    )


def coarse_difficulty(c: Comparison) -> Advice | None:
    """Very few held-out samples a class."""
    present = [n for n in c.data.counts.get("val", ()) if n > 0]
    if not present or float(np.median(present)) >= 5:
        return None
    median = float(np.median(present))
    return Advice(
        "The held-out classes are tiny",
        "Accuracy, and so difficulty, moves in coarse steps. Smooth it with momentum, or raise --val-fraction.",
        f"Median class size in the held-out split: {median:.3g} samples, so one sample is {100 / median:.0f} points.",
    )


def held_out_gap(c: Comparison) -> Advice | None:
    """The held-out split promises more than the test split keeps."""
    val, test = _mean(c.best, c, "recall", split="val"), _mean(c.best, c, "recall")
    if val is None or test is None or val - test < 0.05:
        return None
    return Advice(
        "Test is clearly worse than the held-out split",
        "Look for near-duplicates between train and held-out samples, or for a test set from another source; choose "
        "settings on a held-out split that resembles the test set.",
        f"{c.best.label}: macro recall {percent(val)} % held out, {percent(test)} % on test.",
    )


def _validation_curve(c: Comparison) -> Floats | None:
    """Mean held-out accuracy of the best method by epoch, without the epochs that lack it."""
    _, values = c.best.series(c.validation)
    known = np.isfinite(values).all(0)
    return values[:, known].mean(0) if known.sum() >= 8 else None


def overfitting(c: Comparison) -> Advice | None:
    """Training loss near zero while held-out accuracy stands still or falls."""
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
    return Advice(
        "The model has learnt its training samples by heart",
        "More epochs will not help, and a class weight multiplies a loss that is almost gone. Try more weight decay "
        "(--weight-decay), stronger augmentation, a smaller or pretrained model, or the weights of "
        "model_best.safetensors.",
        f"{c.best.label}: training loss fell from {first:.3g} to {last:.2g} while held-out accuracy moved by "
        f"{points(gain)} points over the last half (now {percent(curve[-1])} %).",
    )


def train_longer(c: Comparison) -> Advice | None:
    """Held-out accuracy still rises at the end."""
    curve = _validation_curve(c)
    if curve is None:
        return None
    part = max(2, len(curve) // 5)
    gain = float(curve[-part:].mean() - curve[-2 * part : -part].mean())
    if gain < 0.01:
        return None
    return Advice(
        "Train longer",
        "Held-out accuracy is still rising when training ends: raise --epochs.",
        f"{c.best.label}: held-out accuracy {points(gain)} points in the last {part} epochs against the {part} before.",
    )


def dead_classes(c: Comparison) -> Advice | None:
    """Classes that are never recognised."""
    per_class = c.best.mean_per_class
    dead = [i for i in c.data.order if per_class[i] == 0]
    if not dead:
        return None
    train = c.data.counts.get("train")
    names = [c.data.class_names[i] + (f" ({train[i]} samples)" if train else "") for i in dead]
    return Advice(
        "Some classes are never recognised",
        "See whom they are taken for in the confusion above: merge or re-label classes that look alike, and collect "
        "samples for those with almost none.",
        f"{c.best.label} has 0 % on {len(dead)} of {len(per_class)} classes: {_some(names)}.",
    )


RULES: tuple[Callable[[Comparison], Advice | None], ...] = (
    more_seeds,
    not_long_tailed,
    try_difficulty,
    few_behind_many,
    head_dropped,
    frequency_or_difficulty,
    dead_classes,
    tau_at_its_ceiling,
    tau_too_weak,
    weights_jump,
    unmeasured_classes,
    coarse_difficulty,
    held_out_gap,
    overfitting,
    train_longer,
)
