"""Every rule speaks when its numbers are there, names them, and keeps silent otherwise."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from longtail.report import advice
from longtail.report.comparison import Comparison, compare
from longtail.report.runs import find_runs

from .fixtures import rewrite_column, write_run

GOOD = [0.95, 0.95, 0.95, 0.95, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
EPOCHS = 20


def runs(folder: Path, methods=("ce", "cdb-w"), *, seeds: int = 3, accuracy=None, **options) -> None:
    accuracy = accuracy or {}
    for method in methods:
        for seed in range(seeds):
            write_run(
                folder / method / f"seed-{seed}",
                **{"method": method, "seed": seed, "epochs": EPOCHS, "test_per_class": 400}
                | {"accuracy": accuracy.get(method, GOOD)}
                | options,
            )


def history(folder: Path, method: str, column: str, values) -> None:
    for path in (folder / method).glob("seed-*/history.csv"):
        rewrite_column(path, column, values)


def ask(folder: Path, rule) -> advice.Advice | None:
    comparison: Comparison = compare(find_runs(folder)[0])[0]
    return rule(comparison)


def one_seed(folder):
    runs(folder, seeds=1)


def same_twice(folder):
    runs(folder, accuracy={"ce": [0.9] * 10, "cdb-w": [0.9] * 10})


def clear_win(folder):
    runs(folder, accuracy={"ce": [0.5] * 10, "cdb-w": [0.9] * 10})


def balanced(folder):
    runs(folder, imbalance=1.0)


def long_tailed(folder):
    runs(folder)


def only_frequency(folder):
    runs(folder, methods=("ce", "cb"))


def rare_lost(folder):
    runs(folder, accuracy={"ce": [0.5] * 10, "cdb-w": [0.9] * 7 + [0.4] * 3})


def head_lost(folder):
    runs(folder, accuracy={"ce": [0.9] * 4 + [0.1] * 6, "cdb-w": [0.8] * 10})


def frequency_is_all(folder):
    runs(folder, accuracy={"ce": np.linspace(0.95, 0.1, 10).tolist()})


def difficulty_is_free(folder):
    runs(folder, accuracy={"ce": [0.2, 0.9, 0.5, 0.7, 0.3, 0.8, 0.4, 0.9, 0.2, 0.6]})


def a_dead_class(folder):
    runs(folder, accuracy={"ce": [0.4] * 10, "cdb-w": [*[0.9] * 9, 0.0]})


def tau_at_ceiling(folder):
    runs(folder)
    history(folder, "cdb-w", "tau", lambda i: 4.99 if i > 2 else 1.0 + i)


def tau_weak(folder):
    runs(folder)
    history(folder, "cdb-w", "tau", lambda i: 3.0 / (i + 1))


def tau_fixed(folder):
    runs(folder)
    history(folder, "cdb-w", "tau", lambda _: 1.5)


def tau_stuck(folder):
    runs(folder)
    history(folder, "cdb-w", "tau", lambda _: 5.0)


def tau_fixed_at_five(folder):
    runs(folder, kwargs=["tau=5"])
    history(folder, "cdb-w", "tau", lambda _: 5.0)


def weights_swing(folder):
    runs(folder)
    for path in (folder / "cdb-w").glob("seed-*/difficulty.csv"):
        rewrite_column(path, "weight", lambda i: (i // 10 + i) % 2 * 2)


def weights_steady(folder):
    runs(folder)
    for path in (folder / "cdb-w").glob("seed-*/difficulty.csv"):
        rewrite_column(path, "weight", lambda i: 1.5 if i % 10 > 4 else 0.5)


def no_held_out_images(folder):
    runs(folder, val_per_class=[20] + [0] * 9)


def tiny_held_out(folder):
    runs(folder, val_per_class=2)


def val_flatters(folder):
    runs(folder)
    for path in folder.glob("*/*/metrics.json"):
        text = path.read_text()
        start = text.index('"val"')
        path.write_text(text[:start] + re.sub(r'"recall": [\d.]+', '"recall": 0.999', text[start:]))


def learnt_by_heart(folder):
    runs(folder)
    history(folder, "cdb-w", "train_loss", lambda i: 2.0 * 0.5**i)
    history(folder, "ce", "train_loss", lambda i: 2.0 * 0.5**i)
    for method in ("ce", "cdb-w"):
        history(folder, method, "val_accuracy", lambda i: 0.6 if i > 3 else 0.3)


def still_rising(folder):
    runs(folder)
    for method in ("ce", "cdb-w"):
        history(folder, method, "val_accuracy", lambda i: 0.02 * (i + 1))


def settled(folder):
    runs(folder)
    for method in ("ce", "cdb-w"):
        history(folder, method, "val_accuracy", lambda i: 0.7)


# rule, numbers that trigger it, what it must say, numbers that do not
CASES = [
    (advice.more_seeds, one_seed, "fewest finished runs: 1", clear_win),
    (advice.more_seeds, same_twice, "95 % interval", clear_win),
    (advice.not_long_tailed, balanced, "smallest class) 1", long_tailed),
    (advice.try_difficulty, only_frequency, "cb", long_tailed),
    (advice.few_behind_many, rare_lost, "cdb-w: many-shot", long_tailed),
    (advice.head_dropped, head_lost, "ce 90", long_tailed),
    (advice.frequency_or_difficulty, difficulty_is_free, "over 10 classes", frequency_is_all),
    (advice.dead_classes, a_dead_class, "class-009 (5 samples)", long_tailed),
    (advice.tau_at_its_ceiling, tau_at_ceiling, "cdb-w within 2 % of 4.99 in 85 % of the epochs", tau_fixed),
    (advice.tau_at_its_ceiling, tau_stuck, "5.00 in 100 % of the epochs", tau_fixed_at_five),
    (advice.tau_too_weak, tau_weak, "last epoch: 0.15 (cdb-w)", tau_fixed),
    (advice.weights_jump, weights_swing, "2.00", weights_steady),
    (advice.unmeasured_classes, no_held_out_images, "9 of 10 classes: class-001", long_tailed),
    (advice.coarse_difficulty, tiny_held_out, "2 samples, so one sample is 50 points", long_tailed),
    (advice.held_out_gap, val_flatters, "99.90 % held out", long_tailed),
    (advice.overfitting, learnt_by_heart, "fell from 2 to", still_rising),
    (advice.train_longer, still_rising, "+8.00 points in the last 4 epochs", settled),
]


@pytest.mark.parametrize(("rule", "numbers", "evidence", "silent"), CASES)
def test_a_rule_speaks_with_its_numbers_and_only_then(tmp_path, rule, numbers, evidence, silent):
    numbers(tmp_path / "speaks")
    found = ask(tmp_path / "speaks", rule)
    assert found is not None
    assert evidence in found.evidence
    assert found.title
    assert found.text.endswith(".")
    silent(tmp_path / "silent")
    assert ask(tmp_path / "silent", rule) is None


@pytest.mark.parametrize(
    ("classes", "methods", "words"),
    [
        (10, ("ce",), "Try cdb-s and cdb-w,"),
        (10, ("ce", "cdb-s", "cdb-w", "class-aware"), "Try a larger fixed tau"),
        (60, ("ce",), "Try balanced-softmax and cdb-w,"),
        (60, ("ce", "cdb-w", "balanced-softmax"), "Try ldam-drw and crt,"),
        (60, ("ce", "cdb-w", "balanced-softmax", "ldam-drw"), "Try crt,"),
        (60, ("ce", "cdb-w", "balanced-softmax", "ldam-drw", "crt"), "Try cdb-w with tau=5 and defer=0.8"),
    ],
)
def test_rare_classes_need_other_methods_where_there_are_many_classes(tmp_path, classes, methods, words):
    accuracy = np.linspace(0.9, 0.1, classes).tolist()
    runs(tmp_path, methods, seeds=1, classes=classes, accuracy=dict.fromkeys(methods, accuracy))
    found = ask(tmp_path, advice.few_behind_many)
    assert found is not None and found.text.startswith(words)


def test_what_was_tried_is_not_advised_again(tmp_path):
    accuracy = np.linspace(0.9, 0.1, 60).tolist()
    methods = ("balanced-softmax", "cdb-w", "ldam-drw", "crt")
    options = {"seeds": 1, "classes": 60, "accuracy": dict.fromkeys(methods, accuracy)}
    runs(tmp_path, methods, kwargs=("tau=5", "defer=0.8"), **options)
    found = ask(tmp_path, advice.few_behind_many)
    assert found is not None and "defer" not in found.text and "base=balanced-softmax" in found.text


def test_every_rule_is_tested():
    assert {case[0] for case in CASES} == set(advice.RULES)
