"""What the tests of boxes share."""

from __future__ import annotations

import importlib
import logging
import sys
import types
from typing import Any

import pytest


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The published evaluator, lvis 0.5.3: made for an older numpy, and for drawing with OpenCV."""
    numpy = pytest.importorskip("numpy")
    from faster_coco_eval.core import mask

    monkeypatch.setattr(numpy, "float", float, raising=False)
    package = types.ModuleType("pycocotools")
    package.mask = mask  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycocotools", package)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", mask)
    monkeypatch.setitem(sys.modules, "cv2", types.ModuleType("cv2"))
    monkeypatch.setitem(sys.modules, "lvis.vis", types.SimpleNamespace(LVISVis=None))
    monkeypatch.setattr(logging.Logger, "warn", logging.Logger.warning, raising=False)
    try:
        return importlib.import_module("lvis")
    except ImportError:
        pytest.skip("the reference evaluator is missing: pip install lvis")
