"""Images of a Hugging Face data set: from the hub, or from a folder that ``save_to_disk`` wrote.

Its tables are mapped into memory and a row is read when it is asked for, so that a set may be larger than memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from longtail.data.base import Split
from longtail.data.layout import SPLIT_NAMES, only_one, split_named
from longtail.data.table import by_number, given_columns, usual_name
from longtail.errors import LongtailError
from longtail.names import brief, nfc
from longtail.network import reachable

__all__ = ["read_hf"]


@dataclasses.dataclass(frozen=True)
class _Images:
    """The `Source`: a key is the name of a split and a row, ``train/17``."""

    parts: Mapping[str, Any]
    column: str
    modified: int

    def __call__(self, key: str) -> bytes | str:
        split, _, row = key.rpartition("/")
        if split not in self.parts or not row.isdecimal() or int(row) >= len(self.parts[split]):
            raise KeyError(key)
        cell = self.parts[split][int(row)][self.column]
        if cell is None:
            raise LongtailError(f"{key} has no image in the column {self.column!r}: remove the row")
        return cell["path"] if cell["bytes"] is None else cell["bytes"]


def read_hf(path: Path, *, columns: Sequence[str] = ()) -> tuple[dict[str, Split], list[str], list[str]]:
    """The splits train, validation and test, with images and labels.

    The image is the one column of images, the label the one of class labels, or that with a usual name.

    Args:
        path: Name on the hub, or a folder.
        columns: ``image=NAME``, ``label=NAME``, ``group=NAME`` where there are several or other ones.

    Returns:
        Splits by name, class names (of a column of class labels its own, else as in a table), notes.

    Raises:
        LongtailError: it cannot be loaded, or has no training split, no images or no labels.
    """
    parts, notes = _parts(path)
    first = parts["train"].features
    given = given_columns(columns, ("file", "label", "group"))
    image = given.get("file") or _one(path, first, "Image", "image", [])
    label = given.get("label") or _one(path, first, "ClassLabel", "label", usual_name("label", list(first)))
    group = given.get("group")
    for split, part in parts.items():
        if lacking := [name for name in (image, label, group) if name is not None and name not in part.features]:
            raise LongtailError(f"{path} has no column {lacking[0]!r} in {split} (it has {brief(list(part.features))})")
        if type(part.features[image]).__name__ != "Image":
            raise LongtailError(f"{path}: the column {image!r} holds no images but {part.features[image]}")
    labels = {split: part.select_columns([label])[:][label] for split, part in parts.items()}
    names = getattr(first[label], "names", None)
    if names is None:
        words = {split: [nfc(str(value).strip()) for value in own] for split, own in labels.items()}
        if any(value is None for own in labels.values() for value in own):
            raise LongtailError(f"{path}: rows without a label in the column {label!r}: remove them")
        names = sorted(set().union(*words.values()), key=by_number)
        index = {name: c for c, name in enumerate(names)}
        labels = {split: [index[word] for word in own] for split, own in words.items()}
    if image != "image" or label != "label":
        notes.append(f"{path}: image is the column {image!r}, label the column {label!r}")
    source, splits = _source(parts, image), {}
    for split, part in parts.items():
        numbers = torch.tensor([-1 if own is None else own for own in labels[split]], dtype=torch.int64)
        kept = (numbers >= 0).nonzero().flatten()  # -1 is the sign of an answer that is kept back
        if len(kept) < len(numbers):
            notes.append(f"left out: {len(numbers) - len(kept)} of {len(numbers)} rows of {split} have no label")
        groups = [str(own or "") for own in part.select_columns([group])[:][group]] if group else None
        keys = [f"{split}/{row}" for row in range(len(part))]
        if len(kept):
            splits[split] = Split(keys, numbers, 0, groups, source).subset(kept)
    if "train" not in splits:
        raise LongtailError(f"{path} has no training image with a label")
    if empty := [names[c] for c, n in enumerate(splits["train"].class_counts(len(names))) if n == 0]:
        raise LongtailError(f"{path}: classes without a training image: {brief(empty)}")
    return splits, list(names), notes


def _parts(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The parts that are splits, by our names for them."""
    try:
        import datasets
    except ImportError:
        raise LongtailError("Hugging Face data sets need the package datasets: pip install 'longtail[hf]'") from None
    saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        with contextlib.nullcontext() if saved or path.exists() else _hub_if_there():
            found = datasets.load_from_disk(str(path)) if saved else datasets.load_dataset(str(path))
    except Exception as error:  # of the network, of the hub, of what lies in the folder
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        what = "its folder is damaged" if saved else "check the name and the network, or give a folder of save_to_disk"
        raise LongtailError(f"hf:{path} cannot be loaded ({reason}): {what}") from None
    if not isinstance(found, dict):
        return {"train": found}, []
    named: dict[str, list[str]] = {}
    for name in map(str, found):
        named.setdefault(split_named(name) or "", []).append(name)
    other = named.pop("", [])
    if other and len(found) == 1:
        return {"train": found[other[0]]}, [f"{path}: its one part, {other[0]!r}, is the training part"]
    parts = {
        split: found[name] for split in SPLIT_NAMES if (name := only_one(named.get(split, ()), split=split, where=path))
    }
    if "train" not in parts:
        raise LongtailError(f"{path} has no part called train (it has {brief(list(found))})")
    return parts, [f"ignored beside the splits: {brief(other)}"] if other else []


@contextlib.contextmanager
def _hub_if_there() -> Iterator[None]:
    """Without a network only what was fetched before is looked for: libraries would ask again for most of a minute."""
    from datasets import config
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    if not any(before) and not reachable(constants.ENDPOINT):
        config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _one(path: Path, features: Mapping[str, Any], kind: str, role: str, usual: Sequence[str]) -> str:
    """The one column of a kind, or else the one with a usual name."""
    found = [name for name, feature in features.items() if type(feature).__name__ == kind] or list(usual)
    if role in found:
        return role
    if len(found) != 1:
        what = f"several columns that may be the {role}: {brief(found)}" if found else f"no column of {role}s"
        more = "; vectors of features cannot be trained on" if kind == "Image" and not found else ""
        raise LongtailError(
            f"{path} has {what} (of {brief(list(features), 12)}): name it with --columns {role}=NAME{more}"
        )
    return found[0]


def _source(parts: Mapping[str, Any], column: str) -> _Images:
    import datasets

    raw = {
        name: part.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        for name, part in parts.items()
    }
    files = {entry["filename"] for part in raw.values() for entry in part.cache_files}
    return _Images(raw, column, max((os.stat(file).st_mtime_ns for file in files), default=0))
