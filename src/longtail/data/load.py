"""`load_data`: from ``NAME[:PATH]`` to training, difficulty and test splits."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail import activity
from longtail.data.augment import augmented, mirrored_names
from longtail.data.base import Broken, ImageData, Split, check_broken, parse_spec
from longtail.data.clips import FRAMES, drop_broken, read_clips, series_notes
from longtail.data.counts import long_tail_counts
from longtail.data.egtea import read_egtea
from longtail.data.files import brief, read_lists
from longtail.data.folders import read_folder
from longtail.data.groups import group_numbers, group_splits
from longtail.data.moving import FEWEST, MOMENTS, MOST, WAYS, read_moving_digits
from longtail.data.photos import check_images, depth_note
from longtail.data.published import IN_MEMORY, pick_4v9, places_of, read_published
from longtail.data.record import SplitRecord, restore_splits
from longtail.data.splits import cut_groups, cut_rows, tail_rows
from longtail.data.video import frame_files
from longtail.data.walk import Passed, subfolders
from longtail.errors import LongtailError

__all__ = ["load_data"]

CHECKED_FILES, CHECKED_CLIPS = 20_000, 2_000
"""Up to so many image files and clips are checked before training; a larger set fails at the bad file."""
TEST_FRACTION, VAL_FRACTION = 0.2, 0.15


_PHOTO: dict[str, Any] = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "flip": True,
    "crop_scale": (0.35, 1.0),
    "color_jitter": 0.2,
    "center_crop": 224 / 256,
}
_CLIPS: dict[str, Any] = {
    "mean": (0.4322, 0.3947, 0.3765),  # of Kinetics
    "std": (0.2280, 0.2215, 0.2170),
    "flip": True,
    "rotation": 10.0,
    "crop_scale": (0.5, 1.0),
    "center_crop": 224 / 256,
}
_MOVING = {"mean": (0.18,), "std": (0.13,), "crop_padding": 2}
_EGTEA: dict[str, Any] = _CLIPS | {
    # As the public Kinetics weights of 3D-ResNeXt-101 were trained: pixels of 0 to 255 less their mean.
    "mean": (114.7748 / 255, 107.7354 / 255, 99.4750 / 255),
    "std": (1 / 255,) * 3,
    # A square of the whole height of 640 x 480 pixels, as the authors' code.
    "crop_scale": (0.75, 0.75),
    "center_crop": 1.0,
}
_CLIP_SETS = {"moving-digits": _MOVING, "clips": _CLIPS, "egtea": _EGTEA}
LISTS = {
    "imagenet-lt": ("ImageNet_LT_{}.txt", "ImageNet_LT", {"crop_scale": (0.08, 1.0), "color_jitter": 0.4}),
    "places-lt": ("Places_LT_{}.txt", "Places_LT", {"crop_scale": (0.08, 1.0), "color_jitter": 0.4}),
    "inat18": ("iNaturalist18_{}.txt", "iNaturalist18", {"crop_scale": (0.08, 1.0), "color_jitter": 0.0}),
}
_GROUPED = ("folder", "lists", "clips")
_OTHER_TASKS = {"coco": "detect", "lvis": "detect"}


@dataclasses.dataclass(kw_only=True)
class _Raw:
    """What a reader found, before any split is cut."""

    splits: dict[str, Split]
    class_names: list[str]
    look: Mapping[str, Any]
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def item(self) -> str:
        return self.splits["train"].item


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
    augment: str | None = None,
) -> ImageData:
    """Read a classification data set, of images or of clips, and split it.

    Splits that are missing are cut from the training part, the same way for every class: ``val`` is the difficulty
    split; without a ``test`` part the given ``val`` becomes the test split and a new difficulty split is cut; a folder
    without splits gives both. A class needs one image for each split that is cut and one for training, otherwise it
    trains as a whole and a note names it. Published sets hold out what the paper does (50 images a class of CIFAR-100,
    500 of MNIST), and only then is the training part thinned to a long tail.

    Args:
        spec: ``NAME[:PATH]``: ``digits``, ``mnist-4v9``, ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``,
            ``imagenet-lt``, ``places-lt``, ``inat18``, ``lists:DIR``, ``folder:DIR``; clips: ``moving-digits``,
            ``clips:DIR``, ``egtea:DIR``. Without PATH a named set is
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
            on its own. None: as a column ``group`` says, if there is one.
        record: The splits of a run: files are split as there and nothing is cut; what is new is left out with a note.
        bit_depth: Bits that are in use in image files of 16 bits a channel, 8 to 16; None: 16.
        augment: What training does to images, a key of `AUGMENTATIONS`; None: what the data set's own look says.

    Raises:
        LongtailError: unknown name, missing or damaged files, a class with no image, a value out of range.
    """
    activity.now(f"reading {spec}")
    name, place = parse_spec(spec)
    path = Path(place).expanduser() if place else None
    imbalance_kind, select_fraction, broken = imbalance_kind or "exp", select_fraction or 0.0, broken or "refuse"
    if protocol not in (None, "paper", "cao", "merged"):
        raise LongtailError(f"unknown protocol {protocol!r}: known are paper, cao, merged")
    if not 0 <= select_fraction < 0.5 or not (val_fraction is None or 0 < val_fraction < 0.9):
        raise LongtailError(
            f"val_fraction {val_fraction} must be in (0, 0.9) and select_fraction {select_fraction} in [0, 0.5)"
        )
    check_broken(broken)
    if frames is not None and frames < 1:
        raise LongtailError(f"frames is {frames}: a clip needs at least 1")
    if bit_depth is not None and not 8 <= bit_depth <= 16:
        raise LongtailError(f"bit_depth is {bit_depth}: it must be from 8 to 16")
    if not 0 <= data_seed < 2**32:
        raise LongtailError(f"data_seed {data_seed} must be in [0, 2**32)")
    long_tail_counts(1, 1, imbalance=1.0 if imbalance is None else imbalance, kind=imbalance_kind)
    recipe = IN_MEMORY.get(name)
    if recipe is not None:
        splits, names = read_published(name, path, download)
        raw = _Raw(splits=splits, class_names=names, look=recipe.look)
    elif name in _CLIP_SETS:
        if protocol not in (None, "paper"):
            raise LongtailError(f"the protocol {protocol} is one of {', '.join(IN_MEMORY)}, not of {name}")
        if name == "moving-digits":
            if frames not in (None, MOMENTS):
                raise LongtailError(f"{name} has clips of {MOMENTS} frames, not {frames}: leave out --frames")
            raw = _made(path, imbalance, imbalance_kind, data_seed)
            imbalance = None
        else:
            raw = _read_clips(name, path, frames or FRAMES, skip=broken == "skip")
    else:
        if protocol in ("cao", "merged"):
            raise LongtailError(f"the protocol {protocol} is one of {', '.join(IN_MEMORY)}, not of {name}")
        raw = _read_files(spec, name, path, Path(root).expanduser() if root else None, download, bit_depth)

    if path is not None and name in _GROUPED:
        raw.notes += group_splits(raw.splits, group_by, path)
    recorded = False
    if record is not None and not record.in_memory and recipe is None:
        recorded = True
        raw.splits, new = restore_splits(record, spec, raw.splits, raw.class_names)
        raw.class_names, raw.notes = list(record.class_names), raw.notes + new
        imbalance = None
    if not raw.splits["train"].in_memory and (note := depth_note(_image_files(raw.splits["train"]), bit_depth)):
        raw.notes.append(note)
    if len(raw.class_names) < 2 and not whole:
        hint = "the folder above the class folders"
        if name == "folder" and path and (path / raw.class_names[0]).is_dir():
            inside = path / raw.class_names[0]
            hint += f", {inside}" if subfolders(inside, Passed()) else ""
        raise LongtailError(f"{spec} has one class only, {raw.class_names[0]}: give {hint}")
    cuts: dict[str, int | float] = {}
    if recipe is not None:
        imbalance = recipe.imbalance if imbalance is None else imbalance
        if "test" not in raw.splits and recipe.test is not None:
            cuts["test"] = recipe.test
        if protocol != "cao":
            cuts["val"] = recipe.val if val_fraction is None else val_fraction
    elif not recorded:
        if "test" not in raw.splits and "val" in raw.splits:
            raw.splits["test"] = raw.splits.pop("val")
            raw.notes.append(
                "there is no test split: the given val split is the test split, a new val is cut from train"
            )
        if whole:
            raw.splits.setdefault("test", raw.splits["train"])
        if "test" not in raw.splits:
            cuts["test"] = TEST_FRACTION
        if "val" not in raw.splits and not whole:
            cuts["val"] = VAL_FRACTION if val_fraction is None else val_fraction
    if select_fraction and not whole and not recorded:
        cuts["select"] = select_fraction

    if val_fraction is not None and "val" not in cuts and not whole:
        why = (
            "the data have a val split of their own" if "val" in raw.splits else f"--protocol {protocol} holds none out"
        )
        raw.notes.append(f"val_fraction is not used: {why}")
    _cut(raw, cuts, data_seed)
    if name == "mnist-4v9":
        pick_4v9(raw.splits, imbalance or 1.0, data_seed)
    elif imbalance is not None:
        _thin(raw, imbalance, imbalance_kind, data_seed, balanced=recipe is not None)
    if protocol == "merged":
        raw.splits["train"] = _joined(raw.splits["train"], raw.splits.pop("val"))
    if frame_cache is not None:
        frame_cache = _made_frame_cache(name, Path(frame_cache).expanduser())
    for split in ("val", "test"):
        if split in raw.splits:
            counts = raw.splits[split].class_counts(len(raw.class_names))
            absent = [raw.class_names[c] for c, n in enumerate(counts) if n == 0]
            if absent and (split not in cuts or raw.splits["train"].groups is not None):
                raw.notes.append(f"classes without a {split} {raw.item}: {brief(absent)}")
    images = raw.splits["train"].images
    look = augmented(raw.look, augment, side=images.shape[-1] if isinstance(images, Tensor) else None)
    if look.get("flip") and augment is None and (pairs := mirrored_names(raw.class_names)):
        told = brief([f"{one} / {other}" for one, other in pairs])
        raw.notes.append(
            f"training mirrors {raw.item}s at random, and by their names a mirror image changes the class ({told}): "
            "use --augment no-flip"
        )
    return ImageData(
        name=spec,
        class_names=raw.class_names,
        notes=raw.notes,
        frame_cache=frame_cache,
        bit_depth=bit_depth,
        **{"val": None} | raw.splits,  # type: ignore[arg-type]
        **look,
    )


def _cut(raw: _Raw, cuts: Mapping[str, int | float], seed: int) -> None:
    if not cuts:
        return
    train = raw.splits["train"]
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


def _thin(raw: _Raw, imbalance: float, kind: str, seed: int, *, balanced: bool) -> None:
    """Published balanced sets: the law in label order from the smallest class; files: in the order of class size."""
    train, have = raw.splits["train"], raw.splits["train"].class_counts(len(raw.class_names))
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


def _joined(first: Split, second: Split) -> Split:
    """Two splits held in memory, one after the other."""
    images = torch.cat([first.images, second.images])  # type: ignore[list-item]
    return Split(images, torch.cat([first.labels, second.labels]))


def _read_files(
    spec: str, name: str, path: Path | None, root: Path | None, download: bool, bit_depth: int | None
) -> _Raw:
    if name not in ("folder", "lists", *LISTS):
        raise unknown_data_set(spec)
    look = dict(_PHOTO)
    if path is None and name in ("folder", "lists"):
        raise LongtailError(f"{name} needs a path: {name}:DIR")
    if name == "folder":
        splits, names, notes = read_folder(path)  # type: ignore[arg-type]
    elif name == "lists":
        splits, names, notes = read_lists(path, root=root)  # type: ignore[arg-type]
    else:
        pattern, below, own = LISTS[name]
        places = [place for place in places_of(name, path) if place.is_dir()]
        if not places:
            how = "torchvision cannot fetch it" if download else "give its folder"
            raise LongtailError(
                f"{name} was not found in {brief([str(p) for p in places_of(name, path)])}: {how}, {name}:PATH"
            )
        look |= own
        splits, names, notes = read_lists(places[0], pattern=pattern, folders=("", below, "lists"), root=root)
    if sum(map(len, splits.values())) <= CHECKED_FILES:
        check_images((str(file) for split in splits.values() for file in split.images), bit_depth=bit_depth)
    return _Raw(splits=splits, class_names=names, look=look, notes=notes)


def _made(path: Path | None, imbalance: float | None, kind: str, seed: int) -> _Raw:
    """The generated set with its long tail."""
    if path is not None:
        raise LongtailError("moving-digits are made from scikit-learn's digits: write just moving-digits")
    imbalance = MOST / FEWEST if imbalance is None else imbalance
    counts = [max(1, n) for n in long_tail_counts(MOST, len(WAYS), imbalance=imbalance, kind=kind)]
    return _Raw(splits=read_moving_digits(counts, seed=seed), class_names=list(WAYS), look=_MOVING)


def _read_clips(name: str, path: Path | None, frames: int, *, skip: bool) -> _Raw:
    if path is None:
        raise LongtailError(f"{name} needs a path: {name}:DIR")
    splits, names, notes = (read_clips if name == "clips" else read_egtea)(path, frames=frames)
    if skip or sum(map(len, splits.values())) <= CHECKED_CLIPS:
        notes += drop_broken(splits, skip=skip)
        notes += series_notes(str(path) for split in splits.values() for path in split.images)
        if empty := [names[c] for c, n in enumerate(splits["train"].class_counts(len(names))) if n == 0]:
            raise LongtailError(f"classes without a training clip that can be read: {brief(empty)}")
    return _Raw(splits=splits, class_names=names, look=_CLIP_SETS[name], notes=notes)


def _made_frame_cache(name: str, folder: Path) -> str:
    """Make the folder now: what hinders it is said before training."""
    if name not in ("clips", "egtea"):
        raise LongtailError(f"--frame-cache is for video files, and {name} has none: leave it out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LongtailError(f"the frame cache {folder} cannot be made ({error.strerror})") from None
    return str(folder)


def unknown_data_set(spec: str) -> LongtailError:
    """What to say of a name that is none of ours."""
    name, _ = parse_spec(spec)
    if name in _OTHER_TASKS:
        return LongtailError(f"{name} is no data set of labelled images: use it with --task {_OTHER_TASKS[name]}")
    known = [*IN_MEMORY, "moving-digits", *LISTS, "lists:DIR", "folder:DIR", "clips:DIR", "egtea:DIR"]
    if Path(spec).expanduser().is_dir():
        return LongtailError(
            f"unknown data set {spec!r}: for a folder of images write folder:{spec}, for one of clips clips:{spec}"
        )
    close = difflib.get_close_matches(name, [k.partition(":")[0] for k in known], n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return LongtailError(f"unknown data set {name!r}: {hint}known are {', '.join(known)}")
