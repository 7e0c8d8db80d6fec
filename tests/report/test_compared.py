"""How runs become methods and data sets, which is the baseline, and who is said to have won."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from longtail.errors import LongtailError
from longtail.report.compared import Comparison, compare, headline
from longtail.report.find import find_runs

from .fixtures import comparison_folder, rewrite_column, write_run

SMALL = {"classes": 3, "epochs": 2}


def comparisons(folder: Path, **options) -> list[Comparison]:
    return compare(find_runs(folder)[0], **options)


def set_metrics(run: Path, **values: float | None) -> None:
    path = run / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"] |= values
    path.write_text(json.dumps(metrics))


def with_errors(folder: Path, errors: dict[str, list[float]], **options) -> Comparison:
    """A comparison whose methods have exactly these errors, one per seed."""
    for method, values in errors.items():
        for seed, error in enumerate(values):
            write_run(folder / method / f"seed-{seed}", method=method, seed=seed, **SMALL, **options)
            set_metrics(folder / method / f"seed-{seed}", top1=1 - error)
    return comparisons(folder)[0]


def test_labels_are_the_folders_of_a_comparison(tmp_path):
    write_run(tmp_path / "cdb-w tau=1.5" / "seed-0", method="cdb-w", kwargs=["tau=1.5"], **SMALL)
    write_run(tmp_path / "cdb-w" / "seed-0", method="cdb-w", **SMALL)
    assert sorted(g.label for g in comparisons(tmp_path)[0].groups) == ["cdb-w", "cdb-w tau=1.5"]


def test_runs_elsewhere_are_grouped_by_configuration(tmp_path):
    for seed in range(2):
        write_run(tmp_path / f"first-{seed}", method="ce", seed=seed, **SMALL)
        write_run(tmp_path / f"second-{seed}", method="cdb-w", kwargs=["tau=2"], seed=seed, **SMALL)
    groups = comparisons(tmp_path)[0].groups
    assert sorted((g.label, len(g.runs)) for g in groups) == [("cdb-w tau=2", 2), ("ce", 2)]


def test_labels_are_unique_by_what_sets_the_runs_apart(tmp_path):
    write_run(tmp_path / "a", method="ce", **SMALL)
    write_run(tmp_path / "b", method="ce", lr=0.5, **SMALL)
    write_run(tmp_path / "c", method="ce", lr=0.5, **SMALL)  # the same run twice
    write_run(tmp_path / "x" / "ce" / "seed-0", method="ce", **SMALL)
    write_run(tmp_path / "y" / "ce" / "seed-0", method="ce", **SMALL)
    labels = [g.label for g in comparisons(tmp_path)[0].groups]
    assert len(set(labels)) == 5
    assert {"x/ce", "y/ce"} <= set(labels)


def test_data_sets_stay_apart(tmp_path):
    write_run(tmp_path / "i10" / "ce" / "seed-0", imbalance=10, **SMALL)
    write_run(tmp_path / "i99" / "ce" / "seed-0", imbalance=99, **SMALL)
    write_run(tmp_path / "other" / "ce" / "seed-0", data="folder:birds", **SMALL)
    found = comparisons(tmp_path)
    assert sorted(c.title for c in found) == ["digits, imbalance 10", "digits, imbalance 100", "folder:birds"]
    assert all(c.groups[0].label == "ce" for c in found)


def test_the_baseline_is_ce_or_what_is_asked_for(tmp_path):
    comparison_folder(tmp_path, methods=("cdb-s", "ce", "cb"), seeds=1, **SMALL)

    def label(**options) -> str:
        baseline = comparisons(tmp_path, **options)[0].baseline
        assert baseline is not None
        return baseline.label

    assert label() == "ce"
    assert label(baseline="cb") == "cb"
    with pytest.raises(LongtailError, match=r"no finished run of the baseline 'focal': there are cb, cdb-s, ce"):
        label(baseline="focal")


def test_without_ce_the_first_label_is_the_baseline(tmp_path):
    comparison_folder(tmp_path, methods=("cdb-s", "cb"), seeds=1, **SMALL)
    baseline = comparisons(tmp_path)[0].baseline
    assert baseline is not None
    assert baseline.label == "cb"


def test_pairs_are_made_by_seed_and_only_common_seeds_count(tmp_path):
    c = with_errors(tmp_path, {"ce": [0.5, 0.4, 0.3], "cdb-w": [0.3, 0.3]})
    assert c.baseline is not None
    p = c.paired(c.best, c.baseline, c.key)
    assert p is not None
    assert (p.n, p.mean) == (2, pytest.approx(-0.15))


def test_the_winner_is_named_with_amount_and_interval(tmp_path):
    lines = headline(with_errors(tmp_path, {"ce": [0.5, 0.52, 0.51], "cdb-w": [0.3, 0.33, 0.3]}))
    assert lines == [
        "cdb-w has the lowest test error: 31.00 ± 1.73 %, against 51.00 ± 1.00 % for the baseline ce "
        "(mean ± standard deviation over 3 seeds).",
        "Paired by seed it is 20.00 points lower than ce (95 % confidence interval 17.52 to 22.48, 3 seeds): "
        "beyond the spread between seeds.",
        "All seeds have the same splits (data seed 0): their spread is that of initialisation and order alone.",
    ]


def test_a_difference_within_the_spread_is_called_so(tmp_path):
    lines = headline(with_errors(tmp_path, {"ce": [0.5, 0.3, 0.4], "cdb-w": [0.3, 0.4, 0.35]}))
    assert lines[1].endswith(
        "): not beyond the spread between seeds; about 73 pairs would show such a difference with 80 % power."
    )
    assert "interval -" in lines[1]


def test_a_tie_is_called_equal(tmp_path):
    lines = headline(with_errors(tmp_path, {"ce": [0.3, 0.4], "cdb-w": [0.4, 0.3]}))
    assert "Paired by seed it is equal to" in lines[1]
    assert "points" not in lines[1]


def test_one_seed_says_that_no_spread_is_known(tmp_path):
    lines = headline(with_errors(tmp_path, {"ce": [0.5], "cdb-w": [0.3]}))
    assert "(one seed)" in lines[0]
    assert lines[1].startswith(
        "It is 20.00 points lower than ce on one common seed: the spread between seeds is unknown"
    )


def test_a_winning_baseline_and_a_next_best_are_told(tmp_path):
    lines = headline(with_errors(tmp_path, {"ce": [0.2, 0.2], "cdb-w": [0.3, 0.31], "cb": [0.4, 0.41]}))
    assert "ce has the lowest test error" in lines[0]
    assert "it is the baseline: no other method is better" in lines[0]
    assert "the next best, cdb-w" in lines[1]


def test_equal_means_share_the_win(tmp_path):
    lines = headline(with_errors(tmp_path, {"ce": [0.5], "cb": [0.2], "cdb-w": [0.2]}))
    assert lines[0].startswith("cb and cdb-w share the lowest test error")


def test_without_common_seeds_nothing_is_paired(tmp_path):
    write_run(tmp_path / "ce" / "seed-0", seed=0, **SMALL)
    write_run(tmp_path / "cdb-w" / "seed-1", method="cdb-w", seed=1, **SMALL)
    assert any("no seed in common" in line for line in headline(comparisons(tmp_path)[0]))


def test_a_long_tailed_test_split_is_judged_by_macro_recall(tmp_path):
    with_errors(tmp_path, {"ce": [0.1], "cdb-w": [0.2]}, test_per_class=[100, 20, 5])
    set_metrics(tmp_path / "ce" / "seed-0", recall=0.5)
    set_metrics(tmp_path / "cdb-w" / "seed-0", recall=0.7)
    c = comparisons(tmp_path)[0]
    assert c.best.label == "cdb-w"
    lines = headline(c)
    assert lines[0].startswith("cdb-w has the highest test macro recall: 70.00 %, against 50.00 %")
    assert "plain error" in lines[-1]
    assert "ce has the best: 10.00 %" in lines[-1]


@pytest.mark.parametrize(
    ("val", "column", "expected"),
    [
        ([20, 20, 20], "val_balanced_accuracy", "val_accuracy"),
        ([60, 20, 5], "val_balanced_accuracy", "val_balanced_accuracy"),
        ([60, 20, 5], "something_else", "val_accuracy"),
    ],
)
def test_a_long_tailed_held_out_split_is_followed_by_its_balanced_accuracy(tmp_path, val, column, expected):
    write_run(tmp_path / "ce" / "seed-0", val_per_class=val, **SMALL)
    path = tmp_path / "ce" / "seed-0" / "history.csv"
    rewrite_column(path, "val_balanced_accuracy", lambda _: 0.25)
    path.write_text(path.read_text().replace("val_balanced_accuracy", column))  # a folder may lack it
    c = comparisons(tmp_path)[0]
    assert c.validation == expected
    assert (c.best.series(c.validation)[1] == 0.25).all() == (expected == column)


def test_detection_has_its_own_measures(tmp_path):
    for i, method in enumerate(("ce", "cdb-w")):
        write_run(tmp_path / method / "seed-0", method=method, data="lvis:boxes", **SMALL)
        path = tmp_path / method / "seed-0" / "metrics.json"
        test = {"AP": 0.20 + i / 100, "AP50": 0.35, "AP75": 0.2, "APr": 0.05, "APc": None, "APf": 0.3, "loss": 1.5}
        path.write_text(json.dumps({"test": test | {"per_class": [0.1, 0.2, None]}}))
    c = comparisons(tmp_path)[0]
    even = ["worst_tenth", "geometric_mean", "lowest_class"]
    assert [m.key for m in c.shown] == ["AP", "APr", "APf", "AP50", "AP75", *even]
    assert headline(c)[0] == "cdb-w has the highest test AP: 21.00 %, against 20.00 % for the baseline ce (one seed)."


def test_an_unknown_task_is_reported_by_the_numbers_it_has(tmp_path):
    write_run(tmp_path / "ce" / "seed-0", **SMALL)
    (tmp_path / "ce" / "seed-0" / "metrics.json").write_text('{"test": {"mIoU": 0.4, "boundary": 0.3}}')
    c = comparisons(tmp_path)[0]
    assert [m.key for m in c.shown] == ["mIoU", "boundary"]


def test_metrics_without_a_number_are_an_error(tmp_path):
    write_run(tmp_path / "ce" / "seed-0", **SMALL)
    (tmp_path / "ce" / "seed-0" / "metrics.json").write_text('{"test": {"top1": null}}')
    with pytest.raises(LongtailError, match=r"metrics\.json holds no number"):
        comparisons(tmp_path)


def test_what_is_beyond_the_spread_is_corrected_for_all_methods(tmp_path):
    """One comparison alone is clear, the same one among nine that differ by chance is not."""
    errors = {"ce": [0.50, 0.52, 0.51], "cdb-w": [0.46, 0.47, 0.48]}
    assert "): beyond the spread between seeds." in headline(with_errors(tmp_path / "two", errors))[1]
    others = {name: [0.5 + 0.001 * i, 0.52, 0.5] for i, name in enumerate(("cb", "rfs", "lrw", "cfs", "crt", "lws"))}
    c = with_errors(tmp_path / "many", errors | others)
    line = headline(c)[1]
    assert "not beyond the spread between seeds (Holm's correction for 7 comparisons: p = " in line
    assert c.baseline is not None
    p = c.paired(c.best, c.baseline, c.key)
    assert p is not None and p.p is not None and p.adjusted is not None
    assert p.p < 0.05 < p.adjusted == pytest.approx(7 * p.p)
    turned = c.paired(c.baseline, c.best, c.key)
    assert turned is not None
    assert (turned.mean, turned.low, turned.adjusted) == (-p.mean, -(p.high or 0), p.adjusted)


def _drawn(folder: Path, data_seeds: dict[int, int], *, splits: dict[str, list[int]] | None = None) -> list[str]:
    """The headline of runs with these data seeds, whose splits hold what these numbers stand for."""
    for seed, data_seed in data_seeds.items():
        for method in ("ce", "cdb-w"):
            run = folder / method / f"seed-{seed}"
            write_run(run, method=method, seed=seed, data_seed=data_seed, **SMALL)
            if splits:
                rows = "".join(f"{name},,,9,,{numbers[seed]}\n" for name, numbers in splits.items())
                (run / "splits.csv.gz").write_bytes(
                    gzip.compress(f"split,file,label,size,modified,digest\n{rows}".encode())
                )
    return headline(comparisons(folder)[0])


def test_the_report_says_what_varied(tmp_path):
    both = {"train": [1, 2], "val": [3, 4], "test": [5, 5]}
    lines = _drawn(tmp_path / "own", {0: 0, 1: 1}, splits=both)
    assert "Each seed has its own train and val split, besides its own initialisation and order." in lines
    same = {"train": [1, 1], "test": [5, 5]}
    assert "same splits: their" in _drawn(tmp_path / "given", {0: 0, 1: 1}, splits=same)[-1]
    assert "same splits (data seed 3)" in _drawn(tmp_path / "fixed", {0: 3, 1: 3}, splits=same)[-1]
    assert "same splits (data seed 3)" in _drawn(tmp_path / "old", {0: 3, 1: 3})[-1]
    assert "its own data seed" in _drawn(tmp_path / "untold", {0: 0, 1: 1})[-1]


def test_runs_pair_only_where_seed_and_data_seed_agree(tmp_path):
    for method, data_seed in (("ce", 0), ("cdb-w", 1)):
        write_run(tmp_path / method / "seed-0", method=method, data_seed=data_seed, **SMALL)
    assert any("no seed in common" in line for line in headline(comparisons(tmp_path)[0]))


def test_the_bootstrap_speaks_of_pairs_on_the_same_samples(tmp_path):
    random = np.random.default_rng(0)
    target = np.arange(60) % 3
    for seed in range(2):
        for method, wrong in (("ce", 0.4), ("cdb-w", 0.1)):
            folder = tmp_path / method / f"seed-{seed}"
            write_run(folder, method=method, seed=seed, **SMALL)
            predicted = np.where(random.random(60) < wrong, (target + 1) % 3, target)
            numbers = {"sample": np.arange(60) + 100 * seed, "target": target, "predicted": predicted}
            save_file(numbers, folder / "test_predictions.safetensors")
    (c,) = comparisons(tmp_path)
    group = {g.label: g for g in c.groups}
    found = c.bootstrap(group["cdb-w"], group["ce"], c.key)
    assert found is not None and found[0] < found[1] < 0
    numbers["sample"] = np.arange(60) + 500
    save_file(numbers, tmp_path / "cdb-w" / "seed-1" / "test_predictions.safetensors")
    (c,) = comparisons(tmp_path)
    group = {g.label: g for g in c.groups}
    assert c.bootstrap(group["cdb-w"], group["ce"], c.key) is None
    (tmp_path / "cdb-w" / "seed-1" / "test_predictions.safetensors").write_bytes(b"no such thing")
    (c,) = comparisons(tmp_path)
    group = {g.label: g for g in c.groups}
    assert c.bootstrap(group["cdb-w"], group["ce"], c.key) is None
    assert any("test_predictions" in line for run in group["cdb-w"].runs for line in run.problems)
