"""Detection data sets by name: read from whatever files, and split."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail import activity
from longtail.advice import noted
from longtail.data.annotations import CHECKED_FILES, Entries, clean, read_annotations
from longtail.data.base import Broken, Split, check_broken
from longtail.data.boxes import BoxData, BoxSplit
from longtail.data.catalogue import find_entry, imported, known, place_of
from longtail.data.coco_files import looks_like_coco
from longtail.data.groups import group_numbers, group_splits
from longtail.data.labelme import looks_like_labelme
from longtail.data.layout import SPLIT_NAMES, folder_of
from longtail.data.photos import check_images, depth_note
from longtail.data.record import SplitRecord, restore_boxes
from longtail.data.splits import TEST_FRACTION, VAL_FRACTION, cut_many_labels
from longtail.data.voc import looks_like_voc
from longtail.data.walk import real_paths
from longtail.data.yolo import looks_like_yolo
from longtail.errors import LongtailError
from longtail.metrics.detection import frequency_group
from longtail.names import bare_name, brief

__all__ = ["load_boxes", "read_annotated", "read_annotations"]

_LOOKS = {"coco": looks_like_coco, "yolo": looks_like_yolo, "voc": looks_like_voc, "labelme": looks_like_labelme}


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
    group_by: str | None = None,
    whole: bool = False,
) -> BoxData:
    """Read a detection data set and split it.

    ``coco:DIR`` and ``lvis:DIR`` know the plain layout (``instances_train.json``, ``instances_val.json``,
    ``images/train``, ``images/val``; a ``test`` likewise) and those of the official downloads (``annotations``,
    ``train2017``, ``val2017``, ``lvis_v1_train.json``, ``lvis_v0.5_train.json``). ``coco:DIR`` also reads a JSON inside
    of each split's folder, and one JSON for all (``coco:FILE``, too). ``yolo:DIR_OR_YAML``, ``voc:DIR`` and
    ``labelme:DIR`` read what label tools write, see `find_yolo`, `find_voc` and `find_labelme`.

    Without a ``test`` part the given ``val`` is the test split, and a difficulty split is cut from the training images,
    at random but never with the last training image of a category. Where nothing is split both are cut, each category
    in its share as nearly as it goes. ``shapes-lt`` is drawn in memory.

    Args:
        spec: ``coco:DIR``, ``lvis:DIR``, ``yolo:DIR_OR_YAML``, ``voc:DIR``, ``labelme:DIR`` or ``shapes-lt``.
        data_seed: Picks the images of the difficulty split.
        val_fraction: Share of the training images for it; None: 0.15.
        masks: Whether masks are wanted.
        broken: Annotations, and images that are not of the size that the file tells: ``skip`` them (the notes name
            them), or ``refuse`` them.
        look: The data are only looked at: masks are kept where they can be used, and what is missing on disk is told by
            ``missing`` of the result instead of an error.
        record: The splits of a run: images are split as there, and what is new is left out with a note.
        bit_depth: Bits that are in use in photographs of 16 bits a channel; None: 16.
        group_by: Photographs that no cut may part, see `group_splits`; None: each is on its own.
        whole: For judging alone: where nothing is split, all images are in every split.

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
    place = place_of(spec, entry)
    found = imported(entry.reader)(place, **asked)
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
    if {"test", "val"} <= set(parts) and val_fraction is not None:
        notes.append("val_fraction is not used: the data have a val split of their own")
    groups = _groups(parts, group_by, place, notes)
    unsplit, moved = set(parts) == {"train"}, "test" not in parts and "val" in parts
    if moved:
        parts["test"] = parts.pop("val")
        if record is None or record.in_memory:
            notes.append("there is no test split: the given val split is the test split, a new val is cut from train")
    if record is not None and not record.in_memory:
        parts, new = restore_boxes(record, spec, parts)
        notes += new
    elif unsplit and whole:
        parts = dict.fromkeys(SPLIT_NAMES, train)
    elif unsplit:
        parts, told = _cut(train, {"test": TEST_FRACTION, "val": val_fraction or VAL_FRACTION}, data_seed, groups, spec)
        notes += told
    elif "val" not in parts and groups is not None:
        cut, told = _cut(train, {"val": val_fraction or VAL_FRACTION}, data_seed, groups, spec)
        parts, notes = parts | cut, notes + told
    elif "val" not in parts:
        if not moved:
            notes.append("there is no val split: it is cut from train")
        rows = cut_images(train.labels_per_image(), val_fraction or VAL_FRACTION, data_seed, spec)
        parts["train"], parts["val"] = (train.subset(own) for own in rows)
    absent = [train.categories[c]["name"] for c, n in enumerate(parts["train"].image_counts()) if n == 0]
    if absent:
        notes.append(f"{len(absent)} categories without a training image: {brief(absent)}")
    rules = "lvis" if entry.name == "lvis" else "coco"
    splits = _tagged(parts)
    train, val, test = (splits[split] for split in ("train", "val", "test"))
    return BoxData(name=spec, train=train, val=val, test=test, rules=rules, notes=notes, missing=missing)


