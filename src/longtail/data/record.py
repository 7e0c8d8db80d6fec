"""Which files, or which pixels, each split of a run holds: so that it is continued and judged on the same ones."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from longtail import runfolder
from longtail.data.base import ImageData, Source, Split, parse_spec
from longtail.data.boxes import BoxData, BoxSplit
from longtail.data.catalogue import places_of
from longtail.data.digests import READERS, digest_in_memory, digest_of_objects, fingerprint, in_threads
from longtail.data.layout import folder_of
from longtail.errors import LongtailError
from longtail.names import brief

__all__ = [
    "SplitRecord",
    "check_splits",
    "known_samples",
    "read_record",
    "record_splits",
    "record_text",
    "restore_boxes",
    "restore_splits",
]

SPLITS = ("train", "val", "test", "select")
COLUMNS = runfolder.COLUMNS[runfolder.SPLITS]


@dataclasses.dataclass(frozen=True)
class _Item:
    """One file of a split, or all of one that is held in memory.

    Args:
        file: Below the folder of the data set, or absolute; empty: held in memory.
        label: Number of the class; boxes: a digest of the image's annotations.
        size: Of the file in bytes; a folder: its frames; in memory: the samples.
        modified: Time of the file's last change in ns; with an unchanged size it saves reading the file again.
        digest: Of the content, see `fingerprint`; in memory: of pixels and labels, or of the annotations.
    """

    file: str
    label: str
    size: int
    modified: int
    digest: str


@dataclasses.dataclass(frozen=True)
class SplitRecord:
    """What a run's splits hold.

    Args:
        items: The files of each split, in its order.
        class_names: The names of the labels.
        source: Where it is written, for messages.
        unused: Files that were there and that a long tail left out.
    """

    items: Mapping[str, Sequence[_Item]]
    class_names: Sequence[str]
    source: str
    unused: Sequence[str] = ()

    @property
    def in_memory(self) -> bool:
        return all(not item.file for items in self.items.values() for item in items)


def record_splits(data: ImageData | BoxData, source: str) -> SplitRecord:
    """Of data that have just been read: every file is read once.

    Raises:
        LongtailError: a file that cannot be read.
    """
    root, items = _root(data.name), {}
    for name in SPLITS:
        split = getattr(data, name, None)
        if split is None:
            continue
        files = _files(split)
        if files is None:
            items[name] = [_Item("", "", len(split), 0, digest_in_memory(split))]
            continue
        labels = map(digest_of_objects, split.objects) if isinstance(split, BoxSplit) else split.labels.tolist()
        origin = _source(split)

        def fingerprints(files: Sequence[str], origin: Source | None = origin) -> list[tuple[int, int, str]]:
            return [fingerprint(file, origin) for file in files]

        parts = in_threads(fingerprints, files) if origin is None else [fingerprints(files)]
        found = [one for part in parts for one in part]
        items[name] = [
            _Item(_below(file, root, origin), str(label), *what)
            for file, label, what in zip(files, labels, found, strict=True)
        ]
    unused = data.unused if isinstance(data, ImageData) else ()
    below = tuple(_below(file, root, _source(data.train)) for file in unused)
    return SplitRecord(items, list(data.class_names), source, below)


def record_text(record: SplitRecord) -> bytes:
    """The content of ``splits.csv.gz``, the same bytes for the same record."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")  # so that either in a name is quoted
    writer.writerow(COLUMNS)
    for name, items in record.items.items():
        writer.writerows((name, i.file, i.label, i.size, i.modified or "", i.digest) for i in items)
    writer.writerows((runfolder.UNUSED, file, "", 0, "", "") for file in record.unused)
    return gzip.compress(out.getvalue().encode("utf-8", "surrogateescape"), mtime=0)


