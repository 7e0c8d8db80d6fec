"""What a run folder holds: its format's number, the names of its files and of their columns. Free of torch.

Training writes by these names; the report, ``evaluate``, ``predict``, ``export`` and the recipes read by them. Files
and columns are added and never renamed, so that a reader finds in an older folder what it knew, and takes a column that
is not there as unknown. What everything means stands in ``docs/data.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longtail.errors import LongtailError

__all__ = ["FORMAT", "check_format"]

FORMAT = 1
"""Stands in ``config.json``. It grows when a reader of the number before would misread a folder, so not where a file or
a column is added. Folders without a number are older than the number, and read as 1."""

# -- files -------------------------------------------------------------------------------------------------------------
CONFIG = "config.json"
DATA = "data.json"
SPLITS = "splits.csv.gz"
UNUSED = "unused"
"""In place of a split's name in `SPLITS`: a file that was there and that the long tail asked for left out."""
HISTORY = "history.csv"
DIFFICULTY = "difficulty.csv"
HARD = "hard.csv"
PER_CLASS = "per_class.csv"
CONFUSION = "confusion.csv"
EXAMPLES = "examples.png"
NEAR_COPIES = "near_copies.png"
"""The largest groups of near copies in the data, where there are any: shared by many runs."""
LAST_WEIGHTS = "model.safetensors"
BEST_WEIGHTS = "model_best.safetensors"
FROZEN_WEIGHTS = "frozen.safetensors"
"""What of the model is not trained and no other file holds, where a classifier alone is: shared by many runs."""
PREDICTIONS = "test_predictions.safetensors"
DIGESTS = "digests.json"
METRICS = "metrics.json"
"""Written last: a folder that has it is of a finished run."""
CHECKPOINT = "checkpoint"
LAST_CHECKPOINT = f"{CHECKPOINT}/last.pt"

FEATURES = "features"
"""Beside run folders: what a frozen network gave, for all of them."""
WEIGHTS = {"best": BEST_WEIGHTS, "last": LAST_WEIGHTS}

# -- columns -----------------------------------------------------------------------------------------------------------
FIRST_COLUMNS: Mapping[str, tuple[str, ...]] = {
    HISTORY: ("stage", "epoch", "lr", "train_loss", "val_accuracy", "bias", "tau", "seconds"),
    DIFFICULTY: ("epoch", "class", "performance", "difficulty", "weight"),
    HARD: ("epoch", "class", "seen", "hard"),
    PER_CLASS: ("split", "class", "name", "train_count", "count", "accuracy", "precision", "recall", "f1"),
    CONFUSION: ("split", "true", "predicted", "count"),
    SPLITS: ("split", "file", "label", "size", "modified", "digest"),
    PREDICTIONS: ("sample", "target", "predicted"),
}
"""Of each table, what every folder has; of `PREDICTIONS` the names of its arrays, each ``[N]``."""
_ADDED = {
    HISTORY: ("val_balanced_accuracy", "data_seconds", "acting_tau", "since_best"),
    DIFFICULTY: ("measured", "smoothed", "used_difficulty", "acting_weight"),
}
COLUMNS: Mapping[str, tuple[str, ...]] = {
    table: columns + _ADDED.get(table, ()) for table, columns in FIRST_COLUMNS.items()
}
"""Of each table, what this version writes: columns that were added later stand last."""
GROWING = (HISTORY, DIFFICULTY, HARD)
"""The tables to which every epoch adds rows."""


def best_checkpoint(epoch: int) -> str:
    """The weights of the best epoch so far."""
    return f"{CHECKPOINT}/best-{epoch}.safetensors"


def check_format(about: Mapping[str, Any], path: Path) -> None:
    """Refuse what a later version wrote in another format.

    Args:
        about: What ``config.json`` holds.
        path: That file, for the message.

    Raises:
        LongtailError: its format is no number, or one that this version does not know.
    """
    if not isinstance(about, Mapping):
        raise LongtailError(f"{path} holds no run configuration: restore the file")
    number = about.get("format", FORMAT)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise LongtailError(f"{path}: its format is no number of a run folder: restore the file")
    if number > FORMAT:
        raise LongtailError(
            f"{path} is of a later version (its format is {number}, this version reads {FORMAT}): update longtail"
        )
