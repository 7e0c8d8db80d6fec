"""Files of images and clips: found below folders, named in lists with ``path label`` lines, each file once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from longtail.advice import noted
from longtail.data.base import Split
from longtail.data.layout import SPLIT_NAMES, only_one, split_named
from longtail.data.photos import is_image
from longtail.data.video import is_video
from longtail.data.walk import Passed, files_below, real_paths, walk
from longtail.errors import LongtailError
from longtail.names import brief, nfc
from longtail.textfiles import read_text

__all__ = ["clips_below", "images_below", "labels_of_lists", "one_row_a_file", "read_lists"]


def images_below(folder: Path, passed: Passed) -> list[str]:
    """Image files below a folder."""
    return files_below(folder, is_image, passed)


def clips_below(folder: Path, passed: Passed) -> list[str]:
    """Video files below a folder, and folders of extracted frames; ``folder`` itself is none of these."""
    found = []
    for parent, files in walk(folder, passed):
        videos = list(filter(is_video, files))
        found += [os.path.join(parent, name) for name in videos]
        frames = parent != str(folder) and not videos and any(map(is_image, files))
        if frames:
            found.append(parent)
        passed.note(name for name in files if not (is_image if frames else is_video)(name))
    return sorted(found)


def one_row_a_file(
    splits: dict[str, Split], sources: Mapping[str, Path], kind: str, notes: list[str]
) -> dict[str, Split]:
    """The splits with each file once, told by where it is and not by how it is spelled.

    Args:
        splits: Of files.
        sources: The list or folder of each split.
        kind: What these are: list or folder.
        notes: Takes lines about files that are named more than once, and about those in val and test.

    Raises:
        LongtailError: a file with two labels, or in train and in another split.
    """
    seen: dict[str, tuple[str, str, int]] = {}
    kept: dict[str, Split] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for split, part in splits.items():
        rows, paths = [], [str(path) for path in part.images]
        for row, (path, real, label) in enumerate(zip(paths, real_paths(paths), part.labels.tolist(), strict=True)):
            where, first, before = seen.setdefault(real, (split, path, label))
            if label != before:
                also = "" if first == path else f" (it is {first} too)"
                raise LongtailError(f"{sources[split]} gives {path} two different labels{also}, {before} and {label}")
            if where != split:
                shared.setdefault((where, split), []).append(path)
                rows.append(row)
            elif first is path:
                rows.append(row)
        kept[split] = part if len(rows) == len(part) else part.subset(torch.tensor(rows))
        if repeats := len(part) - len(rows):
            notes.append(
                f"{sources[split].name} {'lists' if kind == 'list' else 'has'} {repeats} {part.item}s more than once: "
                "each is used once"
            )
    for (one, other), paths in shared.items():
        if one == "train":
            raise LongtailError(
                f"{len(paths)} images are in the train and in the {other} {kind}, e.g. {min(paths)}: remove them"
            )
        told = f"{len(paths)} images are in the {one} and in the {other} {kind}: the test result is not independent"
        notes.append(noted("LT001", told))
    return kept


def _read_list(file: Path) -> tuple[list[str], list[int], list[str]]:
    """Paths, labels and groups, which are empty where a line names none."""
    paths, labels, groups = [], [], []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        path, label, group = _fields(line.strip())
        if not path or not label.isascii() or not label.isdigit() or len(label) > 18 or "\0" in path:
            raise LongtailError(
                f"{file} line {number} is {line.strip()[:80]!r}: it must be a path, a space and a label >= 0, "
                "and a space and a group if there is one"
            )
        paths.append(path.strip())
        labels.append(int(label))
        groups.append(group.strip())
    if not paths:
        raise LongtailError(f"{file} has no lines of the form: path label")
    return paths, labels, groups


def _fields(line: str) -> tuple[str, str, str]:
    """Path, label and group of a line; a group that is a number is told by tabs, for paths may hold spaces."""
    if len(parts := line.split("\t")) == 3:
        return parts[0], parts[1].strip(), parts[2]
    path, _, label = line.replace("\t", " ").rpartition(" ")
    if not (label.isascii() and label.isdigit()):
        before, _, middle = path.rpartition(" ")
        if before and middle.isascii() and middle.isdigit():
            return before, middle, label
    return path, label, ""


def _locate(paths: list[str], roots: Sequence[Path], file: Path) -> list[str]:
    """Full paths below the root that has the first files; each must exist (seen in one listing of its folder)."""
    root = max(roots, key=lambda r: sum(os.path.isfile(r / path) for path in paths[:20]))
    full = [os.path.join(root, path) for path in paths]
    listing: dict[str, set[str]] = {}

    def there(path: str) -> bool:
        parent, name = os.path.split(path)
        if parent not in listing:
            listing[parent] = set(os.listdir(parent)) if os.path.isdir(parent) else set()
        return name in listing[parent]

    full = [path if "\\" not in path or there(path) else path.replace("\\", "/") for path in full]  # made on Windows
    missing = [path for path in full if not there(path)]
    if missing:
        tried = brief([str(r) for r in roots])
        raise LongtailError(
            f"{len(missing)} of the {len(full)} images in {file} are missing, first {missing[0]} "
            f"(looked below {tried}): copy or link the image folder there"
        )
    return full


def _class_names(path: Path, count: int, labelled: dict[str, int]) -> list[str]:
    """From classes.txt; else the name of the folder that holds all images of a class and of no other; else numbers."""
    file = path / "classes.txt"
    if file.is_file():
        names = [nfc(line.strip()) for line in read_text(file).splitlines() if line.strip()]
        if len(names) < count:
            raise LongtailError(f"{file} names {len(names)} classes, but the lists have labels up to {count - 1}")
        return names
    parents: dict[int, set[str]] = {}
    for name, label in labelled.items():
        parents.setdefault(label, set()).add(nfc(os.path.basename(os.path.dirname(name.replace("\\", "/")))))
    names = [next(iter(parents[c])) if len(parents.get(c, ())) == 1 else "" for c in range(count)]
    return names if all(names) and len(set(names)) == count else [f"class {c}" for c in range(count)]


def _lists_in(folder: Path, pattern: str) -> dict[str, Path]:
    """The list file of each split in a folder, whatever its case and usual spelling."""
    head, _, tail = pattern.lower().partition("{}")
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        lower = name.lower()
        if lower.startswith(head) and lower.endswith(tail) and (folder / name).is_file():
            split = split_named(lower[len(head) : len(lower) - len(tail)])
            if split is not None:
                found.setdefault(split, []).append(name)
    picked = {split: only_one(found.get(split, ()), split=split, where=folder) for split in SPLIT_NAMES}
    return {split: folder / name for split, name in picked.items() if name is not None}


def read_lists(
    path: Path, *, pattern: str = "{}.txt", folders: Sequence[str] = ("",), root: Path | None = None
) -> tuple[dict[str, Split], list[str], list[str]]:
    """List files with a ``path label`` line for each image, labels from 0; a third word is the image's group.

    Args:
        path: Folder with the list files; image paths are relative to it or to its ``images``, or absolute.
        pattern: Name of a list file, ``{}`` standing for train, val or test.
        folders: Folders below ``path`` in which the list files may lie.
        root: Folder of the images, if it is another one.

    Returns:
        Splits by name (``train`` always, ``val`` and ``test`` where given), class names, notes.

    Raises:
        LongtailError: a malformed line, a missing image, a label without a training image, an image in train and test.
    """
    if not path.is_dir():
        raise LongtailError(f"{path} is not a folder: it must hold {pattern.format('train')}")
    found = ((path / f, _lists_in(path / f, pattern)) for f in folders)
    home, files = next(((home, files) for home, files in found if "train" in files), (path, {}))
    if not files:
        there = brief(sorted(f.name for f in path.glob("*.txt"))) or "no .txt file"
        raise LongtailError(f"{path} has no {pattern.format('train')} (it has {there})")
    roots = [root] if root else list(dict.fromkeys([path, path / "images", home, home / "images"]))
    splits, written, notes = {}, {}, []
    for split, file in files.items():
        paths, labels, groups = _read_list(file)
        known = groups if any(groups) else None
        splits[split] = Split(_locate(paths, roots, file), torch.tensor(labels), groups=known)
        written |= dict(zip(splits[split].images, paths, strict=True))
    splits = one_row_a_file(splits, files, "list", notes)
    labelled = {
        written[str(path)]: label
        for part in splits.values()
        for path, label in zip(part.images, part.labels.tolist(), strict=True)
    }
    count = 1 + max(int(split.labels.max()) for split in splits.values())
    if count > len(splits["train"]):
        raise LongtailError(
            f"{path}: the lists have labels up to {count - 1}, but train only {len(splits['train'])} images"
        )
    names = _class_names(path if (path / "classes.txt").is_file() else home, count, labelled)
    if empty := [c for c, n in enumerate(splits["train"].class_counts(len(names))) if n == 0]:
        raise LongtailError(
            f"{path}: labels without an image in the train list: {brief(empty)} (labels must run from 0 without gaps)"
        )
    return splits, names, notes


def labels_of_lists(path: Path, *, pattern: str, folders: Sequence[str]) -> dict[str, list[int]]:
    """The labels in the list files that are there, by split, whether the images are there or not."""
    for below in folders:
        if files := _lists_in(path / below, pattern):
            return {split: _read_list(file)[1] for split, file in files.items()}
    return {}
