"""What several commands have in common: kinds of options, and what follows from them."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from tyro.conf import arg

from longtail.config import RunConfig
from longtail.data.catalogue import known

__all__ = ["DATA", "Aim", "Device", "file_name", "plain"]

DATA = arg(metavar="DATA", help=f"Data set as NAME[:PATH]: {', '.join(known())}.")

Device = Literal["auto", "cpu", "cuda"]
Aim = Literal["mean", "floor"]


def plain(options: RunConfig) -> RunConfig:
    """The configuration alone, without what a command adds to it."""
    return RunConfig(**{f.name: getattr(options, f.name) for f in dataclasses.fields(RunConfig)})


def file_name(text: str) -> str:
    """A text as the name of a file."""
    return re.sub(r"[^\w.=+-]+", "_", text).strip("_")
