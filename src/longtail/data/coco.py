"""Detection data sets by name: COCO's and LVIS's files, split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from longtail import activity
from longtail.advice import noted
from longtail.data.annotations import CHECKED_FILES, read_annotations, read_json
from longtail.data.base import Broken, check_broken
from longtail.data.boxes import BoxData, BoxSplit
from longtail.data.catalogue import find_entry, imported, known, place_of
from longtail.data.files import brief
from longtail.data.photographs import real_paths
from longtail.data.photos import check_images, depth_note
from longtail.data.record import SplitRecord, restore_boxes
from longtail.errors import LongtailError
from longtail.metrics.detection import frequency_group
from longtail.names import bare_name

__all__ = ["load_boxes", "read_annotations", "read_coco"]

VAL_FRACTION = 0.15


def load_boxes(
    spec: str,
    *,
    data_seed: int = 0,
    val_fraction: float | None = None,
    masks: bool = False,
    broken: Broken = "skip",
    look: bool = False,
    record: SplitRecord | None = None,
    bit_depth: int | None = None,
) -> BoxData:
    """Read a detection data set and split it.

    ``coco:DIR`` and ``lvis:DIR`` know the plain layout (``instances_train.json``, ``instances_val.json``,
    ``images/train``, ``images/val``; a ``test`` likewise) and those of the official downloads (``annotations``,
    ``train2017``, ``val2017``, ``lvis_v1_train.json``, ``lvis_v0.5_train.json``). Without a ``test`` part the given
    ``val`` is the test split, and a difficulty split is cut from the training images, at random but never with the last
    training image of a category. ``shapes-lt`` is drawn in memory.

    Args:
        spec: ``coco:DIR``, ``lvis:DIR`` or ``shapes-lt``.
        data_seed: Picks the images of the difficulty split.
        val_fraction: Share of the training images for it; None: 0.15.
        masks: Whether masks are wanted.
        broken: Annotations, and images that are not of the size that the file tells: ``skip`` them (the notes name
            them), or ``refuse`` them.
        look: The data are only looked at: masks are kept where they can be used, and what is missing on disk is told by
            ``missing`` of the result instead of an error.
        record: The splits of a run: images are split as there, and what is new is left out with a note.
        bit_depth: Bits that are in use in photographs of 16 bits a channel; None: 16.

    Raises:
        LongtailError: an unknown name, files that are missing or damaged, annotations that cannot be used, or a
            photograph that is in the training file and in another.
    """
    activity.now(f"reading {spec}")
    check_broken(broken)
    if not (val_fraction is None or 0 < val_fraction < 0.9):
        raise LongtailError(f"val_fraction {val_fraction} must be between 0 and 0.9")
    entry = find_entry(spec)
    if not entry.boxes:
        raise LongtailError(f"{entry.name} has no boxes: known are {', '.join(known(['detect']))}")
    options = {"masks": masks, "broken": broken, "look": look, "bit_depth": bit_depth, "data_seed": data_seed}
    asked = {name: options[name] for name in entry.reads} | dict(entry.arguments)
    found = imported(entry.reader)(place_of(spec, entry), **asked)
    if isinstance(found, BoxData):
        return found
    parts, notes, missing = found
    train = parts["train"]
    paths = [image["path"] for part in parts.values() for image in part.images if image["path"]]
    notes += _overlaps(parts)
    if len(paths) <= CHECKED_FILES:
        check_images(paths, reduced=False, bit_depth=bit_depth)
    if note := depth_note([image["path"] for image in train.images if image["path"]], bit_depth):
        notes.append(note)
    if "test" in parts and val_fraction is not None:
        notes.append("val_fraction is not used: the data have a val split of their own")
    if "test" not in parts:
        parts["test"] = parts.pop("val")
    if record is not None and not record.in_memory:
        parts, new = restore_boxes(record, spec, parts)
        notes += new
    elif "val" not in parts:
        notes.append("there is no test split: the given val split is the test split, a new val is cut from train")
        rows = cut_images(train.labels_per_image(), val_fraction or VAL_FRACTION, data_seed)
        parts["train"], parts["val"] = (train.subset(own) for own in rows)
    absent = [train.categories[c]["name"] for c, n in enumerate(parts["train"].image_counts()) if n == 0]
    if absent:
        notes.append(f"{len(absent)} categories without a training image: {brief(absent)}")
    rules = "lvis" if entry.name == "lvis" else "coco"
    splits = _tagged(parts)
    train, val, test = (splits[split] for split in ("train", "val", "test"))
    return BoxData(name=spec, train=train, val=val, test=test, rules=rules, notes=notes, missing=missing)


def read_coco(
    path: Path,
    *,
    name: str,
    files: Sequence[str],
    masks: bool,
    broken: Broken,
    look: bool,
    bit_depth: int | None,
) -> tuple[dict[str, BoxSplit], list[str], list[str]]:
    """A file of annotations for each split; ``files`` are the names that it may have, ``{}`` standing for the split.

    Returns:
        The splits, notes, and with ``look`` what is missing on disk.
    """
    notes, missing = list[str](), list[str]()
    found = {split: _find(path, name, split, files) for split in ("train", "val", "test")}
    for split in ("train", "val"):
        if found[split] is None:
            raise LongtailError(
                f"{path} has no annotations of the split {split}: looked for "
                f"{brief([pattern.format(split) for pattern in files])}"
            )
    parts = {
        split: read_annotations(
            file,
            images=path,
            split=split,
            masks=masks or (None if look else False),
            broken=broken,
            notes=notes,
            shared=name == "lvis",
            missing=missing if look else None,
            bit_depth=bit_depth,
        )
        for split, file in found.items()
        if file is not None and (split != "test" or _annotated(file))
    }
    train = parts["train"]
    if not any(train.instance_counts()):
        raise LongtailError(f"{found['train']} has no usable annotation: there is nothing to train on")
    return {split: _same_categories(part, train, found[split]) for split, part in parts.items()}, notes, missing


def _overlaps(parts: Mapping[str, BoxSplit]) -> list[str]:
    """Notes on photographs that two splits share; one that is trained on is refused."""
    files = {split: set(real_paths(i["path"] for i in part.images if i["path"])) for split, part in parts.items()}
    for split in ("val", "test"):
        if split in files and (shared := files["train"] & files[split]):
            raise LongtailError(
                f"{len(shared)} photographs are in the train and in the {split} file, e.g. {min(shared)}: remove them "
                "from one"
            )
    shared = files["val"] & files.get("test", set())
    told = f"{len(shared)} photographs are in the val and in the test file: the test result is not independent"
    return [noted("LT001", told)] if shared else []


def _find(root: Path, name: str, split: str, files: Sequence[str]) -> Path | None:
    if not root.is_dir():
        raise LongtailError(f"{root} is no folder: give {name}:DIR")
    return next((f for pattern in files if (f := root / pattern.format(split)).is_file()), None)


def _annotated(file: Path) -> bool:
    """Whether a test file tells its answers; the official ones keep them."""
    return bool(read_json(file).get("annotations"))


def _same_categories(part: BoxSplit, train: BoxSplit, file: Path | None) -> BoxSplit:
    names = {category["id"]: category["name"] for category in train.categories}
    for category in part.categories:
        there = names.get(category["id"])
        if there is None or bare_name(there) != bare_name(category["name"]):  # its namesake may not be listed here
            raise LongtailError(
                f"{file}: category {category['id']} is {category['name']!r}, and the training file has "
                f"{names.get(category['id'])!r}: all splits need the same categories"
            )
    return BoxSplit(part.images, part.objects, train.categories, part.read)


def _tagged(parts: Mapping[str, BoxSplit]) -> dict[str, BoxSplit]:
    """Categories without a frequency group get theirs from the number of training images."""
    train = parts["train"]
    categories = [
        category | {"frequency": category.get("frequency") or frequency_group({"image_count": count})}
        for category, count in zip(map(dict, train.categories), train.image_counts(), strict=True)
    ]
    return {split: BoxSplit(part.images, part.objects, categories, part.read) for split, part in parts.items()}


def cut_images(labels_per_image: Sequence[Sequence[int]], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Rows that stay and rows that are held out: a random share, but never the last image of a class."""
    left: dict[int, int] = {}
    for own in labels_per_image:
        for c in set(own):
            left[c] = left.get(c, 0) + 1
    wanted, held = max(1, round(fraction * len(labels_per_image))), set()
    for row in torch.randperm(len(labels_per_image), generator=torch.Generator().manual_seed(seed)).tolist():
        own = set(labels_per_image[row])
        if len(held) < wanted and all(left[c] > 1 for c in own):
            held.add(row)
            for c in own:
                left[c] -= 1
    if not held or len(held) == len(labels_per_image):
        raise LongtailError("there are too few training images to hold some out: add images or give a test split")
    return [row for row in range(len(labels_per_image)) if row not in held], sorted(held)
