"""The examples run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("method", ["ce", "cdb-w", "cdb-s"])
def test_own_loop(method):
    spec = importlib.util.spec_from_file_location("own_loop", EXAMPLES / "own_loop.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    result = example.run(method, epochs=8)
    assert list(result) == ["all", "many", "medium", "few"]
    assert result["all"] > 0.3  # chance is 0.1
