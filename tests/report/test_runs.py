"""Which folders are runs, what is read from them, and what happens to torn and missing files."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from clear import assert_clear
from longtail.errors import LongtailError
from longtail.report import write_report
from longtail.report.find import find_runs
from longtail.report.runs import Run

from .fixtures import comparison_folder, rewrite_column, write_run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "ce" / "seed-0", epochs=6)
    return tmp_path / "ce" / "seed-0"


def only(folder: Path) -> Run:
    runs, broken = find_runs(folder)
    assert broken == []
    assert len(runs) == 1
    return runs[0]


def test_runs_are_found_at_any_depth_in_natural_order(tmp_path):
    for seed in (10, 2, 0):
        write_run(tmp_path / "a" / "b" / "ce" / f"seed-{seed}", seed=seed, epochs=2)
    write_run(tmp_path / "solo", epochs=2)
    (tmp_path / "solo" / "checkpoint").mkdir()
    shutil.copy(tmp_path / "solo" / "metrics.json", tmp_path / "solo" / "checkpoint")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text('{"model_type": "foreign"}')
    runs, broken = find_runs(tmp_path)
    assert [run.relative for run in runs] == [*(f"a/b/ce/seed-{s}" for s in (0, 2, 10)), "solo"]
    assert broken == []


def test_a_folder_that_is_a_run_is_found(run_folder):
    assert only(run_folder).relative == "."


def test_linked_folders_are_followed_and_circles_end(tmp_path):
    write_run(tmp_path / "scratch" / "run", epochs=2)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "linked").symlink_to(tmp_path / "scratch", target_is_directory=True)
    (tmp_path / "report" / "circle").symlink_to(tmp_path / "report", target_is_directory=True)
    assert only(tmp_path / "report").relative == "linked/run"


def test_numbers_are_those_of_the_files(run_folder):
    run = only(run_folder)
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert run.test == metrics["test"]
    assert run.per_class.tolist() == metrics["test"]["per_class"]
    assert run.history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    rows = [line.split(",") for line in (run_folder / "difficulty.csv").read_text().splitlines()[1:]]
    measured = run.difficulty
    assert measured is not None
    for epoch, c, performance, difficulty, weight, *_ in rows:
        at = int(epoch) - 1, int(c)
        assert measured.performance[at] == float(performance)
        assert measured.difficulty[at] == float(difficulty)
        assert measured.weight[at] == float(weight)
    rows = [line.split(",") for line in (run_folder / "confusion.csv").read_text().splitlines()[1:]]
    matrix = np.zeros((10, 10))
    for split, true, predicted, count in rows:
        if split == "test":
            matrix[int(true), int(predicted)] = int(count)
    confusion = run.confusion([7, 2])
    assert confusion is not None
    assert (confusion == matrix[[7, 2]]).all()


def test_a_torn_last_line_is_left_out_and_named(run_folder):
    for name in ("history.csv", "difficulty.csv"):
        path = run_folder / name
        path.write_text(path.read_text()[:-4])  # the last number now looks whole but is not
    run = only(run_folder)
    assert run.history["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert run.difficulty is not None
    assert math.isnan(run.difficulty.weight[-1, -1])
    assert [p.split(" ")[0] for p in run.problems] == ["history.csv", "difficulty.csv"]


def test_rows_written_twice_count_once_and_the_later_one_holds(run_folder):
    path = run_folder / "history.csv"
    lines = path.read_text().splitlines()
    again = lines[3].split(",")
    again[3] = "0.125"
    path.write_text("\n".join([*lines, ",".join(again)]) + "\n")
    run = only(run_folder)
    assert run.history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert run.history["train_loss"][2] == 0.125


def test_cells_that_are_no_number_are_missing_values(run_folder):
    rewrite_column(run_folder / "difficulty.csv", "performance", lambda i: ("", "nan", "inf", "0.5")[i % 4])
    run = only(run_folder)
    assert run.difficulty is not None
    assert sorted(set(run.difficulty.performance[np.isfinite(run.difficulty.performance)])) == [0.5]


def test_unknown_classes_and_rows_of_a_wrong_length_are_left_out_and_named(run_folder):
    with (run_folder / "difficulty.csv").open("a") as f:
        f.write("3,99,0.5,0.5,1,0.5,0.5,0.5,1\n3,1\n")
    run = only(run_folder)
    assert run.difficulty is not None
    assert run.difficulty.weight.shape == (6, 10)
    assert len(run.problems) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"val": {}}', "\x00\xff"])
def test_a_broken_metrics_file_is_named_and_not_fatal(tmp_path, content):
    comparison_folder(tmp_path, methods=("ce",), seeds=2, epochs=2)
    (tmp_path / "ce" / "seed-1" / "metrics.json").write_bytes(content.encode("latin-1"))
    runs, broken = find_runs(tmp_path)
    assert [run.relative for run in runs] == ["ce/seed-0"]
    assert [b.path for b in broken] == ["ce/seed-1"]
    assert "metrics.json" in broken[0].reason


def test_an_unfinished_run_tells_how_far_it_came(run_folder, tmp_path):
    (run_folder / "metrics.json").unlink()
    path = run_folder / "history.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:4]) + "\n")
    (tmp_path / "started" / "seed-0").mkdir(parents=True)
    shutil.copy(run_folder / "config.json", tmp_path / "started" / "seed-0")
    _, broken = find_runs(tmp_path)
    assert [(b.path, b.reason) for b in broken] == [
        ("ce/seed-0", "not finished: 3 of 6 epochs are done"),
        ("started/seed-0", "not finished: 0 of 6 epochs are done"),
    ]
    with pytest.raises(LongtailError, match=r"no finished run in .*3 of 6 epochs"):
        write_report(tmp_path)


STRANGE = {
    "metrics.json": [
        '{"test": {"top1": 0.5, "per_class": ["a", {}]}}',
        '{"test": {"top1": {"x": 1}}}',
        '{"test": {"AP": 0.5, "mask": 3}}',
        '{"test": {"top1": 1e400, "recall": true}}',
        '{"test": {}}',
    ],
    "data.json": [
        '{"name": [], "class_names": [[1], {}, null], "class_counts": {"train": [1, 2, 3]}, "notes": 5}',
        '{"class_names": ["a"], "class_counts": {"train": [-5]}}',
    ],
    "config.json": [
        '{"longtail": "1", "config": {"method": ["ce"], "method_kwargs": 3, "seed": "x", "data_seed": []}}',
        '{"longtail": "1", "versions": {"a": {}}, "hardware": {}, "config": {"method_kwargs": {"a": 1}}}',
    ],
    "history.csv": ["epoch\n1e300\n-1\nnan\n", "epoch,train_loss,tau\n1,x,y\n"],
    "difficulty.csv": ["epoch,class,performance,difficulty,weight\n1e300,0,2,-5,1e300\n"],
    "confusion.csv": ["split,true,predicted,count\ntest,0,0,-3\ntest,1e9,0,1e300\n"],
}


@pytest.mark.parametrize(("name", "content"), [(n, text) for n, texts in STRANGE.items() for text in texts])
def test_a_folder_with_nonsense_does_not_stop_the_report_of_the_others(tmp_path, name, content):
    comparison_folder(tmp_path, methods=("ce", "cdb-w"), seeds=2, classes=3, epochs=2)
    (tmp_path / "ce" / "seed-1" / name).write_text(content)
    report = write_report(tmp_path)
    told = {path for path, _ in report.problems}
    results = report.results.read_text()
    assert "ce/seed-0" in results and "cdb-w/seed-1" in results
    assert "ce/seed-1" in told or "ce/seed-1" in results


OPTIONAL = ("config.json", "data.json", "history.csv", "difficulty.csv", "confusion.csv", "per_class.csv")


@pytest.mark.parametrize("names", [*((name,) for name in OPTIONAL), OPTIONAL, None], ids=str)
def test_every_other_file_may_be_missing_or_broken(tmp_path, names):
    folder = tmp_path / "ce" / "seed-0"
    write_run(folder, classes=2, epochs=2)
    for name in names or OPTIONAL:
        (folder / name).unlink()
        if names is not None:
            (folder / name).write_bytes(b'\x00\xfe"{[,\n\xff,1\n')
    report = write_report(folder.parent)
    assert "<h2" in report.html.read_text(encoding="utf-8")
    assert report.tables[0].rows[0][0] == "ce"


def test_missing_class_names_come_from_the_class_table(run_folder):
    (run_folder / "data.json").unlink()
    data = only(run_folder).data
    assert data.class_names[:2] == ("class-000", "class-001")
    assert data.counts["train"][0] == 500
    (run_folder / "per_class.csv").unlink()
    data = only(run_folder).data
    assert (data.class_names[0], data.counts) == ("class 0", {})


def test_nan_in_metrics_is_a_missing_number(run_folder):
    path = run_folder / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"]["few"] = math.nan
    metrics["test"]["per_class"][0] = math.inf
    path.write_text(json.dumps(metrics))
    run = only(run_folder)
    assert run.test["few"] is None
    assert math.isnan(run.per_class[0])
    assert "nan" not in write_report(run_folder).results.read_text()


@pytest.mark.parametrize("folder", ["missing", "file", "empty"])
def test_nothing_to_report_is_one_clear_line(tmp_path, folder):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LongtailError, match=r"is not a folder|no finished run") as caught:
        write_report(tmp_path / folder)
    assert_clear(caught.value)
    assert list((tmp_path / "empty").iterdir()) == []
