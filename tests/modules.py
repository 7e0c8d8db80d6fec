"""Modules that are files, wherever they lie."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

__all__ = ["module_at"]


@functools.cache
def module_at(path: str | Path) -> Any:
    """The module in a file, imported once, whatever others call it."""
    name = f"{Path(path).stem}_{len(sys.modules)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
