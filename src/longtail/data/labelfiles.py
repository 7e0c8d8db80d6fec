"""What the readers of label tools' files share: the photograph of a label file, and numbers that are numbers."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from longtail.data.photos import is_image
from longtail.data.walk import Passed, walk
from longtail.errors import LongtailError
from longtail.names import nfc

__all__ = ["Folders", "categories_of", "number", "shown"]


class Folders:
    """The files of one ending and the photographs below a folder, each looked at once.

    Args:
        root: The folder.
        ending: Of the label files, in lower case, e.g. ``.xml``.

    Raises:
        LongtailError: it is no folder, or cannot be read.
    """

    def __init__(self, root: Path, ending: str) -> None:
        self.root, self.passed = root, Passed()
        self.labels: list[str] = []
        self.photographs: dict[str, dict[str, list[str]]] = {}
        """Of each folder: stems in normal form C, and the files that have them."""
        if not root.is_dir():
            raise LongtailError(f"{root} is no folder")
        try:
            for parent, files in walk(root, self.passed):
                self.labels += [os.path.join(parent, name) for name in files if name.lower().endswith(ending)]
                stems = self.photographs.setdefault(parent, {})
                for name in filter(is_image, files):
                    stems.setdefault(nfc(os.path.splitext(name)[0]), []).append(os.path.join(parent, name))
        except OSError as error:
            raise LongtailError(f"{error.filename or root} cannot be read: {error.strerror}") from None

    def photograph(self, label: str, folders: Iterable[str], told: str) -> str | None:
        """The photograph of a label file: of its name, in the first of ``folders`` that has one.

        Args:
            label: The label file.
            folders: Where to look.
            told: What the label file says that it is called: decides between ``a.jpg`` and ``a.png``.

        Raises:
            LongtailError: there are several.
        """
        stem, last = nfc(os.path.splitext(os.path.basename(label))[0]), nfc(told.replace("\\", "/").rpartition("/")[2])
        for folder in folders:
            found = self.photographs.get(folder, {}).get(stem, [])
            if len(found) > 1:
                found = [file for file in found if nfc(os.path.basename(file)) == last] or found
            if len(found) > 1:
                raise LongtailError(
                    f"{label} may be of {found[0]} and of {os.path.basename(found[1])}: give them names of their own"
                )
            if found:
                return found[0]
        return None

    def without(self, used: Iterable[str]) -> list[str]:
        """The photographs that are not among ``used``, which are absolute paths."""
        known = set(used)
        every = (file for stems in self.photographs.values() for files in stems.values() for file in files)
        return [file for file in every if os.path.abspath(file) not in known]


def shown(path: str, root: Path) -> str:
    """A path as messages and ids have it: below ``root``, its folders parted by ``/``."""
    return os.path.relpath(path, root).replace(os.sep, "/").encode("utf-8", "replace").decode()


def number(text: Any) -> float:
    """A finite number.

    Raises:
        LongtailError: it is none.
    """
    if isinstance(text, str | int | float) and not isinstance(text, bool) and "_" not in str(text)[:400]:
        try:
            if math.isfinite(value := float(text)):
                return value
        except (ValueError, OverflowError):
            pass
    raise LongtailError(f"{str(text)[:40]!r} is no number")


def categories_of(names: Iterable[str]) -> tuple[list[dict[str, Any]], Mapping[str, int]]:
    """Categories in the order of their names, from 1, and the number of each name."""
    numbers = {name: k for k, name in enumerate(sorted(set(names)), 1)}
    return [{"id": k, "name": name} for name, k in numbers.items()], numbers