def read_annotated(
    path: Path,
    *,
    name: str,
    source: str,
    masks: bool,
    broken: Broken,
    look: bool,
    bit_depth: int | None,
    **arguments: Any,
) -> tuple[dict[str, BoxSplit], list[str], list[str]]:
    """Photographs with annotations, by whatever tool.

    Args:
        path: The data set.
        name: Of its entry in the catalogue.
        source: ``module:function`` that finds the annotations: called with the path and ``arguments``, it returns a
            function for each split that reads its `Entries`.
        masks, broken, look, bit_depth: As in `load_boxes`.
        arguments: Further keywords of the source.

    Returns:
        The splits, notes, and with ``look`` what is missing on disk.
    """
    notes, missing = list[str](), list[str]()
    files, parts = dict[str, Path](), dict[str, BoxSplit]()
    for split, read in _sources(path, name, imported(source), arguments).items():
        entries = read()
        if split == "test" and not entries.content.get("annotations"):
            continue  # the official ones keep their answers
        if masks and split == "train":
            _need_masks(entries)
        files[split] = entries.file
        parts[split] = clean(
            entries,
            masks=masks or (None if look else False),
            broken=broken,
            notes=notes,
            shared=name == "lvis",
            missing=missing if look else None,
            bit_depth=bit_depth,
        )
        del entries  # large
    train = parts["train"]
    if not any(train.instance_counts()):
        raise LongtailError(f"{files['train']} has no usable annotation: there is nothing to train on")
    parts = {split: _same_categories(part, train, files[split]) for split, part in parts.items()}
    parts, headings = _without_headings(parts)
    return parts, notes + headings, missing


def _overlaps(parts: Mapping[str, BoxSplit]) -> list[str]:
    """Notes on photographs that two splits share; one that is trained on is refused."""
    files = {split: set(real_paths(i["path"] for i in part.images if i["path"])) for split, part in parts.items()}
    for split in ("val", "test"):
        if split in files and (shared := files["train"] & files[split]):
            raise LongtailError(
                f"{len(shared)} photographs are in the train and in the {split} file, e.g. {min(shared)}: remove them "
                "from one"
            )
    shared = files.get("val", set()) & files.get("test", set())
    told = f"{len(shared)} photographs are in the val and in the test file: the test result is not independent"
    return [noted("LT001", told)] if shared else []


