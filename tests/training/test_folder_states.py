"""What a command does in a folder that is there already: finished, unfinished, of another run, foreign, in use."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from commands import Command
from longtail.cli import main
from training.folders import DIGITS, FIRST_CHECKPOINT, assert_same_run, history, snapshot

ONE = [*DIGITS, "--method", "cdb-w", "--epochs", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main([*ONE, "--out", str(folder)]) == 0
    return folder


def refused(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    """Run a command that is refused; its one line."""
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_finished_run_is_left_as_it_is(finished, capsys):
    before = snapshot(finished)
    assert main([*ONE, "--out", str(finished)]) == 0
    assert "is finished already" in capsys.readouterr().out
    assert main([*ONE, "--out", str(finished), "--no-resume"]) == 0
    assert main([*ONE, "--out", str(finished), "--workers", "1", "--trackers", "tensorboard"]) == 0  # change no result
    assert main(["train", "--config", str(finished / "config.json"), "--out", str(finished)]) == 0
    assert snapshot(finished) == before


@pytest.mark.parametrize(
    "change",
    [
        "--epochs 2",
        "--method ce",
        "--seed 1",
        "--lr 0.01",
        "--imbalance 10",
        "--method-kwargs tau=1",
        "--precision bf16",
    ],
)
def test_another_configuration_is_refused(finished, capsys, change):
    before = snapshot(finished)
    line = refused(capsys, [*ONE, *change.split(), "--out", str(finished)])
    key = change.split()[0][2:].replace("-", "_")
    assert f"another configuration ({key}: " in line and str(finished) in line
    assert snapshot(finished) == before


def test_a_changed_default_is_another_configuration(finished, tmp_path, capsys):
    """The folder tells by the values, not by the words of the command, which are the same."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["hyperparameters"]["tau"] = 0.5  # as if that had been the default
    path.write_text(json.dumps(content))
    line = refused(capsys, [*ONE, "--out", str(folder)])
    assert "another configuration (method_kwargs: {'tau': 0.5} there, {'tau': 2.0} here)" in line
    assert main([*ONE, "--method-kwargs", "tau=0.5", "--out", str(folder)]) == 0
    del content["hyperparameters"]  # a folder from before they were written
    path.write_text(json.dumps(content))
    assert main([*ONE, "--method-kwargs", "tau=2", "--out", str(folder)]) == 0
    content["hyperparameters"] = {"another": 1}
    path.write_text(json.dumps(content))
    assert "unknown hyperparameter 'another'" in refused(capsys, [*ONE, "--out", str(folder)])


def test_an_unfinished_run_is_continued_unless_told_otherwise(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    killed = Command([*ONE, "--out", folder], die_at=FIRST_CHECKPOINT)
    assert killed.wait() == -9
    before = snapshot(folder)
    line = refused(capsys, [*ONE, "--out", str(folder), "--no-resume"])
    assert "unfinished" in line and "--resume" in line
    assert snapshot(folder) == before
    assert main([*ONE, "--out", str(folder)]) == 0
    assert_same_run(folder, finished)


def test_foreign_folders_and_files_are_refused(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    before = snapshot(tmp_path)
    assert "thesis.tex" in refused(capsys, [*ONE, "--out", str(tmp_path)])
    assert "is a file" in refused(capsys, [*ONE, "--out", str(tmp_path / "thesis.tex")])
    assert "thesis.tex" in refused(capsys, [*ONE, "--out", str(tmp_path / "thesis.tex" / "run")])
    assert snapshot(tmp_path) == before


def test_an_empty_folder_is_taken(finished, tmp_path):
    (tmp_path / ".DS_Store").write_bytes(b"")
    assert main([*ONE, "--out", str(tmp_path)]) == 0
    assert_same_run(tmp_path, finished)


def test_a_folder_in_use_is_refused(tmp_path, capsys):
    words = [*DIGITS, "--epochs", "1000000", "--out", str(tmp_path / "run")]
    running = Command(words)  # it trains until it is killed: no loop here depends on the time that something takes
    while not (tmp_path / "run" / "history.csv").exists():
        assert running.running, running.errors
        time.sleep(0.01)
    line = refused(capsys, words)
    assert "another process is training" in line
    assert running.running
    running.kill()
    rows = len(history(tmp_path / "run"))
    continued = Command(words)  # the lock went with its process
    while len(history(tmp_path / "run")) <= rows + 1:
        assert continued.running, continued.errors
        time.sleep(0.01)
    continued.kill()


def test_the_configuration_file_repeats_a_run(finished, tmp_path):
    config = str(finished / "config.json")
    assert main(["train", "--config", config, "--out", str(tmp_path / "again")]) == 0
    assert_same_run(tmp_path / "again", finished)
    assert main(["train", f"--config={finished}", "--out", str(tmp_path / "other"), "--seed", "1"]) == 0
    theirs, ours = (json.loads((f / "config.json").read_text())["config"] for f in (finished, tmp_path / "other"))
    assert ours == theirs | {"seed": 1}
    assert history(tmp_path / "other") != history(finished)


def test_plain_fields_are_a_configuration_too(finished, tmp_path):
    content = json.loads((finished / "config.json").read_text())["config"]
    (tmp_path / "mine.json").write_text(json.dumps(content))
    assert main(["train", "--config", str(tmp_path / "mine.json"), "--out", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", finished)


def test_a_comparison_takes_its_options_from_a_run(finished, tmp_path, capsys):
    config = str(finished / "config.json")
    words = ["compare", "--config", config, "--seeds", "1", "--out", str(tmp_path), "--methods", "cdb-w"]
    assert main(words) == 0
    assert_same_run(tmp_path / "cdb-w" / "seed-0", finished)
    first = snapshot(tmp_path / "cdb-w")
    capsys.readouterr()
    assert main([*words, "ce"]) == 0  # trains what is missing
    assert "1 finished already, 1 to train" in capsys.readouterr().out
    assert snapshot(tmp_path / "cdb-w") == first
    assert (tmp_path / "ce" / "seed-0" / "metrics.json").is_file()
