"""Readers of files: a folder a class, of images or clips, and list files of images with ``path label`` lines."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from longtail.data.base import Split
from longtail.data.photos import is_image
from longtail.data.video import is_video
from longtail.errors import LongtailError

__all__ = ["clips_below", "read_folder", "read_lists"]

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def brief(names: Sequence[object], limit: int = 5) -> str:
    """The first few of many names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(str(name) for name in names[:limit]) + more


def _folders(path: Path) -> dict[str, Path]:
    return {entry.name: entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")}


def _kinds(ignored: Counter[str]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in ignored.most_common(3))


def _raise(error: OSError) -> None:
    raise error


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder from ``folder`` on, through links but never twice, with its files; hidden ones are passed over."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        if (real := os.path.realpath(parent)) in seen:  # a link back to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield parent, sorted(name for name in files if not name.startswith("."))


def _note(ignored: Counter[str], names: Iterable[str]) -> None:
    ignored.update(os.path.splitext(name)[1].lower() or name for name in names)


def _images_below(folder: Path, ignored: Counter[str]) -> list[str]:
    found = []
    for parent, files in _walk(folder):
        found += [os.path.join(parent, name) for name in filter(is_image, files)]
        _note(ignored, (name for name in files if not is_image(name)))
    return found


def clips_below(folder: Path, ignored: Counter[str]) -> list[str]:
    """Video files below a folder, and folders of extracted frames; ``folder`` itself is none of these."""
    found = []
    for parent, files in _walk(folder):
        videos = list(filter(is_video, files))
        found += [os.path.join(parent, name) for name in videos]
        frames = parent != str(folder) and not videos and any(map(is_image, files))
        if frames:
            found.append(parent)
        _note(ignored, (name for name in files if not (is_image if frames else is_video)(name)))
    return sorted(found)


def _split_folders(path: Path) -> dict[str, Path]:
    """The folders of train, val and test; empty if PATH holds class folders (one of which may be called train)."""
    folders, parts = _folders(path), {}
    for split, synonyms in SPLIT_NAMES.items():
        there = [folders[name] for name in synonyms if name in folders and _folders(folders[name])]
        if len(there) > 1:
            raise LongtailError(
                f"{path} has both {there[0].name} and {there[1].name}: keep one as the validation split"
            )
        if there:
            parts[split] = there[0]
    if parts and "train" not in parts:
        raise LongtailError(
            f"{path} has {next(iter(parts.values())).name} but no train folder with a folder for each class"
        )
    return parts


def read_folder(path: Path, *, frames: int = 0) -> tuple[dict[str, Split], list[str], list[str]]:
    """``train/val/test/CLASS/FILE``, or ``CLASS/FILE`` which is all training part. Hidden files are ignored.

    Args:
        path: The folder.
        frames: 0: the files are images; otherwise clips, for which so many frames stand.

    Returns:
        Splits by name (``train`` always, ``val`` and ``test`` where given), class names in alphabetical order, notes.

    Raises:
        LongtailError: no such folder, no images, a class without a training image, a class unknown in training.
    """
    if not path.is_dir():
        hint = "unpack it first" if path.is_file() else "check the path"
        raise LongtailError(f"{path} is not a folder: {hint}")
    try:
        return _read_folder(path, frames)
    except OSError as error:
        raise LongtailError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None


def _read_folder(path: Path, frames: int) -> tuple[dict[str, Split], list[str], list[str]]:
    find, item = (clips_below, "clip") if frames else (_images_below, "image")
    parts = _split_folders(path)
    notes: list[str] = []
    if parts and (other := [name for name in _folders(path) if path / name not in parts.values()]):
        notes.append(f"ignored beside the splits: {brief(other)}")
    parts = parts or {"train": path}
    names = list(_folders(parts["train"]))
    if not names:
        raise LongtailError(
            f"{parts['train']} has no class folders: put the {item}s of each class into a folder of its own"
        )
    index = {name: c for c, name in enumerate(names)}
    splits, ignored = {}, Counter[str]()
    for split, folder in parts.items():
        files = {name: find(below, ignored) for name, below in _folders(folder).items()}
        if unknown := [name for name, own in files.items() if own and name not in index]:
            raise LongtailError(f"{folder} has classes that {parts['train']} lacks: {brief(unknown)}")
        if split == "train" and (empty := [name for name, own in files.items() if not own]):
            other = f" (not read as {item}s: {_kinds(ignored)})" if ignored else ""
            raise LongtailError(
                f"a class with no {item} in {folder}: {brief(empty)}{other}; add {item}s or remove the folder"
            )
        paths = [file for own in files.values() for file in own]
        if not paths:
            raise LongtailError(f"{folder} has no {item}s in its class folders")
        labels = [index[name] for name, own in files.items() for _ in own]
        splits[split] = Split(paths, torch.tensor(labels), frames)
    if ignored:
        notes.append(f"{ignored.total()} files are not {item}s and were ignored ({_kinds(ignored)})")
    return splits, [os.fsencode(name).decode("utf-8", "replace") for name in names], notes


def _read_list(file: Path) -> tuple[list[str], list[int]]:
    paths, labels = [], []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LongtailError(f"{file} cannot be read as text: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        path, _, label = line.strip().replace("\t", " ").rpartition(" ")
        if not path or not label.isascii() or not label.isdigit():
            raise LongtailError(
                f"{file} line {number} is {line.strip()[:80]!r}: it must be a path, a space and a label >= 0"
            )
        paths.append(path.strip())
        labels.append(int(label))
    if not paths:
        raise LongtailError(f"{file} has no lines of the form: path label")
    return paths, labels


def _locate(paths: list[str], roots: Sequence[Path], file: Path) -> list[str]:
    """Full paths below the root that has the first files; each must exist (seen in one listing of its folder)."""
    root = max(roots, key=lambda r: sum((r / path).is_file() for path in paths[:20]))
    full = [os.path.join(root, path) for path in paths]
    listing: dict[str, set[str]] = {}
    missing = []
    for path in full:
        parent, name = os.path.split(path)
        if parent not in listing:
            listing[parent] = set(os.listdir(parent)) if os.path.isdir(parent) else set()
        if name not in listing[parent]:
            missing.append(path)
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
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if len(names) < count:
            raise LongtailError(f"{file} names {len(names)} classes, but the lists have labels up to {count - 1}")
        return names
    parents: dict[int, set[str]] = {}
    for name, label in labelled.items():
        parents.setdefault(label, set()).add(os.path.basename(os.path.dirname(name)))
    names = [next(iter(parents[c])) if len(parents.get(c, ())) == 1 else "" for c in range(count)]
    return names if all(names) and len(set(names)) == count else [f"class {c}" for c in range(count)]


def read_lists(
    path: Path, *, pattern: str = "{}.txt", folders: Sequence[str] = ("",), root: Path | None = None
) -> tuple[dict[str, Split], list[str], list[str]]:
    """List files with a ``path label`` line for each image, labels from 0.

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
    home = next((path / f for f in folders if (path / f / pattern.format("train")).is_file()), None)
    if home is None:
        there = brief(sorted(f.name for f in path.glob("*.txt"))) or "no .txt file"
        raise LongtailError(f"{path} has no {pattern.format('train')} (it has {there})")
    roots = [root] if root else list(dict.fromkeys([path, path / "images", home, home / "images"]))
    splits, labelled, notes = {}, {}, []
    for split, synonyms in SPLIT_NAMES.items():
        file = next((home / pattern.format(s) for s in synonyms if (home / pattern.format(s)).is_file()), None)
        if file is None:
            continue
        paths, labels = _read_list(file)
        once = dict(zip(paths, labels, strict=True))
        if clash := next((p for p, y in zip(paths, labels, strict=True) if once[p] != y), None):
            raise LongtailError(f"{file} gives {clash} two different labels")
        if len(once) < len(paths):
            notes.append(f"{file.name} lists {len(paths) - len(once)} images more than once")
        splits[split] = Split(_locate(paths, roots, file), torch.tensor(labels))
        labelled |= once
    for split in ("val", "test"):
        shared = set(splits["train"].images) & set(splits[split].images) if split in splits else set()
        if shared:
            raise LongtailError(
                f"{len(shared)} images are in the train and in the {split} list, e.g. {min(shared)}: remove them"
            )
    if {"val", "test"} <= splits.keys() and (shared := set(splits["val"].images) & set(splits["test"].images)):
        notes.append(f"{len(shared)} images are in the val and in the test list: the test result is not independent")
    count = 1 + max(int(split.labels.max()) for split in splits.values())
    if count > len(splits["train"]):
        raise LongtailError(f"the lists have labels up to {count - 1}, but train only {len(splits['train'])} images")
    names = _class_names(path if (path / "classes.txt").is_file() else home, count, labelled)
    if empty := [c for c, n in enumerate(splits["train"].class_counts(len(names))) if n == 0]:
        raise LongtailError(
            f"labels without an image in the train list: {brief(empty)} (labels must run from 0 without gaps)"
        )
    return splits, names, notes