def _sources(path: Path, name: str, find: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of each split, read when asked for.

    Raises:
        LongtailError: there are none; it says whose the folder looks like.
    """
    try:
        return find(path, **arguments)
    except LongtailError as error:
        if name in _LOOKS and path.is_dir() and not _LOOKS[name](path):
            other = next((other for other, like in _LOOKS.items() if like(path)), None)
            if other:
                raise LongtailError(f"{error}; this looks like what {other}:{path} reads") from None
        raise


def _need_masks(entries: Entries) -> None:
    own = entries.content.get("annotations")
    if isinstance(own, list) and own and not any(isinstance(a, Mapping) and a.get("segmentation") for a in own):
        raise LongtailError(f"{entries.file} has boxes and no masks: use --task detect")


def _without_headings(parts: Mapping[str, BoxSplit]) -> tuple[dict[str, BoxSplit], list[str]]:
    """The splits without categories that only name a group of others, and a note on those."""
    used = {entry["category_id"] for part in parts.values() for own in part.objects for entry in own}
    unused = [c["name"] for c in parts["train"].categories if c.get("heading") and c["id"] not in used]
    kept = [
        {key: value for key, value in c.items() if key != "heading"}
        for c in parts["train"].categories
        if c["name"] not in unused
    ]
    told = f"categories that only name a group of others, and of which nothing is, are left out: {brief(unused)}"
    return {s: BoxSplit(p.images, p.objects, kept, p.read) for s, p in parts.items()}, [told] if unused else []


def _groups(parts: Mapping[str, BoxSplit], group_by: str | None, place: Path | None, notes: list[str]) -> Tensor | None:
    """The group of each training image, int64 ``[N]``; None: each is on its own."""
    if group_by is None or place is None:
        return None
    files = {s: Split([i["path"] for i in p.images], torch.zeros(len(p), dtype=torch.int64)) for s, p in parts.items()}
    notes += group_splits(files, group_by, folder_of(place))
    return group_numbers(files["train"])


def _cut(
    train: BoxSplit, cuts: Mapping[str, float], seed: int, groups: Tensor | None, name: str
) -> tuple[dict[str, BoxSplit], list[str]]:
    """Splits cut from the training images, and notes on them."""
    names = [category["name"] for category in train.categories]
    rows, whole = cut_many_labels(train.labels_per_image(), len(names), cuts, seed, groups)
    units, wanted = "images" if groups is None else "groups", " and ".join(cuts)
    if any(not own for own in rows.values()):
        raise LongtailError(
            f"{name} has no category with the {len(cuts) + 1} {units} that it takes to split off {wanted}: add images "
            "or give the splits"
        )
    notes = [f"{wanted} {'are' if len(cuts) > 1 else 'is'} cut from the training images, seed {seed}"]
    if whole:
        few = brief([names[c] for c in whole])
        notes.append(
            f"{len(whole)} categories in fewer than {len(cuts) + 1} {units} are too small to be split: their {units} "
            f"only train: {few}"
        )
    return {split: train.subset(own) for split, own in rows.items()}, notes


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


def cut_images(
    labels_per_image: Sequence[Sequence[int]], fraction: float, seed: int, name: str = "the data set"
) -> tuple[list[int], list[int]]:
    """Rows that stay and rows that are held out: a random share, but never the last image of a class."""
    left: dict[int, int] = {}
    for own in labels_per_image:
        for c in set(own):
            left[c] = left.get(c, 0) + 1
    wanted, held = max(1, round(fraction * len(labels_per_image))), set()
    order = torch.randperm(len(labels_per_image), generator=torch.Generator().manual_seed(seed)).tolist()
    for row in order:
        own = set(labels_per_image[row])
        if len(held) < wanted and all(left[c] > 1 for c in own):
            held.add(row)
            for c in own:
                left[c] -= 1
    if held and not any(labels_per_image[row] for row in held):  # nothing to measure a difficulty on
        shown = (row for row in order if labels_per_image[row] and all(left[c] > 1 for c in labels_per_image[row]))
        held |= set(itertools.islice(shown, 1))
    if not held or len(held) == len(labels_per_image):
        raise LongtailError(f"{name} has too few training images to hold some out: add images or give a test split")
    return [row for row in range(len(labels_per_image)) if row not in held], sorted(held)
