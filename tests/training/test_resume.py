"""A run that was killed, at whatever moment, is continued by the same command and ends as one that was not."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from commands import count_calls, run
from training.folders import DIGITS, FIRST_CHECKPOINT, assert_same_run, history, snapshot

METHOD = "--method cdb-s --method-kwargs tau=1.5 momentum=0.5".split()


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """A command of two epochs, and the folder that it fills when nobody disturbs it."""
    return reference([*DIGITS, *METHOD, "--epochs", "2"], tmp_path_factory)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Likewise, of five epochs."""
    words = [*DIGITS, "--method", "cdb-w", "--method-kwargs", "momentum=0.5", "--epochs", "5", "--momentum", "0.9"]
    return reference(words, tmp_path_factory)


def reference(words: list[str], factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    folder = factory.mktemp("reference") / "run"
    assert run([*words, "--out", folder]).errors == []
    return words, folder


def test_killed_at_random_moments(longer, tmp_path):
    """Wherever in the code it is: moments are counted in calls of functions, not in seconds."""
    words, whole = longer
    calls = count_calls([*words, "--out", tmp_path / "counted"])
    draw = random.Random(0)
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        assert run([*words, "--out", folder], die_at_call=draw.randrange(1, calls)).wait() == -9
        assert run([*words, "--out", folder]).wait() == 0
        assert_same_run(folder, whole)


def test_killed_before_every_file_that_is_put_in_place(short, tmp_path):
    """Before config.json, between checkpoint and best weights, between the files of the end, ..."""
    words, whole = short
    for moment in range(1, 30):
        folder = tmp_path / str(moment)
        if run([*words, "--out", folder], die_at=moment).wait() == 0:
            break
        assert not (folder / "metrics.json").exists()
        again = run([*words, "--out", folder])
        assert again.wait() == 0, again.errors
        assert_same_run(folder, whole)
    assert moment > 10


def test_killed_over_and_over(longer, tmp_path):
    """A run that never lives for long ends like one in a single go."""
    words, whole = longer
    deaths = 0
    while run([*words, "--out", tmp_path / "run"], die_at=-8).wait() != 0:
        deaths += 1
        assert deaths < 20
    assert deaths >= 2
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("moment", [1, 3, 4, 6, 8])
def test_killed_while_a_file_is_written(short, tmp_path, moment):
    """The half of a file that is there is neither taken for the whole nor in the way."""
    words, whole = short
    assert run([*words, "--out", tmp_path / "run"], die_at=moment, torn=True).wait() == -9
    assert len(list((tmp_path / "run").rglob(".*.tmp"))) == 1
    assert run([*words, "--out", tmp_path / "run"]).wait() == 0
    assert_same_run(tmp_path / "run", whole)


def test_the_real_command(short, tmp_path):
    """Outside the process that the other tests fork theirs from: killed after its first checkpoint, and continued."""
    words, whole = short
    begin = "import sys, runpy; sys.path.insert(0, {!r}); from commands import die_at_replacement; "
    begin = begin.format(str(Path(__file__).parents[1])) + f"die_at_replacement({FIRST_CHECKPOINT}); "
    killed = [sys.executable, "-c", begin + "runpy.run_module('longtail', run_name='__main__', alter_sys=True)"]
    words, environment = [*words, "--out", str(tmp_path / "run")], os.environ | {"OMP_NUM_THREADS": "1"}
    assert subprocess.run([*killed, *words], env=environment, stdout=subprocess.DEVNULL, check=False).returncode == -9
    assert (tmp_path / "run" / "checkpoint" / "last.pt").exists()
    command = [sys.executable, "-m", "longtail", *words]
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "continuing after epoch 1 of 2" in again.stdout
    assert_same_run(tmp_path / "run", whole)


@pytest.fixture
def half(short, tmp_path) -> tuple[list[str], Path, Path]:
    """A run that died just after the checkpoint of its first epoch; and the folder it must come to equal."""
    words, whole = short
    words = [*words, "--out", str(tmp_path / "run")]
    assert run(words, die_at=FIRST_CHECKPOINT).wait() == -9
    assert len(history(tmp_path / "run")) == 1
    assert (tmp_path / "run" / "checkpoint" / "last.pt").is_file()
    return words, tmp_path / "run", whole


def test_torn_rows_and_files_that_a_kill_leaves_are_mended(half):
    words, folder, whole = half
    for name, rest in {"history.csv": "train,2,0.01,1.", "difficulty.csv": "2,0,0.5,0.5,1\n2,1,0.2"}.items():
        with open(folder / name, "a") as f:
            f.write(rest)
    for name in (".history.csv.tmp", ".metrics.json.tmp", ".model.safetensors.tmp", "checkpoint/.last.pt.tmp"):
        (folder / name).write_bytes(b"torn")
    again = run(words)
    assert again.wait() == 0, again.errors
    assert "continuing after epoch 1 of 2" in again.output
    assert_same_run(folder, whole)


def test_garbage_after_a_power_cut_is_left_out(half):
    words, folder, whole = half
    with open(folder / "history.csv", "ab") as f:
        f.write(b"\0" * 100 + b"\n" + b"\xff\xfe,,,,,,,,,,,,,,,\n" + b"train,2,1,1,1,1,1,1,1,1\n")
    assert run(words).wait() == 0
    assert_same_run(folder, whole)


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "malicious", "foreign", "other model"])
def test_a_damaged_checkpoint_is_one_clear_line(half, damage, tmp_path):
    words, folder, whole = half
    path = folder / "checkpoint" / "last.pt"
    match damage:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-1000])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("a checkpoint, honestly")
        case "malicious":
            path.write_bytes(pickle.dumps(Malicious(tmp_path / "marker")))
        case "foreign":
            torch.save({"state_dict": {}}, path)
        case "other model":
            state = torch.load(path, weights_only=True)
            state["model"]["fc.weight"] = torch.zeros(3, 84)
            torch.save(state, path)
    before = snapshot(folder)
    refused = run(words)
    assert refused.wait() == 2
    (line,) = refused.errors
    assert line.startswith("error: ") and str(folder) in line
    assert not (tmp_path / "marker").exists()
    assert snapshot(folder).keys() == before.keys()
    path.unlink()
    assert run(words).wait() == 0
    assert_same_run(folder, whole)


@pytest.mark.parametrize("damage", [b"", b"no weights", None])
def test_best_weights_that_are_damaged_are_one_clear_line(short, tmp_path, damage):
    words, _ = short
    words = [*words, "--lr", "1e-12", "--out", str(tmp_path / "run")]  # nothing is learnt: epoch 1 stays the best
    assert run(words, die_at=FIRST_CHECKPOINT).wait() == -9
    (best,) = (tmp_path / "run" / "checkpoint").glob("best-*")
    best.unlink() if damage is None else best.write_bytes(damage)
    refused = run(words)
    assert refused.wait() == 2
    (line,) = refused.errors
    assert line.startswith("error: ") and "best-1.safetensors" in line
