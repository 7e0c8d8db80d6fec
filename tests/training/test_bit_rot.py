"""Files that are not what they were are noticed before any work: refused with one line, or without any effect."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import run
from longtail.cli import main
from longtail.errors import LongtailError
from longtail.training.apply import evaluate, load_run
from longtail.training.files import load_state
from training.folders import DIGITS, FIRST_CHECKPOINT, assert_same_run, history, snapshot

TWO = [*DIGITS, "--method", "cdb-w", "--epochs", "2"]
FILES = (
    "checkpoint/last.pt", "checkpoint/best-1.safetensors", "history.csv", "difficulty.csv", "data.json",
    "splits.csv.gz",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*TWO, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, killed after its first checkpoint."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    assert run([*TWO, "--out", folder], die_at=FIRST_CHECKPOINT).wait() == -9
    return folder


@pytest.fixture
def half(begun: Path, tmp_path: Path) -> Path:
    shutil.copytree(begun, tmp_path / "run")
    return tmp_path / "run"


def flip(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def refused(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused_or_changes_nothing(begun, whole, tmp_path, capsys, name) -> None:
    draw = random.Random(name)
    size = (begun / name).stat().st_size
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        shutil.copytree(begun, folder)
        flip(folder / name, draw.randrange(size), draw.randrange(8))
        before = snapshot(folder)
        code = main([*TWO, "--out", str(folder)])
        errors = capsys.readouterr().err.splitlines()
        if code == 0:
            assert_same_run(folder, whole)
        else:
            assert code == 2 and len(errors) == 1 and str(folder) in errors[0]
            assert snapshot(folder) == before, "something was written"


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a.nan_to_num(7), b.nan_to_num(7))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_no_flipped_bit_of_a_checkpoint_gives_another_state(half) -> None:
    path = half / "checkpoint" / "last.pt"
    state, content, draw = load_state(path), path.read_bytes(), random.Random(0)
    refusals = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            assert same(load_state(path), state)
        except LongtailError:
            refusals += 1
    assert refusals > 200


@pytest.mark.parametrize("name", ["history.csv", "difficulty.csv", "checkpoint/best-1.safetensors"])
@pytest.mark.parametrize("harm", ["cut", "delete"])
def test_what_is_cut_or_deleted_is_named_before_any_work(half, capsys, name, harm) -> None:
    path = half / name
    path.write_bytes(path.read_bytes()[:-9]) if harm == "cut" else path.unlink()
    rows = history(half) if name != "history.csv" else None
    line = refused(capsys, [*TWO, "--out", str(half)])
    assert Path(name).name in line
    assert not (half / "metrics.json").exists() and (rows is None or history(half) == rows)


def test_a_record_of_the_splits_that_is_gone_is_made_again_where_the_data_are_the_same(half, whole) -> None:
    (half / "splits.csv.gz").unlink()
    assert main([*TWO, "--out", str(half)]) == 0
    assert_same_run(half, whole)


def strip(folder: Path) -> None:
    """As an earlier version wrote its checkpoint."""
    path = folder / "checkpoint" / "last.pt"
    state = load_state(path)
    del state["files"], state["tables"]
    torch.save(state, path)


def test_a_checkpoint_of_an_earlier_version_goes_on(half, whole) -> None:
    strip(half)
    with open(half / "difficulty.csv", "a") as file:  # of the epoch that was not finished
        file.write("2,0,0.5,0.5,1\n2,1,0.2")
    assert main([*TWO, "--out", str(half)]) == 0
    assert_same_run(half, whole)


def test_columns_that_an_earlier_version_did_not_write_are_added(half, whole) -> None:
    strip(half)
    lines = (half / "history.csv").read_text().splitlines()
    (half / "history.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    assert main([*TWO, "--out", str(half)]) == 0
    first, second = history(half)
    assert first.keys() == second.keys() == history(whole)[0].keys()
    assert second == history(whole)[1]


@pytest.mark.parametrize("name", ["history.csv", "difficulty.csv", "checkpoint/best-1.safetensors"])
def test_a_hole_is_noticed_in_folders_of_an_earlier_version_too(half, capsys, name) -> None:
    strip(half)
    (half / name).unlink()
    assert Path(name).name in refused(capsys, [*TWO, "--out", str(half)])


def test_weights_and_description_of_a_finished_run_are_checked(whole, tmp_path, capsys) -> None:
    metrics = evaluate(whole, device="cpu")
    for name in ("model_best.safetensors", "data.json"):
        folder = tmp_path / name
        shutil.copytree(whole, folder)
        content = (folder / name).read_bytes()
        place = len(content) - 40 if name.startswith("model") else content.index(b"digits") + 1
        (folder / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        line = refused(capsys, ["evaluate", str(folder), "--device", "cpu"])
        assert f"{name} is not what it was when the run ended" in line
        (folder / "digests.json").unlink()  # an earlier version
        load_run(folder)
    assert evaluate(whole, device="cpu") == metrics
