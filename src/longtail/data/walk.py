"""One walk below folders, for training, inspection and prediction alike, and what it passes over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

__all__ = ["Passed", "files_below", "real_paths", "subfolders", "walk"]

_LITTER = frozenset(
    # network disks and their bins, archives of Macs, Windows, repaired file systems, programs
    "@eadir @recycle @recently-snapshot @synoresource @sharebin @tmp #recycle #snapshot __macosx $recycle.bin recycler "
    "lost+found found.000 __pycache__ thumbs.db ehthumbs.db ehthumbs_vista.db desktop.ini picasa.ini".split()
) | {"system volume information", "network trash folder", "temporary items", "thevolumesettingsfolder", "icon\r"}
_PREFIXES = ("synophoto_thumb", "synoindex_", "~$")


class Passed:
    """What a walk passed over: hidden and system files and folders, and files of other kinds."""

    def __init__(self) -> None:
        self._litter: dict[str, str] = {}
        self.other: Counter[str] = Counter()
        """Files that are no images (or no clips), by their endings."""

    def sift(self, parent: str | Path, names: Iterable[str], *, folders: bool = False) -> list[str]:
        """The names that are no litter, sorted; the others are noted, each once however often it is met."""
        kept = []
        for name in names:
            kind = _litter(name)
            if kind is None:
                kept.append(name)
            else:
                self._litter[os.path.join(parent, name)] = f"{kind}/" if folders else kind
        return sorted(kept)

    def note(self, names: Iterable[str]) -> None:
        """Count files of other kinds."""
        self.other.update(os.path.splitext(name)[1].lower() or name for name in names)

    def notes(self, item: str) -> list[str]:
        """A line each for what is litter and for what is of another kind.

        Args:
            item: What was looked for: image or clip.
        """
        litter, lines = Counter(self._litter.values()), []
        if litter:
            lines.append(f"{litter.total()} hidden or system files and folders were passed over ({_kinds(litter, 5)})")
        if self.other:
            lines.append(f"{self.other.total()} files are not {item}s and were ignored ({self.kinds()})")
        return lines

    def kinds(self) -> str:
        """The most frequent endings of `other`, with their numbers."""
        return _kinds(self.other, 3)


def _kinds(counts: Counter[str], limit: int) -> str:
    return ", ".join(
        f"{n} {kind!r}" if kind != kind.strip() else f"{n} {kind}" for kind, n in counts.most_common(limit)
    )


def _litter(name: str) -> str | None:
    """What kind of litter a file or folder of this name is; None: none."""
    if name.startswith("."):
        return "._*" if name.startswith("._") else name
    lower = name.lower()
    if lower in _LITTER:
        return name
    return next((f"{name[: len(prefix)]}*" for prefix in _PREFIXES if lower.startswith(prefix)), None)


def subfolders(path: Path, passed: Passed) -> dict[str, Path]:
    """The folders in a folder, by name."""
    names = (entry.name for entry in path.iterdir() if os.path.isdir(entry))
    return {name: path / name for name in passed.sift(path, names, folders=True)}


def walk(folder: str | Path, passed: Passed, *, depth: int | None = None) -> Iterator[tuple[str, list[str]]]:
    """Each folder from ``folder`` on, through links but never twice, with its files.

    Pipes and devices are no files: opening one could wait for ever. A link to nowhere is one: who opens it, names it.

    Args:
        folder: Where to begin.
        passed: Takes what is passed over.
        depth: How many folders deep to go below ``folder``; None: to the end.

    Raises:
        OSError: a folder cannot be read.
    """
    seen: set[str] = set()
    waiting = [(os.fspath(folder), 0)]
    while waiting:
        parent, level = waiting.pop()
        if (real := os.path.realpath(parent)) in seen:  # a link back to a folder above
            continue
        seen.add(real)
        folders, files = [], []
        with os.scandir(parent) as entries:
            for entry in entries:
                link = entry.is_symlink()  # only links cost a look of their own
                if os.path.isdir(entry.path) if link else entry.is_dir():
                    folders.append(entry.name)
                elif (os.path.isfile(entry.path) or not os.path.exists(entry.path)) if link else entry.is_file():
                    files.append(entry.name)
        yield parent, passed.sift(parent, files)
        if level != depth:
            kept = passed.sift(parent, folders, folders=True)
            waiting += [(os.path.join(parent, name), level + 1) for name in reversed(kept)]


def files_below(folder: str | Path, wanted: Callable[[str], bool], passed: Passed) -> list[str]:
    """The files below a folder whose names are ``wanted``."""
    found = []
    for parent, files in walk(folder, passed):
        found += [os.path.join(parent, name) for name in files if wanted(name)]
        passed.note(name for name in files if not wanted(name))
    return found


def real_paths(paths: Iterable[str]) -> list[str]:
    """The file that each path leads to, however it is spelled: through links, ``.``, ``..`` and doubled slashes.

    One look into each folder, so that a million files of a network disk take seconds.
    """
    folders: dict[str, tuple[str, set[str]]] = {}
    found = []
    for path in paths:
        parent, name = os.path.split(path)
        if parent not in folders:
            folders[parent] = os.path.realpath(parent), _links(parent)
        real, links = folders[parent]
        found.append(os.path.realpath(path) if name in links or name in ("", "..") else os.path.join(real, name))
    return found


def _links(folder: str) -> set[str]:
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name for entry in entries if entry.is_symlink()}
    except OSError:
        return set()
