"""`load_data`: from ``NAME[:PATH]`` to training, difficulty and test splits."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from longtail.data.arrays import read_cifar, read_digits, read_idx_pair
from longtail.data.base import ImageData, Split
from longtail.data.clips import FRAMES, drop_broken, read_clips
from longtail.data.counts import long_tail_counts
from longtail.data.egtea import read_egtea
from longtail.data.files import brief, read_folder, read_lists
from longtail.data.moving import FEWEST, MOMENTS, MOST, WAYS, read_moving_digits
from longtail.data.photos import check_images
from longtail.data.splits import cut_rows, tail_rows
from longtail.errors import LongtailError

__all__ = ["load_data"]

CHECKED_FILES, CHECKED_CLIPS = 20_000, 2_000
"""Up to so many image files and clips are checked before training; a larger set fails at the bad file."""
TEST_FRACTION, VAL_FRACTION = 0.2, 0.15


@dataclasses.dataclass(frozen=True, kw_only=True)
class _InMemory:
    """Recipe of a published data set: look, default long tail, and images a class that are held out."""

    look: Mapping[str, Any]
    val: int
    imbalance: float = 100.0
    test: int | None = None
    torchvision: str = ""


_GREY = {"mean": (0.1307,), "std": (0.3081,)}
_IN_MEMORY = {
    "digits": _InMemory(look={"mean": (0.3066,), "std": (0.3767,), "crop_padding": 1}, val=20, test=40, imbalance=20.0),
    "mnist": _InMemory(look=_GREY, val=500, torchvision="MNIST"),
    # Not standardised: chosen on validation data, see docs/decisions.md.
    "mnist-4v9": _InMemory(look={"mean": (0.0,), "std": (1.0,)}, val=500, imbalance=99.0, torchvision="MNIST"),
    "fashion-mnist": _InMemory(
        look={"mean": (0.2860,), "std": (0.3530,), "crop_padding": 2, "flip": True}, val=500, torchvision="FashionMNIST"
    ),
    "cifar10": _InMemory(
        look={"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616), "crop_padding": 4, "flip": True},
        val=500,
        torchvision="CIFAR10",
    ),
    "cifar100": _InMemory(
        look={"mean": (0.5071, 0.4866, 0.4409), "std": (0.2673, 0.2564, 0.2762), "crop_padding": 4, "flip": True},
        val=50,
        torchvision="CIFAR100",
    ),
}
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
_LISTS = {
    "imagenet-lt": ("ImageNet_LT_{}.txt", "ImageNet_LT", {"crop_scale": (0.08, 1.0), "color_jitter": 0.4}),
    "places-lt": ("Places_LT_{}.txt", "Places_LT", {"crop_scale": (0.08, 1.0), "color_jitter": 0.4}),
    "inat18": ("iNaturalist18_{}.txt", "iNaturalist18", {"crop_scale": (0.08, 1.0), "color_jitter": 0.0}),
}
_OTHER_TASKS = {"coco": "detect", "lvis": "detect"}
_FASHION = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]


@dataclasses.dataclass(kw_only=True)
class _Raw:
    """What a reader found, before any split is cut."""

    splits: dict[str, Split]
    class_names: list[str]
    look: Mapping[str, Any]
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def item(self) -> str:
        return "clip" if self.splits["train"].frames else "image"


def load_data(
    spec: str,
    *,
    imbalance: float | None = None,
    imbalance_kind: str = "exp",
    protocol: str | None = None,
    data_seed: int = 0,
    val_fraction: float | None = None,
    select_fraction: float = 0.0,
    download: bool = False,
    root: str | Path | None = None,
    whole: bool = False,
    frames: int | None = None,
    broken: str = "refuse",
    frame_cache: str | Path | None = None,
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
        imbalance_kind: ``exp`` or ``step``, see `long_tail_counts`.
        protocol: ``paper`` (the default of the published sets), ``cao`` (all training images, no held-out split), or
            ``merged`` (those of ``paper``, held-out images too, in one training split).
        data_seed: Picks the images of each split and of the long tail, never their number.
        val_fraction: Share of each class in the training part that a new difficulty split takes (files: 0.15).
        select_fraction: Share likewise for a separate model-selection split; 0: none.
        download: Fetch a missing set with torchvision.
        root: Folder of the images for list files; default: beside the lists.
        whole: For judging alone: nothing is cut from files, and without a split of their own all of them are ``test``.
        frames: Frames that stand for a clip on disk; None: 10.
        broken: Clips that cannot be read: ``refuse`` them, or ``skip`` them, with a note for each.
        frame_cache: Folder that keeps decoded frames of video files; None: none.

    Raises:
        LongtailError: unknown name, missing or damaged files, a class with no image, a value out of range.
    """
    name, _, place = spec.strip().partition(":")
    name = name.lower()
    path = Path(place).expanduser() if place else None
    if protocol not in (None, "paper", "cao", "merged"):
        raise LongtailError(f"unknown protocol {protocol!r}: known are paper, cao, merged")
    if not 0 <= select_fraction < 0.5 or not (val_fraction is None or 0 < val_fraction < 0.9):
        raise LongtailError(
            f"val_fraction {val_fraction} must be in (0, 0.9) and select_fraction {select_fraction} in [0, 0.5)"
        )
    if broken not in ("refuse", "skip"):
        raise LongtailError(f"broken is {broken!r}: it must be refuse or skip")
    if frames is not None and frames < 1:
        raise LongtailError(f"frames is {frames}: a clip needs at least 1")
    if not 0 <= data_seed < 2**32:
        raise LongtailError(f"data_seed {data_seed} must be in [0, 2**32)")
    long_tail_counts(1, 1, imbalance=1.0 if imbalance is None else imbalance, kind=imbalance_kind)
    recipe = _IN_MEMORY.get(name)
    if recipe is not None:
        raw = _read_in_memory(name, path, download)
    elif name in _CLIP_SETS:
        if protocol not in (None, "paper"):
            raise LongtailError(f"the protocol {protocol} is one of {', '.join(_IN_MEMORY)}, not of {name}")
        if name == "moving-digits":
            if frames not in (None, MOMENTS):
                raise LongtailError(f"{name} has clips of {MOMENTS} frames, not {frames}: leave out --frames")
            raw = _made(path, imbalance, imbalance_kind, data_seed)
            imbalance = None
        else:
            raw = _read_clips(name, path, frames or FRAMES, skip=broken == "skip")
    else:
        if protocol in ("cao", "merged"):
            raise LongtailError(f"the protocol {protocol} is one of {', '.join(_IN_MEMORY)}, not of {name}")
        raw = _read_files(spec, name, path, Path(root).expanduser() if root else None, download)

    if len(raw.class_names) < 2 and not whole:
        raise LongtailError(f"{spec} has one class only, {raw.class_names[0]}: give the folder above the class folders")
    cuts: dict[str, int | float] = {}
    if recipe is not None:
        imbalance = recipe.imbalance if imbalance is None else imbalance
        if "test" not in raw.splits and recipe.test is not None:
            cuts["test"] = recipe.test
        if protocol != "cao":
            cuts["val"] = recipe.val if val_fraction is None else val_fraction
    else:
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
    if select_fraction and not whole:
        cuts["select"] = select_fraction

    _cut(raw, cuts, data_seed)
    if name == "mnist-4v9":
        _pick_4v9(raw, imbalance or 1.0, data_seed)
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
            if absent and split not in cuts:
                raw.notes.append(f"classes without a {split} {raw.item}: {brief(absent)}")
    return ImageData(
        name=spec,
        class_names=raw.class_names,
        notes=raw.notes,
        frame_cache=frame_cache,
        **{"val": None} | raw.splits,  # type: ignore[arg-type]
        **raw.look,
    )


