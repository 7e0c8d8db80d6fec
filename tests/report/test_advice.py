"""Every check of runs speaks when its numbers are there, names them, and keeps silent otherwise."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longtail.advice import CHECKS, Finding
from longtail.methods import get_method
from longtail.report import advice, tried
from longtail.report.compared import Comparison, compare
from longtail.report.find import find_runs

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


def compared(folder: Path) -> Comparison:
    (comparison,) = compare(find_runs(folder)[0])
    return comparison


def ask(folder: Path, code: str) -> Finding | None:
    return CHECKS[code](compared(folder))


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


def learnt_by_heart(folder, **options):
    runs(folder, **options)
    history(folder, "cdb-w", "train_loss", lambda i: 2.0 * 0.5**i)
    history(folder, "ce", "train_loss", lambda i: 2.0 * 0.5**i)
    for method in ("ce", "cdb-w"):
        history(folder, method, "val_accuracy", lambda i: 0.6 if i > 3 else 0.3)


def decay_is_cross_validated(folder):
    learnt_by_heart(folder, weight_decay=None)


def still_rising(folder):
    runs(folder)
    for method in ("ce", "cdb-w"):
        history(folder, method, "val_accuracy", lambda i: 0.02 * (i + 1))


def settled(folder):
    runs(folder)
    for method in ("ce", "cdb-w"):
        history(folder, method, "val_accuracy", lambda i: 0.7)


def unlike(folder):
    runs(folder, methods=("ce",))
    runs(folder, methods=("cdb-w",), weight_decay=5e-4)


def weight_of_zero(folder):
    runs(folder)
    for path in (folder / "cdb-w").glob("seed-*/difficulty.csv"):
        rewrite_column(path, "weight", lambda i: 0.0 if i % 20 == 3 else 1.1)


# code, numbers that show it, what must be told, numbers that do not
CASES = [
    ("LT101", one_seed, "fewest finished runs has 1", clear_win),
    ("LT102", same_twice, "95 % interval", clear_win),
    ("LT103", only_frequency, "cb", long_tailed),
    ("LT104", unlike, "weight_decay", long_tailed),
    ("LT105", rare_lost, "cdb-w: many-shot", long_tailed),
    ("LT106", head_lost, "ce 90", long_tailed),
    ("LT107", difficulty_is_free, "over 10 classes", frequency_is_all),
    ("LT108", a_dead_class, "class-009 (5 samples)", long_tailed),
    ("LT109", tau_at_ceiling, "cdb-w within 2 % of 4.99 in 85 % of the epochs", tau_fixed),
    ("LT109", tau_stuck, "5.00 in 100 % of the epochs", tau_fixed_at_five),
    ("LT110", tau_weak, "last epoch: 0.15 (cdb-w)", tau_fixed),
    ("LT111", weights_swing, "2.00", weights_steady),
    ("LT112", weight_of_zero, "weight 0 in 50 % of the measured epochs", weights_steady),
    ("LT113", val_flatters, "99.90 % held out", long_tailed),
    ("LT114", learnt_by_heart, "fell from 2 to", still_rising),
    ("LT114", learnt_by_heart, "fell from 2 to", decay_is_cross_validated),
    ("LT115", still_rising, "+8.00 points in the last 4 epochs", settled),
]
# of the data that runs were trained on: they are checked as ``inspect`` checks them
OF_DATA = [
    ("LT006", no_held_out_images, "9 of 10 classes: class-001", long_tailed),
    ("LT007", tiny_held_out, "one sample is 50 points", long_tailed),
    ("LT009", balanced, "1 times the samples", long_tailed),
]


@pytest.mark.parametrize(("code", "numbers", "seen", "silent"), CASES)
def test_a_check_speaks_with_its_numbers_and_only_then(tmp_path, code, numbers, seen, silent):
    numbers(tmp_path / "speaks")
    found = ask(tmp_path / "speaks", code)
    assert found is not None
    assert seen in found.seen and not found.seen.endswith(".")
    assert found.todo.endswith(".")
    silent(tmp_path / "silent")
    assert ask(tmp_path / "silent", code) is None


@pytest.mark.parametrize(("code", "numbers", "seen", "silent"), OF_DATA)
def test_a_report_checks_the_data_too(tmp_path, code, numbers, seen, silent):
    numbers(tmp_path / "speaks")
    assert seen in next(found.seen for found in advice.advise(compared(tmp_path / "speaks")) if found.code == code)
    silent(tmp_path / "silent")
    assert code not in {found.code for found in advice.advise(compared(tmp_path / "silent"))}


def test_every_check_of_runs_is_tried():
    assert {case[0] for case in CASES} == {own.code for own in CHECKS.values() if own.of == "runs"}


# -- advice follows from what was run ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("classes", "methods", "words"),
    [
        (10, ("ce",), "Try cdb-s and cdb-w."),
        (10, ("ce", "cdb-s", "cdb-w", "class-aware"), "Try cdb-s:tau=3."),  # 2 is the default
        (60, ("ce",), "Try balanced-softmax and cdb-w."),
        (60, ("ce", "cdb-w", "balanced-softmax"), "Try ldam-drw and crt."),
        (60, ("ce", "cdb-w", "balanced-softmax", "ldam-drw"), "Try crt."),
        (60, ("ce", "cdb-w", "balanced-softmax", "ldam-drw", "crt"), "Try cdb-w:tau=5,defer=0.8."),
    ],
)
def test_rare_classes_need_other_methods_where_there_are_many_classes(tmp_path, classes, methods, words):
    accuracy = np.linspace(0.9, 0.1, classes).tolist()
    runs(tmp_path, methods, seeds=1, classes=classes, accuracy=dict.fromkeys(methods, accuracy))
    found = ask(tmp_path, "LT105")
    assert found is not None and found.todo.startswith(words)


def test_what_was_tried_is_not_advised_again(tmp_path):
    accuracy = np.linspace(0.9, 0.1, 60).tolist()
    methods = ("balanced-softmax", "cdb-w", "ldam-drw", "crt")
    options = {"seeds": 1, "classes": 60, "accuracy": dict.fromkeys(methods, accuracy)}
    runs(tmp_path, methods, kwargs=("tau=5", "defer=0.8"), **options)
    found = ask(tmp_path, "LT105")
    assert found is not None and "defer" not in found.todo and "base=balanced-softmax" in found.todo


def hyperparameters(folder: Path, **values) -> None:
    """What the runs of cdb-w were set to, in full, as a run folder tells it."""
    for path in folder.glob("cdb-*/seed-*/config.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"hyperparameters": DEFAULTS | values}))


DEFAULTS = dataclasses.asdict(get_method("cdb-w"))


@given(momentum=st.sampled_from([0.0, 0.5, 0.8, 0.9, 0.95]), tau=st.sampled_from([1.0, 2.0, 5.0]))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_is_advised_that_the_run_had_or_was_above(tmp_path_factory, momentum, tau):
    folder = tmp_path_factory.mktemp("runs")
    runs(folder, methods=("cdb-w",), seeds=1)
    for path in folder.glob("*/*/difficulty.csv"):
        rewrite_column(path, "weight", lambda i: (i // 10 + i) % 2 * 2)
    hyperparameters(folder, momentum=momentum, tau=tau)
    found = ask(folder, "LT111")
    assert found is not None
    raised = re.search(r"momentum=([\d.]+) \(now ([\d.]+)\)", found.todo)
    assert (raised is None) == (momentum == 0.95)
    assert raised is None or float(raised[1]) > float(raised[2]) == momentum
    lowered = re.search(r"tau=([\d.]+) \(now ([\d.]+)\)", found.todo)
    assert lowered is None if tau == 1 else lowered is not None and float(lowered[1]) < float(lowered[2]) == tau


def test_a_larger_tau_is_above_the_default_and_above_those_that_were_run(tmp_path):
    methods = ("ce", "cdb-s", "cdb-w", "class-aware")
    runs(tmp_path, methods, seeds=1, accuracy=dict.fromkeys(methods, np.linspace(0.9, 0.1, 10).tolist()))
    larger = {2.0: "Try cdb-s:tau=3.", 3.0: "Try cdb-s:tau=5.", 5.0: "Stronger", "sigmoid": "Try cdb-s:tau=1."}
    for tau, words in larger.items():
        hyperparameters(tmp_path, tau=tau)
        found = ask(tmp_path, "LT105")
        assert found is not None and found.todo.startswith(words)


def test_a_fixed_tau_is_not_advised_where_one_was_run(tmp_path):
    runs(tmp_path, methods=("cdb-w", "cdb-s"))
    history(tmp_path, "cdb-w", "tau", lambda _: 5.0)
    history(tmp_path, "cdb-s", "tau", lambda _: 2.0)
    hyperparameters(tmp_path, tau="sigmoid")
    found = ask(tmp_path, "LT109")
    assert found is not None and "leave tau out" in found.todo
    for path in tmp_path.glob("cdb-s/*/config.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"hyperparameters": DEFAULTS | {"tau": 2.0}}))
    found = ask(tmp_path, "LT109")
    assert found is not None and "that you have run (2)" in found.todo


def test_defaults_of_old_runs_are_those_of_the_difficulty():
    assert (DEFAULTS["tau"], DEFAULTS["max_tau"]) == (tried.DEFAULT_TAU, tried.MAX_TAU)