def read_record(path: Path, class_names: Sequence[str]) -> SplitRecord:
    """Inverse of `record_text`, from a file.

    Raises:
        LongtailError: the file is damaged.
    """
    items: dict[str, list[_Item]] = {}
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape", newline="") as lines:
            reader = csv.reader(lines)
            if tuple(next(reader))[: len(COLUMNS)] != COLUMNS:
                raise ValueError("its columns are others")
            for split, file, label, size, modified, digest, *_ in reader:
                items.setdefault(split, []).append(_Item(file, label, int(size), int(modified or 0), digest))
    except (OSError, EOFError, ValueError, StopIteration, zlib.error, csv.Error) as error:
        raise LongtailError(
            f"{path} is damaged ({str(error) or 'it is empty'}): restore it, or remove it to cut the splits anew"
        ) from None
    unused = tuple(item.file for item in items.pop(runfolder.UNUSED, ()))
    return SplitRecord(items, list(class_names), str(path.parent), unused)


# -- reading a data set with the splits of a run -----------------------------------------------------------------------
def restore_splits(
    record: SplitRecord, name: str, found: Mapping[str, Split], class_names: Sequence[str]
) -> tuple[dict[str, Split], list[str]]:
    """The recorded splits, whatever else is there now.

    Args:
        record: Of files.
        name: The data set, ``NAME[:PATH]``.
        found: The files that are there now, in whatever splits.
        class_names: The names of their labels.

    Returns:
        The splits, with the labels of ``record.class_names``, and a note if there are new files. Files that are missing
        are not looked for: `check_splits` does that.

    Raises:
        LongtailError: files that have another label now.
    """
    root, frames, source = _root(name), found["train"].frames, found["train"].source
    now = {
        _below(str(file), root, source): label
        for split in found.values()
        for file, label in zip(split.images, split.labels.tolist(), strict=True)
    }
    grouped = any(split.groups is not None for split in found.values())
    groups = (
        {
            _below(str(file), root, source): group
            for split in found.values()
            for file, group in zip(split.images, split.groups or (), strict=split.groups is not None)
        }
        if grouped
        else None
    )
    splits, other = {}, []
    for split, items in record.items.items():
        labels = [int(item.label) for item in items]
        for item, label in zip(items, labels, strict=True):
            # Numbers name the classes of lists, names those of folders: only where both differ the label does.
            mine = now.get(item.file, label)
            if mine != label and class_names[mine] != record.class_names[label]:
                other.append(f"{item.file} ({record.class_names[label]} there, {class_names[mine]} here)")
        files = [_path(item, root, source) for item in items]
        own = None if groups is None else [groups.get(item.file, "") for item in items]
        splits[split] = Split(files, torch.tensor(labels, dtype=torch.int64), frames, own, source)
    if other:
        raise LongtailError(
            f"{len(other)} files of {name} have another label than in {record.source}, e.g. {other[0]}: "
            "restore the labels, or start anew in another folder"
        )
    return splits, _new(now, record)


def known_samples(record: SplitRecord, name: str, found: Mapping[str, Split]) -> dict[str, Split]:
    """The files that were there when a record was made, in the splits in which they are found now."""
    known = {item.file for items in record.items.values() for item in items} | set(record.unused)
    root, splits = _root(name), {}
    for split, part in found.items():
        rows = [k for k, file in enumerate(part.images) if _below(str(file), root, part.source) in known]
        splits[split] = part.subset(torch.tensor(rows, dtype=torch.int64))
    return splits


def restore_boxes(
    record: SplitRecord, name: str, found: Mapping[str, BoxSplit]
) -> tuple[dict[str, BoxSplit], list[str]]:
    """As `restore_splits`, of images with boxes.

    Raises:
        LongtailError: an image that the annotations do not name any more.
    """
    root = _root(name)
    rows = {
        split: {_below(image["path"], root): row for row, image in enumerate(part.images)}
        for split, part in found.items()
    }
    splits, missing = {}, []
    for split, items in record.items.items():
        # A file may stand in several annotation files: the split's own first, then the one that splits are cut from.
        order = [own for own in dict.fromkeys((split, "train", *found)) if own in found]
        home = next((own for own in order if any(item.file in rows[own] for item in items)), order[0])
        missing += [item.file for item in items if item.file not in rows[home]]
        if not missing:
            splits[split] = found[home].subset([rows[home][item.file] for item in items])
    if missing:
        raise LongtailError(
            f"{len(missing)} images of {record.source} are not in the annotations of {name} any more, first "
            f"{missing[0]}: restore them, or start anew in another folder"
        )
    return splits, _new({file for own in rows.values() for file in own}, record)


