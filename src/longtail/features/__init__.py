"""Features of a frozen network: how they are fitted, folded and judged."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtail.features.copies import near_groups
    from longtail.features.fit import fit_linear, folds_of, out_of_fold

__all__ = ["fit_linear", "folds_of", "near_groups", "out_of_fold"]

_HOME = {
    "copies": ("near_groups",),
    "fit": ("fit_linear", "folds_of", "out_of_fold"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():  # loaded when asked for
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
