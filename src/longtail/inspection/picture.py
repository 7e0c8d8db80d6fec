"""Writes the pictures of ``longtail inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from longtail.atomic import atomic
from longtail.errors import LongtailError

__all__ = ["save_picture"]


def save_picture(figure: Any, path: Path, *, dpi: int = 110) -> None:
    """Write a matplotlib figure as PNG.

    Raises:
        LongtailError: the file cannot be written.
    """
    try:
        atomic(path, lambda p: figure.savefig(p, dpi=dpi, format="png"))
    except OSError as error:
        raise LongtailError(f"{path} cannot be written ({error.strerror}): choose another --out") from None