def _new(now: Iterable[str], record: SplitRecord) -> list[str]:
    known = {item.file for items in record.items.values() for item in items} | set(record.unused)
    if not (new := [file for file in now if file not in known]):
        return []
    return [f"left out, as they are not in the splits of {record.source} ({len(new)} in all): {brief(new)}"]


# -- is everything still as it was -------------------------------------------------------------------------------------
def check_splits(record: SplitRecord, data: ImageData | BoxData, names: Sequence[str] = SPLITS) -> list[str]:
    """Compare what is there now with a record.

    Args:
        record: Of a run.
        data: The same data as they were read now.
        names: The splits to look at.

    Returns:
        One line for each kind of change: other contents, other annotations. Files of unchanged size and time are not
        read.

    Raises:
        LongtailError: files are missing.
    """
    root, missing, changed, lines = _root(data.name), [], [], []
    for name in names:
        items, split = record.items.get(name, ()), getattr(data, name, None)
        if split is None or not items:
            continue
        if not items[0].file:
            if items[0].digest != digest_in_memory(split):
                lines.append(f"the {name} split of {data.name} holds other samples or labels than {record.source}")
            continue
        source = _source(split)
        with ThreadPoolExecutor(READERS if source is None else 1) as readers:
            states = readers.map(lambda item, source=source: _state(item, _path(item, root, source), source), items)
        for item, state in zip(items, states, strict=True):
            if state == "missing":
                missing.append(_path(item, root, source))
            elif state:
                changed.append(_path(item, root, source))
        if isinstance(split, BoxSplit):
            own = zip(items, split.objects, strict=True)
            other = [item.file for item, objects in own if item.label != digest_of_objects(objects)]
            if other:
                what = f"{len(other)} images of {name} have other annotations than in {record.source}"
                lines.append(f"{what}, e.g. {other[0]}")
    if missing:
        raise LongtailError(f"{len(missing)} files of {record.source} are missing, first {missing[0]}: put them back")
    if changed:
        lines.append(f"{len(changed)} files have another content than in {record.source}, e.g. {changed[0]}")
    return lines


def _state(item: _Item, path: str, source: Source | None = None) -> str:
    """``missing``, ``changed``, or nothing."""
    try:
        if source is None:
            now = os.stat(path)
            same = (now.st_size, now.st_mtime_ns) == (item.size, item.modified)
        else:
            same = getattr(source, "modified", 0) == item.modified
        if item.modified and same:
            return ""
        size, _, digest = fingerprint(path, source)
    except (OSError, KeyError):
        return "missing"
    return "" if (size, digest) == (item.size, item.digest) else "changed"


def _files(split: Split | BoxSplit) -> list[str] | None:
    """The paths of a split; None: it is held in memory."""
    if isinstance(split, BoxSplit):
        paths = [image.get("path", "") for image in split.images]
        return paths if all(paths) else None
    return None if isinstance(split.images, Tensor) else [str(path) for path in split.images]


def _root(name: str) -> str:
    """The folder of a data set, absolute."""
    kind, place = parse_spec(name)
    places = places_of(kind, Path(place).expanduser() if place else None)
    there = next((folder for folder in places if folder.is_dir()), places[0])
    return os.path.abspath(folder_of(there))


def _source(split: Split | BoxSplit) -> Source | None:
    return split.source if isinstance(split, Split) else None


def _below(path: str, root: str, source: Source | None = None) -> str:
    """The path from ``root`` if it lies below, else absolute; the key of a source as it is."""
    if source is not None:
        return path
    full = os.path.abspath(path)
    return full[len(root) + 1 :] if full.startswith(root + os.sep) else full


def _path(item: _Item, root: str, source: Source | None = None) -> str:
    return os.path.join(root, item.file) if source is None else item.file