def _cut(raw: _Raw, cuts: Mapping[str, int | float], seed: int) -> None:
    if not cuts:
        return
    train = raw.splits["train"]
    rows, whole = cut_rows(train.labels, len(raw.class_names), cuts, seed)
    if any(len(own) == 0 for own in rows.values()):
        raise LongtailError(
            f"no class has the {len(cuts) + 1} {raw.item}s that it takes to split off {' and '.join(cuts)}: "
            f"add {raw.item}s or give the splits"
        )
    raw.splits |= {split: train.subset(own) for split, own in rows.items()}
    if whole:
        names = brief([raw.class_names[c] for c in whole])
        raw.notes.append(
            f"{len(whole)} classes with fewer than {len(cuts) + 1} {raw.item}s are too small to be split and only "
            f"train (no {' or '.join(cuts)} {raw.item}): {names}"
        )


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


def _pick_4v9(raw: _Raw, imbalance: float, seed: int) -> None:
    """The paper's two-class problem: 5000 training images, 4 the head and 9 the tail; 800 test images a class."""
    head = round(5000 * imbalance / (1 + imbalance))
    counts = [head, 5000 - head]
    train, test = raw.splits["train"], raw.splits["test"]
    have = train.class_counts(2)
    if counts[1] < 1 or counts[0] > have[0] or counts[1] > have[1]:
        raise LongtailError(
            f"mnist-4v9 with imbalance {imbalance:g} needs {counts} images of 4 and 9, there are {have}"
        )
    raw.splits["train"] = train.subset(tail_rows(train.labels, counts, seed))
    raw.splits["test"] = test.subset(tail_rows(test.labels, [800, 800], seed))


def _joined(first: Split, second: Split) -> Split:
    """Two splits held in memory, one after the other."""
    images = torch.cat([first.images, second.images])  # type: ignore[list-item]
    return Split(images, torch.cat([first.labels, second.labels]))


def _keep_4_and_9(split: Split) -> Split:
    kept = split.subset(((split.labels == 4) | (split.labels == 9)).nonzero().flatten())
    return Split(kept.images, (kept.labels == 9).long())


def _places(name: str, path: Path | None) -> list[Path]:
    """Folders that may hold a named set; the first is the one to download into."""
    if path is not None:
        return [path]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longtail" / name
    home = os.environ.get("LONGTAIL_DATA")
    return [Path(home).expanduser() / name, cache] if home else [cache]


