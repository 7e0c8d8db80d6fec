"""The files that a user gave: themselves, folders of them, patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from longtail.data.filelists import clips_below, images_below
from longtail.data.video import image_names
from longtail.data.walk import Passed
from longtail.errors import LongtailError

__all__ = ["image_files"]


def image_files(
    paths: Sequence[str | Path],
    *,
    clips: bool = False,
    notes: list[str] | None = None,
    problems: list[str] | None = None,
) -> list[str]:
    """The files named, and all images or clips below the folders named, sorted within each folder.

    Args:
        paths: Files, folders, and patterns as of a shell (``photos/*.jpg``, ``**`` for any folders) where no file of
            that name exists.
        clips: Whether clips are wanted.
        notes: Takes lines about what was passed over.
        problems: Takes a line for each of ``paths`` that gives no file; None: the first such is an error.

    Raises:
        LongtailError: none of ``paths`` gives a file; or, without ``problems``, one of them.
    """
    found, passed, missing = list[str](), Passed(), list[str]()
    item = "clip" if clips else "image file"
    for path in (one for given in paths for one in _expanded(given)):
        if clips and image_names(path):
            found.append(str(path))
        elif path.is_dir():
            inside = clips_below(path, passed) if clips else sorted(images_below(path, passed))
            if not inside:
                there = "; ".join(passed.notes(item))
                missing.append(f"{path} holds no {item}" + (f": {there}" if there else ""))
            found += inside
        elif path.is_file():
            found.append(str(path))
        elif glob.has_magic(str(path)):
            missing.append(f"{path} matches no file: give {item}s or folders of them")
        else:
            missing.append(f"{path} does not exist: give {item}s or folders of them")
    if missing and (problems is None or not found):
        raise LongtailError(missing[0] + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""))
    if not found:
        raise LongtailError(f"no {item} is given: longtail predict RUN FILE...")
    if problems is not None:
        problems += missing
    if notes is not None:
        notes += passed.notes(item)
    return found


def _expanded(path: str | Path) -> list[Path]:
    """What a pattern matches, where the shell did not look; the path itself if it is none or matches nothing."""
    if not glob.has_magic(str(path)) or os.path.lexists(path):
        return [Path(path)]
    return [Path(one) for one in sorted(glob.glob(str(path), recursive=True))] or [Path(path)]
