"""Labels for many files: bad ones are named at the end, patterns are expanded, tables come in three forms; --best."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtail.cli import main
from longtail.errors import LongtailError
from longtail.training.apply import evaluate, predict
from longtail.training.best import best_run, run_of
from training.folders import DIGITS, snapshot


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods, two seeds, with numbers in the order ce-0 < cdb-s-1 < the others on val, and the reverse on test."""
    folder = tmp_path_factory.mktemp("compared") / "out"
    words = ["compare", *DIGITS[1:], "--epochs", "2", "--methods", "ce", "cdb-s", "--seeds", "2", "--out", str(folder)]
    assert main(words) == 0
    for run, val in {"ce/seed-0": 0.2, "ce/seed-1": 0.6, "cdb-s/seed-0": 0.7, "cdb-s/seed-1": 0.4}.items():
        file = folder / run / "metrics.json"
        metrics = json.loads(file.read_text())
        metrics["val"]["per_class"] = [val] * 9 + [None]
        metrics["test"] |= {"top1": 1 - val, "recall": 1 - val, "per_class": [1 - val] * 10}
        file.write_text(json.dumps(metrics))
    return folder


@pytest.fixture(scope="module")
def run(comparison: Path) -> Path:
    return comparison / "ce" / "seed-1"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Pictures, and between them what is none."""
    folder, draw = tmp_path / "new", np.random.default_rng(0)
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("a.png", "b.png", "c [1].png", "deep/d.png", "deep/er/e.png"):
        Image.fromarray(draw.integers(0, 256, (9, 8), np.uint8)).save(folder / name)
    (folder / "bad.png").write_bytes(b"\x89PNG and no more")
    return folder


def labels(out: str) -> dict[str, str]:
    return {line.split("\t")[0]: line.split("\t")[1] for line in out.splitlines()}


# -- files that cannot be labelled -------------------------------------------------------------------------------------
def test_a_bad_file_does_not_keep_the_others_from_their_labels(run, files, capsys):
    """It is named at the end; the labels are those of the good files alone, in their order."""
    good = [str(files / name) for name in ("a.png", "b.png", "deep/d.png")]
    assert main(["predict", str(run), *good]) == 0
    alone = capsys.readouterr().out
    (files / "empty").mkdir()
    named = [good[0], str(files / "bad.png"), good[1], str(files / "none.png"), str(files / "empty"), good[2]]
    assert main(["predict", str(run), *named]) == 1
    told = capsys.readouterr()
    assert told.out == alone
    lines = told.err.splitlines()
    assert all(line.startswith("left out: ") for line in lines)
    for name in ("bad.png", "none.png", "empty"):
        assert sum(str(files / name) in line for line in lines) == 1
    assert len(lines) == 3


def test_many_bad_files_among_several_batches(run, tmp_path):
    """Each good file once, each bad one once, whatever batch they fall into."""
    good, bad = [], []
    for i in range(150):
        path = tmp_path / f"{i:03}.png"
        if i % 7 == 3 or 64 <= i < 128:
            path.write_bytes(b"no picture")
            bad.append(str(path))
        else:
            Image.new("L", (8, 8), i).save(path)
            good.append(str(path))
    problems: list[str] = []
    assert [file for file, _ in predict(run, [tmp_path], problems=problems)] == good
    assert [next(name for name in bad if name in problem) for problem in problems] == bad


def test_nothing_but_bad_files_is_an_error(run, files, tmp_path, capsys):
    out = tmp_path / "labels.csv"
    assert main(["predict", str(run), str(files / "bad.png"), str(files / "none.png"), "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 1 and told.err.startswith("error: ")
    assert "and 1 more" in told.err and not out.exists()


def test_in_python_the_first_bad_file_is_an_error(run, files):
    with pytest.raises(LongtailError, match=r"bad\.png cannot be read"):
        list(predict(run, [files / "a.png", files / "bad.png"]))


# -- patterns ----------------------------------------------------------------------------------------------------------
def test_patterns_that_no_shell_expanded(run, files, capsys):
    for pattern, expected in {
        "[ab].png": ["a.png", "b.png"],
        "?.png": ["a.png", "b.png"],
        "c [1].png": ["c [1].png"],  # a file of that name comes first
        "**/[de].png": ["deep/d.png", "deep/er/e.png"],
        "dee*": ["deep/d.png", "deep/er/e.png"],
    }.items():
        assert main(["predict", str(run), str(files / pattern)]) == 0
        assert list(labels(capsys.readouterr().out)) == [str(files / name) for name in expected]
    assert main(["predict", str(run), str(files / "*.jpg")]) == 2
    assert "*.jpg matches no file" in capsys.readouterr().err


# -- where the labels go -----------------------------------------------------------------------------------------------
def test_the_three_forms_of_a_table_hold_the_same(run, files, tmp_path, capsys):
    words = ["predict", str(run), str(files / "a.png"), str(files / "c [1].png"), "--top", "2"]
    for form in ("csv", "json", "jsonl"):
        assert main([*words, "--out", str(tmp_path / f"x.{form}")]) == 0
    capsys.readouterr()
    rows = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert [json.loads(line) for line in (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()] == rows
    with open(tmp_path / "x.csv", newline="", encoding="utf-8") as f:
        assert list(csv.DictReader(f)) == [{k: str(v) for k, v in row.items()} for row in rows]
    assert [(row["file"], row["rank"]) for row in rows] == [
        (str(files / name), rank) for name in ("a.png", "c [1].png") for rank in (1, 2)
    ]
    assert main(words) == 0
    plain = capsys.readouterr().out
    assert labels(plain) == {row["file"]: row["label"] for row in rows if row["rank"] == 1}
    assert main([*words, "--out", "-"]) == 0
    assert capsys.readouterr().out == plain


def test_a_file_named_twice_has_two_lines(run, files, capsys):
    assert main(["predict", str(run), str(files / "a.png"), str(files / "a.png"), "--top", "3"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second and first.count("\t") == 6


@pytest.mark.parametrize(
    ("out", "part"),
    [
        ("x.txt", "must be one of .json, .jsonl, .csv"),
        ("x", "must be one of"),
        ("none/x.csv", "does not exist"),
        ("new.csv", "is a folder"),
    ],
)
def test_a_table_that_cannot_be_written_is_refused_before_any_work(run, files, out, part, tmp_path, capsys):
    (tmp_path / "new.csv").mkdir()
    before = snapshot(tmp_path)
    assert main(["predict", str(run), str(files / "a.png"), "--out", str(tmp_path / out)]) == 2
    assert part in capsys.readouterr().err
    assert snapshot(tmp_path) == before


def test_metrics_on_standard_output_are_json(run, tmp_path, capsys):
    assert main(["evaluate", str(run), "--out", "-"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(run), "--out", str(tmp_path / "x.json")]) == 0
    assert json.loads((tmp_path / "x.json").read_text()) == printed


# -- the best run of a comparison --------------------------------------------------------------------------------------
def test_the_best_run_is_chosen_on_validation_data(comparison, files, tmp_path, capsys):
    """The test numbers, which say the opposite, are not looked at."""
    best = comparison / "cdb-s" / "seed-0"
    assert best_run(comparison) == run_of(comparison, best=True) == run_of(best) == run_of(best, best=True) == best
    outcomes = []
    for words in ([str(comparison), "--best"], [str(best)]):
        assert main(["predict", words[0], str(files / "a.png"), *words[1:]]) == 0
        assert main(["evaluate", *words, "--out", str(tmp_path / "m.json")]) == 0
        assert main(["export", *words, "--format", "pt2", "--out", str(tmp_path / "m.pt2")]) == 0
        told = capsys.readouterr()
        assert ("the best run on validation data is" in told.out + told.err) == (len(words) == 2)
        (line,) = (line for line in told.out.splitlines() if line.startswith(str(files)))
        outcomes.append((line, (tmp_path / "m.json").read_text()))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("command", ["evaluate", "export", "predict"])
def test_a_comparison_without_best_is_told_which_run_is_best(comparison, command, capsys):
    words = ["x.png"] if command == "predict" else []
    assert main([command, str(comparison), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "it holds 4 of them" in line and f"--best, which takes {comparison / 'cdb-s' / 'seed-0'}" in line


def test_a_run_without_a_split_to_select_on_is_not_chosen(comparison, tmp_path):
    for name in ("ce", "cdb-s"):
        shutil.copytree(comparison / name, tmp_path / "out" / name)
    file = tmp_path / "out" / "ce" / "seed-0" / "metrics.json"
    metrics = json.loads(file.read_text())
    del metrics["val"]
    file.write_text(json.dumps(metrics))
    with pytest.raises(LongtailError, match="no split to select on"):
        best_run(tmp_path / "out")
    file.unlink()
    assert best_run(tmp_path / "out") == tmp_path / "out" / "cdb-s" / "seed-0"  # an unfinished one is passed over
    config = tmp_path / "out" / "ce" / "seed-1" / "config.json"
    config.write_text(config.read_text().replace('"digits"', '"mnist"'))
    with pytest.raises(LongtailError, match="cannot be compared"):
        best_run(tmp_path / "out")


def test_a_selection_split_of_its_own_decides(tmp_path):
    """Not val, on which the difficulty is measured."""
    words = ["compare", *DIGITS[1:], "--epochs", "1", "--methods", "ce", "cdb-s", "--seeds", "1"]
    assert main([*words, "--select-fraction", "0.2", "--out", str(tmp_path)]) == 0
    scores = {}
    for name, val in {"ce": 0.9, "cdb-s": 0.1}.items():
        run = tmp_path / name / "seed-0"
        assert main(["evaluate", str(run), "--split", "select", "--out", str(tmp_path / "s.json")]) == 0
        known = json.loads((tmp_path / "s.json").read_text())["select"]["per_class"]
        scores[run] = np.mean([value for value in known if value is not None])
        metrics = json.loads((run / "metrics.json").read_text())
        metrics["val"]["per_class"] = [val] * 10
        (run / "metrics.json").write_text(json.dumps(metrics))
    judge = functools.partial(evaluate, split="select")
    assert scores[best_run(tmp_path, judge=judge)] == max(scores.values())
    with pytest.raises(LongtailError, match="is not judged on its selection split"):
        best_run(tmp_path)