def _read_in_memory(name: str, path: Path | None, download: bool) -> _Raw:
    recipe = _IN_MEMORY[name]
    if name == "digits":
        if path is not None:
            raise LongtailError("digits come with scikit-learn and take no path: write just digits")
        return _Raw(splits={"train": read_digits()}, class_names=[str(d) for d in range(10)], look=recipe.look)
    places = _places("mnist" if name == "mnist-4v9" else name, path)
    find = _find_cifar if name.startswith("cifar") else _find_idx
    found = find(name, places)
    if found is None and download:
        _download(recipe.torchvision, places[0])
        found = find(name, places)
    if found is None:
        wanted = {"cifar10": "cifar-10-batches-py/data_batch_1 or cifar10_train.npz"}
        wanted["cifar100"] = "cifar-100-python/train or cifar100_train.npz"
        file = wanted.get(name, "train-images-idx3-ubyte[.gz] and its three companions")
        raise LongtailError(
            f"{name} was not found: looked for {file} in {brief([str(p) for p in places])}; "
            f"give {name}:PATH or use --download"
        )
    if name.startswith("cifar"):
        train, test, names = read_cifar(found[0], 100 if name == "cifar100" else 10)
    else:
        train, test = read_idx_pair(found[0], found[1]), read_idx_pair(found[2], found[3])
        names = _FASHION if name == "fashion-mnist" else [str(d) for d in range(10)]
    if name == "mnist-4v9":
        train, test, names = _keep_4_and_9(train), _keep_4_and_9(test), ["4", "9"]
    if train.images.shape[1:] != test.images.shape[1:]:  # type: ignore[union-attr]
        raise LongtailError(f"{found[0].parent}: training and test images differ in size")
    return _Raw(splits={"train": train, "test": test}, class_names=list(names), look=recipe.look)


def _find_idx(name: str, places: list[Path]) -> list[Path] | None:
    stems = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    kind = "FashionMNIST" if name == "fashion-mnist" else "MNIST"
    for folder in (place / below for place in places for below in ("", f"{kind}/raw", "raw")):
        files = [next((f for e in ("", ".gz") if (f := folder / (s + e)).is_file()), None) for s in stems]
        if all(files):
            return [f for f in files if f]
    return None


def _find_cifar(name: str, places: list[Path]) -> list[Path] | None:
    below, first = ("cifar-10-batches-py", "data_batch_1") if name == "cifar10" else ("cifar-100-python", "train")
    for folder in (place / b for place in places for b in ("", below)):
        if (folder / first).is_file() or (folder / f"{name}_train.npz").is_file():
            return [folder]
    return None


def _download(torchvision_name: str, folder: Path) -> None:
    try:
        from torchvision import datasets
    except ImportError:
        raise LongtailError("--download needs torchvision: pip install 'longtail[train]'") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        getattr(datasets, torchvision_name)(str(folder), download=True)
    except (OSError, RuntimeError) as error:
        raise LongtailError(f"{torchvision_name} could not be fetched into {folder}: {error}") from None


def _read_files(spec: str, name: str, path: Path | None, root: Path | None, download: bool) -> _Raw:
    if name not in ("folder", "lists", *_LISTS):
        raise unknown_data_set(spec)
    look = dict(_PHOTO)
    if path is None and name in ("folder", "lists"):
        raise LongtailError(f"{name} needs a path: {name}:DIR")
    if name == "folder":
        splits, names, notes = read_folder(path)  # type: ignore[arg-type]
    elif name == "lists":
        splits, names, notes = read_lists(path, root=root)  # type: ignore[arg-type]
    else:
        pattern, below, own = _LISTS[name]
        places = [place for place in _places(name, path) if place.is_dir()]
        if not places:
            how = "torchvision cannot fetch it" if download else "give its folder"
            raise LongtailError(
                f"{name} was not found in {brief([str(p) for p in _places(name, path)])}: {how}, {name}:PATH"
            )
        look |= own
        splits, names, notes = read_lists(places[0], pattern=pattern, folders=("", below, "lists"), root=root)
    if sum(map(len, splits.values())) <= CHECKED_FILES:
        check_images(file for split in splits.values() for file in split.images)  # type: ignore[union-attr]
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
    name = spec.strip().partition(":")[0].lower()
    if name in _OTHER_TASKS:
        return LongtailError(f"{name} is no data set of labelled images: use it with --task {_OTHER_TASKS[name]}")
    known = [*_IN_MEMORY, "moving-digits", *_LISTS, "lists:DIR", "folder:DIR", "clips:DIR", "egtea:DIR"]
    if Path(spec).expanduser().is_dir():
        return LongtailError(
            f"unknown data set {spec!r}: for a folder of images write folder:{spec}, for one of clips clips:{spec}"
        )
    close = difflib.get_close_matches(name, [k.partition(":")[0] for k in known], n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return LongtailError(f"unknown data set {name!r}: {hint}known are {', '.join(known)}")
