"""Every example runs, learns, and takes no more lines than it says."""

from __future__ import annotations

import math
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT: dict[str, dict[str, Any]] = {
    "detection/cdb_w.py": {"epochs": 1, "images": 16},
    "segmentation/cdb_w.py": {"epochs": 2},
    "tabular/cdb_w.py": {"rounds": 1},
    "text/cdb_w.py": {"epochs": 2, "seeds": 1},
    "timm/cdb_s.py": {"epochs": 2},
    "timm/cdb_w.py": {"epochs": 2},
    "transformers/cdb_s.py": {"epochs": 2},
    "transformers/cdb_w.py": {"epochs": 2},
    "video/cdb_w.py": {"epochs": 1},
}
FILES = sorted(path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py"))
TRAINERS = ("plain", "accelerate", "lightning", "transformers", "timm")


def trainers_table() -> SimpleNamespace:
    """The script that writes the table of trainers."""
    return SimpleNamespace(**runpy.run_path(str(EXAMPLES.parent / "docs" / "trainers_table.py")))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_it_runs_and_gives_numbers(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name])
    for variable in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(variable, raising=False)
    words = SHORT.get(name, {"epochs": 8})
    if name.startswith("lightning/"):
        words |= {"enable_progress_bar": False, "accelerator": "cpu", "devices": 1}
    found = runpy.run_path(str(EXAMPLES / name))["main"](**words)
    values = [v for value in found.values() for v in (value if isinstance(value, list) else [value])]
    assert values and all(v is None or math.isfinite(v) for v in values)
    if name.startswith(("plain", "accelerate", "lightning")):
        assert found["all"] > 0.3  # chance is 0.1
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


@pytest.mark.parametrize("name", [name for name in FILES if "stages" not in name])
def test_what_it_adds_to_the_loop_is_at_most_four_lines(name: str) -> None:
    lines = trainers_table().marked_lines(EXAMPLES / name)
    assert 1 <= len(lines) <= 4, lines


@pytest.mark.parametrize("trainer", TRAINERS)
def test_trainers_are_shown_beside_each_other_under_the_same_names(trainer: str) -> None:
    assert {"cdb_w.py", "cdb_s.py"} <= {path.name for path in (EXAMPLES / trainer).iterdir()}


def test_a_trainer_says_in_the_table_what_a_test_shows() -> None:
    """Each cell stands at one test at least, all of which say the same."""
    script = trainers_table()
    assert tuple(script.TRAINERS) == TRAINERS
    for trainer in TRAINERS:
        module = EXAMPLES.parent / "tests" / "integrations" / f"test_{trainer}.py"
        marks = {(column, cell) for column, cell, name in script.shown(module) if name.startswith("test_")}
        assert sorted(column for column, _ in marks) == sorted(script.COLUMNS), trainer
