"""Run folders of the last release are read, and one of a later format is refused.

``older/digits`` and ``older/boxes`` are what ``longtail train`` of that release wrote, without checkpoints; ``boxes``
without its weights, which are large.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtail import LongtailError, runfolder
from longtail.report import write_report
from longtail.report.find import find_runs
from longtail.training.apply import evaluate, export, predict
from longtail.training.config import RunConfig
from longtail.training.configfile import read_config
from longtail.training.files import read_json
from longtail.training.folder import RunFolder
from longtail.training.recipes import resolve
from longtail.training.run import train
from training.folders import DIGITS, snapshot

OLDER = Path(__file__).parent / "older"
RUNS = ("digits", "boxes")


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A copy."""
    shutil.copytree(OLDER, tmp_path / "older")
    return tmp_path / "older"


def test_the_folders_are_older_than_the_format_number() -> None:
    for name in RUNS:
        assert "format" not in read_json(OLDER / name / runfolder.CONFIG)
        assert not (OLDER / name / runfolder.SPLITS).exists()
        with open(OLDER / name / runfolder.DIFFICULTY, newline="") as file:
            assert tuple(next(csv.reader(file))) == runfolder.FIRST_COLUMNS[runfolder.DIFFICULTY]


def test_the_report_reads_their_numbers(older: Path) -> None:
    runs, broken = find_runs(older)
    assert broken == [] and [run.relative for run in runs] == ["boxes", "digits"]
    for run in runs:
        about = read_json(run.path / runfolder.METRICS)
        assert run.problems == [] and run.test == about["test"]
        assert run.history["epoch"].tolist() == [1, 2]
        assert run.difficulty is not None and run.difficulty.measured is None
        assert run.difficulty.performance.shape == (2, run.data.num_classes)
        assert run.answers is None and run.split_digests == {}
    report = write_report(older)
    assert not report.problems
    assert len(report.results.read_text().splitlines()) == 3


def test_evaluate_finds_what_the_run_found(older: Path) -> None:
    told: list[str] = []
    before = snapshot(older)
    found = evaluate(older / "digits", note=told.append)
    then = read_json(older / "digits" / runfolder.METRICS)["test"]
    assert found["per_class"] == then["per_class"] and found["top1"] == then["top1"]
    assert len(told) == 1 and "does not tell its splits" in told[0]
    assert snapshot(older) == before


def test_predict_and_export_read_them(older: Path, tmp_path: Path) -> None:
    file = tmp_path / "seven.png"
    Image.fromarray(np.full((16, 16), 100, np.uint8)).save(file)
    rows = list(predict(older / "digits", [file]))
    assert len(rows) == 1
    export(older / "digits", out=tmp_path / "digits.onnx")
    assert (tmp_path / "digits.onnx").stat().st_size > 10_000


@pytest.mark.parametrize("name", RUNS)
def test_their_configuration_is_one_of_today(older: Path, name: str) -> None:
    config = read_config(older / name)
    written = read_json(older / name / runfolder.CONFIG)["config"]
    now = config.to_dict()
    assert config.method == "cdb-w" and config.epochs == 2
    assert {key: now[key] for key in ("data", "model", "lr", "batch_size", "seed")} == {
        key: written[key] for key in ("data", "model", "lr", "batch_size", "seed")
    }
    RunFolder(older / name).check(resolve(config))  # the same configuration: nothing is another


def test_a_finished_one_is_left_as_it_is(older: Path) -> None:
    before = snapshot(older)
    assert train(read_config(older / "digits"), older / "digits") == read_json(older / "digits" / runfolder.METRICS)
    assert snapshot(older) == before


# -- the number --------------------------------------------------------------------------------------------------------
def renumber(folder: Path, number: object) -> None:
    about = json.loads((folder / runfolder.CONFIG).read_text())
    (folder / runfolder.CONFIG).write_text(json.dumps(about | {"format": number}))


@pytest.mark.parametrize("number", [runfolder.FORMAT + 1, 0, "1", True, None])
def test_another_format_is_refused_by_every_reader(older: Path, number: object) -> None:
    renumber(older / "digits", number)
    before = snapshot(older)
    words = "later version" if number == runfolder.FORMAT + 1 else "no number"
    for read in (read_config, evaluate, lambda path: train(RunConfig(data="digits"), path)):
        with pytest.raises(LongtailError, match=words) as caught:
            read(older / "digits")
        assert runfolder.CONFIG in str(caught.value)
    runs, broken = find_runs(older)
    assert [run.relative for run in runs] == ["boxes"]
    assert [b.path for b in broken] == ["digits"] and words in broken[0].reason
    assert snapshot(older) == before


def test_a_new_run_has_the_number_and_the_columns_that_are_written_down(tmp_path: Path) -> None:
    from longtail.cli import main

    assert main([*DIGITS, "--method", "cdb-w", "--epochs", "2", "--out", str(tmp_path / "run")]) == 0
    assert read_json(tmp_path / "run" / runfolder.CONFIG)["format"] == runfolder.FORMAT
    for name in (runfolder.HISTORY, runfolder.DIFFICULTY, runfolder.PER_CLASS, runfolder.CONFUSION):
        header = (tmp_path / "run" / name).read_text().splitlines()[0]
        assert header.split(",") == [*runfolder.COLUMNS[name]]
        assert header.startswith(",".join(runfolder.FIRST_COLUMNS[name]))
    known = {value for key, value in vars(runfolder).items() if key.isupper() and isinstance(value, str)}
    for file in (path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != ".lock"):
        name = file.relative_to(tmp_path / "run").as_posix()
        assert name in known | {runfolder.best_checkpoint(1), runfolder.best_checkpoint(2)}, name
