"""`load_data`: from ``NAME[:PATH]`` to training, difficulty and test splits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from longtail import activity
from longtail.advice import noted
from longtail.data.augment import AUGMENTATIONS, augmented, check_augmentations, mirrored_names
from longtail.data.base import Broken, ImageData, Split, check_broken, joined
from longtail.data.catalogue import CATALOGUE, Entry, find_entry, imported, place_of
from longtail.data.clips import drop_broken, series_notes
from longtail.data.copies import Near
from longtail.data.counts import long_tail_counts
from longtail.data.groups import group_numbers, group_splits, series_note
from longtail.data.photos import check_images, depth_note
from longtail.data.record import SplitRecord, known_samples, restore_splits
from longtail.data.splits import TEST_FRACTION, VAL_FRACTION, cut_groups, cut_rows, tail_rows
from longtail.data.video import frame_files
from longtail.data.walk import Passed, subfolders
from longtail.errors import LongtailError
from longtail.names import brief

__all__ = ["load_data"]

CHECKED_FILES, CHECKED_CLIPS = 20_000, 2_000
"""Up to so many image files and clips are checked before training; a larger set fails at the bad file."""
PROTOCOLS = ("paper", "cao", "merged")


@dataclasses.dataclass(kw_only=True)
class _Raw:
    """What a reader found, and what becomes of it."""

    entry: Entry
    splits: dict[str, Split]
    class_names: list[str]
    notes: list[str]
    cuts: dict[str, int | float] = dataclasses.field(default_factory=dict)
    """The splits that are cut from train, with the images of each class or their share."""

    @property
    def item(self) -> str:
        return self.splits["train"].item

    @property
    def published(self) -> bool:
        """Whether the set is balanced and holds out what the paper does."""
        return bool(self.entry.held_out)


def load_data(
    spec: str,
    *,
    imbalance: float | None = None,
    imbalance_kind: str | None = None,
    protocol: str | None = None,
    data_seed: int = 0,
    val_fraction: float | None = None,
    select_fraction: float | None = None,
    download: bool = False,
    root: str | Path | None = None,
    whole: bool = False,
    frames: int | None = None,
    broken: Broken | None = None,
    frame_cache: str | Path | None = None,
    group_by: str | None = None,
    record: SplitRecord | None = None,
    bit_depth: int | None = None,
    augment: str | Sequence[str] | None = None,
    columns: Sequence[str] = (),
    near: Near | None = None,
) -> ImageData:
    """Read a classification data set, of images or of clips, and split it.

    Splits that are missing are cut from the training part, the same way for every class: ``val`` is the difficulty
    split; without a ``test`` part the given ``val`` becomes the test split and a new difficulty split is cut; a folder
    without splits gives both. A class needs one image for each split that is cut and one for training, otherwise it
    trains as a whole and a note names it. Published sets hold out what the paper does (50 images per class of
    CIFAR-100, 500 of MNIST), and only then is the training part thinned to a long tail.

    Args:
        spec: ``NAME[:PATH]``, an entry of `longtail.data.catalogue` that has no boxes. Without PATH a published set is
            looked for in ``$LONGTAIL_DATA/NAME``, then in ``~/.cache/longtail/NAME``.
        imbalance: Largest training class over smallest, at least 1. None: the default of a published set (100; digits
            20; mnist-4v9 99), and files as they are. Files are thinned in the order of their class sizes, and no class
            grows or vanishes.
        imbalance_kind: ``exp`` (also None) or ``step``, see `long_tail_counts`.
        protocol: ``paper`` (the default of the published sets), ``cao`` (all training images, no held-out split), or
            ``merged`` (those of ``paper``, held-out images too, in one training split).
        data_seed: Picks the images of each split and of the long tail, never their number.
        val_fraction: Share of each class in the training part that a new difficulty split takes (files: 0.15).
        select_fraction: Share likewise for a separate model-selection split; None or 0: none.
        download: Fetch a missing set with torchvision.
        root: Folder of the images for list files; default: beside the lists.
        whole: For judging alone: nothing is cut from files, and without a split of their own all of them are ``test``.
        frames: Frames that stand for a clip on disk; None: 10.
        broken: Clips that cannot be read: ``refuse`` them (also None), or ``skip`` them, with a note for each.
        frame_cache: Folder that keeps decoded frames of video files; None: none.
        group_by: Files that no cut may part: a regular expression on their paths, see `group_splits`; ``none``: each is
            on its own. None and ``auto``: as a column ``group`` says; where there is none, near copies, if ``near``
            finds them.
        record: The splits of a run: files are split as there and nothing is cut; what is new is left out with a note.
        bit_depth: Bits that are in use in image files of 16 bits a channel, 8 to 16; None: 16.
        augment: What training does to images, keys of `AUGMENTATIONS`; None: what the data set's own look says.
        columns: Names of the columns of a table, as ``ROLE=NAME`` (``file=id``, ``label=breed``, ``split``, ``group``).
        near: Finds near copies among files; notes count them and name those in two splits or classes. None: nobody
            looks.

    Raises:
        LongtailError: unknown name, missing or damaged files, a class with no image, a value out of range.
    """
    activity.now(f"reading {spec}")
    imbalance_kind, select_fraction = imbalance_kind or "exp", select_fraction or 0.0
    _check_values(protocol, val_fraction, select_fraction, frames, broken, bit_depth, data_seed)
    long_tail_counts(1, 1, imbalance=1.0 if imbalance is None else imbalance, kind=imbalance_kind)
    entry = find_entry(spec)
    if protocol in PROTOCOLS[1:] and not entry.held_out:
        sets = ", ".join(name for name, other in CATALOGUE.items() if other.held_out)
        raise LongtailError(f"the protocol {protocol} is one of {sets}, not of {entry.name}")
    imbalance = entry.imbalance if imbalance is None else imbalance
    path, options = (
        place_of(spec, entry),
        {
            "imbalance": imbalance,
            "imbalance_kind": imbalance_kind,
            "data_seed": data_seed,
            "download": download,
            "root": Path(root).expanduser() if root else None,
            "frames": frames or entry.frames,
            "columns": columns,
        },
    )
    raw = _read(spec, entry, path, options)
    own_val = {"val", "test"} <= set(raw.splits)  # otherwise val is cut, also where a val split is the test split
    _check(raw, skip=broken == "skip", bit_depth=bit_depth)
    record = None if record is None or record.in_memory or raw.published else record
    copies = None
    if near is not None and not raw.splits["train"].in_memory:
        copies = near(raw.splits if record is None else known_samples(record, spec, raw.splits))
    if raw.splits["train"].are_vectors and group_by not in (None, "none"):
        raise LongtailError(
            f"--group-by {group_by!r} looks at files, and {spec} holds rows: give them in group, or none"
        )
    if record is not None and copies is None and group_by == "auto":
        group_by = None  # nothing is cut
    by_near = copies is not None and group_by in (None, "auto") and raw.splits["train"].groups is None
    if path is not None and ("group_by" in entry.options or raw.splits["train"].groups is not None):
        raw.notes += group_splits(raw.splits, group_by, path, near=copies)
    if record is not None:
        raw.splits, new = restore_splits(record, spec, raw.splits, raw.class_names)
        raw.class_names, raw.notes = list(record.class_names), raw.notes + new
    train = raw.splits["train"]
    if not train.in_memory and (note := depth_note(_image_files(train), bit_depth, train.source)):
        raw.notes.append(note)
    if len(raw.class_names) < 2 and not whole:
        raise _one_class(spec, path, raw)
    if record is None:
        _choose_cuts(raw, protocol, val_fraction, select_fraction, whole=whole)
    if val_fraction is not None and "val" not in raw.cuts and not whole:
        own = "val" in raw.splits
        why = "the data have a val split of their own" if own else f"--protocol {protocol} holds none out"
        raw.notes.append(f"val_fraction is not used: {why}")
    if (
        raw.cuts
        and path is not None
        and group_by is None
        and copies is None
        and train.in_files
        and train.groups is None
    ):
        raw.notes += filter(None, [series_note(train, path)])
    try:
        _cut(raw, data_seed)
    except LongtailError:
        if not by_near or group_by is not None:  # the groups were asked for
            raise
        by_near = False
        raw.splits["train"] = dataclasses.replace(raw.splits["train"], groups=None)
        raw.notes.append(
            "near copies are not kept together: every class would be too small to be split, so that held-out results "
            "may be too good; give the splits, or --group-by auto to be refused"
        )
        _cut(raw, data_seed)
    if copies is not None:
        raw.notes += copies.notes(raw.splits, raw.class_names, kept=by_near)
    unused: Sequence[str] = ()
    if imbalance is not None and record is None and "imbalance" not in entry.reads:
        before = raw.splits["train"]
        _thin(raw, imbalance, imbalance_kind, data_seed)
        if not before.in_memory:
            kept = set(map(str, raw.splits["train"].images))
            unused = [file for file in map(str, before.images) if file not in kept]
    if protocol == "merged":
        raw.splits["train"] = joined(raw.splits["train"], raw.splits.pop("val"))
    _note_absent(raw)
    splits: dict[str, Any] = {"val": None} | raw.splits
    return ImageData(
        name=spec,
        class_names=raw.class_names,
        notes=raw.notes,
        own_val=own_val,
        unused=unused,
        frame_cache=None if frame_cache is None else _made_frame_cache(entry, Path(frame_cache).expanduser()),
        bit_depth=bit_depth,
        **_look(raw, augment),
        **splits,
    )


def _check_values(
    protocol: str | None,
    val_fraction: float | None,
    select_fraction: float,
    frames: int | None,
    broken: str | None,
    bit_depth: int | None,
    data_seed: int,
) -> None:
    if protocol not in (None, *PROTOCOLS):
        raise LongtailError(f"unknown protocol {protocol!r}: known are {', '.join(PROTOCOLS)}")
    if not 0 <= select_fraction < 0.5 or not (val_fraction is None or 0 < val_fraction < 0.9):
        raise LongtailError(
            f"val_fraction {val_fraction} must be in (0, 0.9) and select_fraction {select_fraction} in [0, 0.5)"
        )
    check_broken(broken or "refuse")
    if frames is not None and frames < 1:
        raise LongtailError(f"frames is {frames}: a clip needs at least 1")
    if bit_depth is not None and not 8 <= bit_depth <= 16:
        raise LongtailError(f"bit_depth is {bit_depth}: it must be from 8 to 16")
    if not 0 <= data_seed < 2**32:
        raise LongtailError(f"data_seed {data_seed} must be in [0, 2**32)")


def _read(spec: str, entry: Entry, path: Path | None, options: Mapping[str, Any]) -> _Raw:
    if entry.boxes:
        raise LongtailError(f"{entry.name} is no data set of labelled images: use it with --task {entry.task}")
    own = {name: options[name] for name in entry.reads} | dict(entry.arguments)
    splits, names, notes = imported(entry.reader)(path, **own)
    return _Raw(entry=entry, splits=dict(splits), class_names=list(names), notes=list(notes))


def _check(raw: _Raw, *, skip: bool, bit_depth: int | None) -> None:
    """Look at the files before anything is trained, and leave broken clips out where that is asked for."""
    splits, names, total = raw.splits, raw.class_names, sum(map(len, raw.splits.values()))
    if splits["train"].in_memory:
        return
    if not splits["train"].frames:
        if total <= CHECKED_FILES:
            files = (str(file) for split in splits.values() for file in split.images)
            check_images(files, bit_depth=bit_depth, source=splits["train"].source)
        return
    if skip or total <= CHECKED_CLIPS:
        raw.notes += drop_broken(splits, skip=skip)
        raw.notes += series_notes(str(path) for split in splits.values() for path in split.images)
        if empty := [names[c] for c, n in enumerate(splits["train"].class_counts(len(names))) if n == 0]:
            raise LongtailError(f"classes without a training clip that can be read: {brief(empty)}")


def _one_class(spec: str, path: Path | None, raw: _Raw) -> LongtailError:
    hint = "the folder above the class folders"
    if raw.entry.name == "folder" and path and (inside := path / raw.class_names[0]).is_dir():
        hint += f", {inside}" if subfolders(inside, Passed()) else ""
    return LongtailError(f"{spec} has one class only, {raw.class_names[0]}: give {hint}")


def _choose_cuts(
    raw: _Raw, protocol: str | None, val_fraction: float | None, select_fraction: float, *, whole: bool
) -> None:
    """Which splits are cut from train, in the order of precedence."""
    splits, cuts = raw.splits, raw.cuts
    if raw.published:
        held_out = raw.entry.held_out
        if "test" not in splits and "test" in held_out:
            cuts["test"] = held_out["test"]
        if protocol != "cao":
            cuts["val"] = held_out["val"] if val_fraction is None else val_fraction
    else:
        if "test" not in splits and "val" in splits:
            splits["test"] = splits.pop("val")
            raw.notes.append(
                "there is no test split: the given val split is the test split, a new val is cut from train"
            )
        if whole:
            splits.setdefault("test", splits["train"])
        if "test" not in splits:
            cuts["test"] = TEST_FRACTION
        if "val" not in splits and not whole:
            cuts["val"] = VAL_FRACTION if val_fraction is None else val_fraction
    if select_fraction and not whole:
        cuts["select"] = select_fraction


def _cut(raw: _Raw, seed: int) -> None:
    cuts, train = raw.cuts, raw.splits["train"]
    if not cuts:
        return
    groups, units = group_numbers(train), f"{raw.item}s"
    if groups is None:
        rows, whole = cut_rows(train.labels, len(raw.class_names), cuts, seed)
    else:
        units = "groups"
        rows, whole = cut_groups(train.labels, groups, len(raw.class_names), cuts, seed)
    if any(len(own) == 0 for own in rows.values()):
        raise LongtailError(
            f"no class has the {len(cuts) + 1} {units} that it takes to split off {' and '.join(cuts)}: "
            f"add {raw.item}s or give the splits"
        )
    if groups is not None:
        raw.notes += _uneven(train, rows, cuts)
    raw.splits |= {split: train.subset(own) for split, own in rows.items()}
    if whole:
        names = brief([raw.class_names[c] for c in whole])
        raw.notes.append(
            f"{len(whole)} classes with fewer than {len(cuts) + 1} {units} are too small to be split and only "
            f"train (no {' or '.join(cuts)} {raw.item}): {names}"
        )


def _uneven(train: Split, rows: Mapping[str, Tensor], cuts: Mapping[str, int | float]) -> list[str]:
    """What groups make of the cuts: shares far from the wanted ones."""
    notes = []
    for split, amount in cuts.items():
        share = len(rows[split]) / len(train)
        if isinstance(amount, float) and not 2 / 3 * amount <= share <= 1.5 * amount:
            notes.append(
                f"{split} has {len(rows[split])} of {len(train)} {train.item}s ({share:.0%} in place of {amount:.0%}): "
                "groups stay together"
            )
    return notes


def _thin(raw: _Raw, imbalance: float, kind: str, seed: int) -> None:
    """Published balanced sets: the law in label order from the smallest class; files: in the order of class size."""
    if raw.entry.pick:
        imported(raw.entry.pick)(raw.splits, imbalance, seed)
        return
    balanced, train = raw.published, raw.splits["train"]
    have = train.class_counts(len(raw.class_names))
    law = long_tail_counts(min(have) if balanced else max(have), len(have), imbalance=imbalance, kind=kind)
    order = range(len(have)) if balanced else sorted(range(len(have)), key=lambda c: -have[c])
    wanted = [0] * len(have)
    for c, n in zip(order, law, strict=True):
        wanted[c] = max(1, min(n, have[c]))
    raw.splits["train"] = train.subset(tail_rows(train.labels, wanted, seed))
    got = max(wanted) / min(wanted)
    if abs(got - imbalance) > 0.2 * imbalance:
        raw.notes.append(
            f"the training imbalance is {got:.3g}, not the {imbalance:g} asked for: there are too few images"
        )


def _image_files(split: Split) -> list[str]:
    """The image files of a split, of clips the first frame of each of some folders."""
    paths = [str(path) for path in split.images]
    if not split.frames:
        return paths
    some = paths[:: max(1, len(paths) // 32)]
    return [files[0] for path in some if os.path.isdir(path) and (files := frame_files(path))]


def _note_absent(raw: _Raw) -> None:
    for split in ("val", "test"):
        if split in raw.splits:
            counts = raw.splits[split].class_counts(len(raw.class_names))
            absent = [raw.class_names[c] for c, n in enumerate(counts) if n == 0]
            if absent and (split not in raw.cuts or raw.splits["train"].groups is not None):
                told = f"classes without a {split} {raw.item}: {brief(absent)}"
                raw.notes.append(noted("LT006" if split == "val" else "LT008", told))


def _look(raw: _Raw, augment: str | Sequence[str] | None) -> Mapping[str, Any]:
    """Fields of `ImageData`, and a note where a mirror image would be another class."""
    images = raw.splits["train"].images
    look = augmented(raw.entry.look, augment, side=images.shape[-1] if isinstance(images, Tensor) else None)
    own = all("own" in AUGMENTATIONS[name] for name in check_augmentations(augment))
    if look.get("flip") and own and (pairs := mirrored_names(raw.class_names)):
        told = brief([f"{one} / {other}" for one, other in pairs])
        told = f"training mirrors {raw.item}s at random, and by their names a mirror image changes the class ({told})"
        raw.notes.append(noted("LT004", told))
    return look


def _made_frame_cache(entry: Entry, folder: Path) -> str:
    """Make the folder now: what hinders it is said before training."""
    if "frame_cache" not in entry.options:
        raise LongtailError(f"--frame-cache is for video files, and {entry.name} has none: leave it out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LongtailError(f"the frame cache {folder} cannot be made ({error.strerror})") from None
    return str(folder)
