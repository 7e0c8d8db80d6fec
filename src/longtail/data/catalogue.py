"""The data sets by name: one entry tells all that the rest of the library must know of one; free of torch.

The command line's help, `resolve`, `load_data`, `load_boxes`, ``inspect``, the table of the documentation and the error
about an unknown name all read these entries. `register` adds one of your own.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import importlib.metadata
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from longtail.errors import LongtailError

__all__ = [
    "CATALOGUE",
    "FRAMES",
    "Entry",
    "entry_of",
    "find_entry",
    "imported",
    "known",
    "parse_spec",
    "place_of",
    "places_of",
    "register",
    "unknown_data_set",
]

FRAMES = 10
"""Frames that stand for a clip, as in the paper (Section 4.3.2)."""
GROUP = "longtail.data"
"""Entry points of installed packages in this group are entries too."""

# Options that mean something to a data set, by what it is.
_CUTS = frozenset({"data_seed", "val_fraction", "select_fraction"})
_TAIL = frozenset({"imbalance", "imbalance_kind", "augment"})
_FILES = _CUTS | _TAIL | {"bit_depth"}
_GROUPED = _FILES | {"group_by"}
_COLUMNS = frozenset({"columns"})
_PUBLISHED = _CUTS | _TAIL | {"protocol"}
_VIDEO = _TAIL | {"data_seed", "select_fraction", "frames", "broken", "frame_cache", "bit_depth"}
_BOXES = frozenset({"data_seed", "val_fraction", "broken", "bit_depth", "group_by"})

# What the model sees: fields of `ImageData`.
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
_KINETICS_PIXELS: dict[str, Any] = _CLIPS | {
    # As the public Kinetics weights of 3D-ResNeXt-101 were trained: pixels of 0 to 255 less their mean.
    "mean": (114.7748 / 255, 107.7354 / 255, 99.4750 / 255),
    "std": (1 / 255,) * 3,
    # A square of the whole height of 640 x 480 pixels, as the authors' code.
    "crop_scale": (0.75, 0.75),
    "center_crop": 1.0,
}
_GREY: dict[str, Any] = {"mean": (0.1307,), "std": (0.3081,)}

# Defaults of the training: fields of `RunConfig`. MNIST and CIFAR: Section 4.1.2 of the paper. The paper says "scaled
# down" at 160 and 180 and follows Cui et al. (2019), whose factor is 0.01 each time after a warm-up of 5 epochs.
# ImageNet-LT: Section 4.1.2. EGTEA: Section 4.3.2. LVIS: Section 4.2.2, after Li et al. (2020): 16 images a step,
# gradients clipped at 35. The others are this project's.
_TRAIN_CIFAR: dict[str, Any] = {
    "model": "resnet32",
    "image_size": 32,
    "epochs": 200,
    "batch_size": 128,
    "lr": 0.1,
    "weight_decay": 1e-4,
    "schedule": "multistep",
    "milestones": (160, 180),
    "gamma": 0.01,
    "warmup_epochs": 5,
}
_TRAIN_MNIST: dict[str, Any] = {
    "model": "lenet5",
    "image_size": 28,
    "batch_size": 100,
    "weight_decay": 5e-4,
    "warmup_epochs": 0,
}
_TRAIN_LT: dict[str, Any] = {
    "model": "resnet10",
    "image_size": 224,
    "epochs": 100,
    "batch_size": 512,
    "lr": 0.2,
    "weight_decay": 5e-4,
    "schedule": "cosine",
    "warmup_epochs": 0,
}
# Own photographs on whatever machine there is: small enough to finish on a few cores.
_TRAIN_OWN = _TRAIN_LT | {"image_size": 64, "epochs": 20, "batch_size": 64, "lr": 0.05, "warmup_epochs": 2}
_TRAIN_EGTEA: dict[str, Any] = {
    "model": "resnext3d101",
    "image_size": 224,
    "epochs": 100,
    "batch_size": 32,
    "lr": 0.001,
    "weight_decay": 5e-4,
    "schedule": "multistep",
    "milestones": (60,),
    "gamma": 0.1,
    "warmup_epochs": 0,
}
_TRAIN_CLIPS: dict[str, Any] = {"model": "small3d", "weight_decay": 5e-4, "schedule": "cosine", "warmup_epochs": 2}
# Features standardised and of mean square length 1: as the classifier of a frozen network.
_TRAIN_VECTORS: dict[str, Any] = {
    "model": "linear",
    "epochs": 30,
    "schedule": "cosine",
    "warmup_epochs": 0,
    "final": "last",
    "refit": True,
}
_TRAIN_BOXES: dict[str, Any] = {
    "model": "fasterrcnn_resnet50_fpn",
    "image_size": 800,
    "epochs": 12,
    "batch_size": 16,
    "lr": 0.01,
    "weight_decay": 1e-4,
    "schedule": "multistep",
    "milestones": (8, 11),
    "gamma": 0.1,
    "warmup_epochs": 1,
    "clip_grad_norm": 35.0,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """All about one data set.

    Args:
        name: In lower case, as in ``NAME[:PATH]``.
        about: What it is, in a few words.
        reader: ``module:function``, which is imported when it is used, or the function itself. It is called as
            ``reader(path, **arguments)``, with those options that ``reads`` names besides, and returns the splits by
            name (``train`` always, others as they are given), the names of the classes, and notes. Boxes: the splits,
            notes, and what is missing on disk; or a whole `BoxData`.
        place: What follows the colon: empty if nothing may, ``DIR`` or another word if something must, in brackets
            if the data are looked for without it.
        task: What is learned from it, unless another task is asked for that reads the same data.
        reads: Options of `load_data` (of `load_boxes`) that the reader takes. One that takes ``imbalance`` makes the
            long tail itself.
        arguments: Further keywords of the reader.
        look: Fields of `ImageData`: mean and std of each channel, crop, flip, jitter.
        frames: Frames that stand for a clip; 0: images.
        held_out: Images of each class that a published set holds out for ``val``, and for ``test`` if it has none. Only
            such a set is balanced, and knows protocols.
        pick: ``module:function`` that picks the images in place of the usual long tail, called with the splits, the
            imbalance and the seed.
        imbalance: Largest class over smallest unless another is asked for; None: as it is.
        options: Fields of ``DataOptions`` that mean something to it; any other is refused where it is set.
        training: Fields of `RunConfig` that are not set get these values.
        photographs: Whether a run starts from published weights unless it is said otherwise.
    """

    name: str
    about: str
    reader: str | Callable[..., Any]
    place: str = ""
    task: Literal["classify", "video", "vectors", "detect"] = "classify"
    reads: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    look: Mapping[str, Any] = dataclasses.field(default_factory=lambda: _PHOTO)
    frames: int = 0
    held_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    pick: str = ""
    imbalance: float | None = None
    options: frozenset[str] = _FILES
    training: Mapping[str, Any] = dataclasses.field(default_factory=lambda: _TRAIN_OWN)
    photographs: bool = False

    @property
    def usage(self) -> str:
        """How it is written: ``digits``, ``folder:DIR``."""
        return self.name if not self.place or self.place.startswith("[") else f"{self.name}:{self.place}"

    @property
    def boxes(self) -> bool:
        """Whether it is read by `load_boxes`."""
        return self.task == "detect"


CATALOGUE: dict[str, Entry] = {}


def register(entry: Entry) -> Entry:
    """Enter a data set under its name.

    Raises:
        TypeError: there is one of that name.
    """
    if entry.name in CATALOGUE:
        raise TypeError(f"two data sets are called {entry.name!r}")
    CATALOGUE[entry.name] = entry
    return entry


register(
    Entry(
        name="digits",
        about="scikit-learn's handwritten digits of 8 x 8 pixels, 10 classes",
        reader="longtail.data.published:read_sklearn_digits",
        look={"mean": (0.3066,), "std": (0.3767,), "crop_padding": 1},
        held_out={"val": 20, "test": 40},
        imbalance=20.0,
        options=_PUBLISHED,
        training=_TRAIN_MNIST | {"epochs": 20, "lr": 0.02, "schedule": "cosine", "batch_size": 32},
    )
)


def _published(name: str, about: str, torchvision: str, **own: Any) -> None:
    register(
        Entry(
            name=name,
            about=about,
            reader="longtail.data.published:read_published",
            place="[DIR]",
            reads=("download",),
            arguments={"name": name, "torchvision": torchvision},
            options=_PUBLISHED | {"download"},
            **{"imbalance": 100.0, **own},
        )
    )


_published(
    "mnist",
    "MNIST, 10 classes",
    "MNIST",
    look=_GREY,
    held_out={"val": 500},
    training=_TRAIN_MNIST | {"epochs": 20, "lr": 0.02, "schedule": "cosine"},
)
_published(
    "mnist-4v9",
    "MNIST's 4 against 9, as in the paper",
    "MNIST",
    look={"mean": (0.0,), "std": (1.0,)},  # not standardised: chosen on validation data, see docs/decisions.md
    held_out={"val": 500},
    pick="longtail.data.published:pick_4v9",
    imbalance=99.0,
    training=_TRAIN_MNIST | {"epochs": 100, "lr": 0.001, "schedule": "constant"},
)
_published(
    "fashion-mnist",
    "Fashion-MNIST, 10 classes",
    "FashionMNIST",
    look={"mean": (0.2860,), "std": (0.3530,), "crop_padding": 2, "flip": True},
    held_out={"val": 500},
    training=_TRAIN_MNIST | {"epochs": 20, "lr": 0.02, "schedule": "cosine"},
)
_published(
    "cifar10",
    "CIFAR-10",
    "CIFAR10",
    look={"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616), "crop_padding": 4, "flip": True},
    held_out={"val": 500},
    training=_TRAIN_CIFAR,
)
_published(
    "cifar100",
    "CIFAR-100",
    "CIFAR100",
    look={"mean": (0.5071, 0.4866, 0.4409), "std": (0.2673, 0.2564, 0.2762), "crop_padding": 4, "flip": True},
    held_out={"val": 50},
    training=_TRAIN_CIFAR,
)
register(
    Entry(
        name="moving-digits",
        about="clips of a digit that moves in one of 12 ways, made on the spot",
        reader="longtail.data.moving:read_moving",
        task="video",
        reads=("imbalance", "imbalance_kind", "data_seed", "frames"),
        look={"mean": (0.18,), "std": (0.13,), "crop_padding": 2},
        frames=FRAMES,
        imbalance=50.0,
        options=_TAIL | {"data_seed", "select_fraction", "frames"},
        training=_TRAIN_CLIPS | {"image_size": 28, "epochs": 30, "batch_size": 32, "lr": 0.05},
    )
)
for _name, _about, _pattern, _below, _jitter, _epochs in (
    ("imagenet-lt", "ImageNet-LT by its lists, 1000 classes", "ImageNet_LT_{}.txt", "ImageNet_LT", 0.4, 100),
    ("places-lt", "Places-LT by its lists, 365 classes", "Places_LT_{}.txt", "Places_LT", 0.4, 30),
    ("inat18", "iNaturalist 2018 by its lists, 8142 classes", "iNaturalist18_{}.txt", "iNaturalist18", 0.0, 100),
):
    register(
        Entry(
            name=_name,
            about=_about,
            reader="longtail.data.published:read_long_tailed",
            place="[DIR]",
            reads=("root", "download"),
            arguments={"name": _name, "pattern": _pattern, "folders": ("", _below, "lists")},
            look=_PHOTO | {"crop_scale": (0.08, 1.0), "color_jitter": _jitter},
            training=_TRAIN_LT | {"epochs": _epochs},
        )
    )
register(
    Entry(
        name="lists",
        about="images named in train.txt, val.txt, test.txt",
        reader="longtail.data.filelists:read_lists",
        place="DIR",
        reads=("root",),
        options=_GROUPED,
        photographs=True,
    )
)
register(
    Entry(
        name="folder",
        about="images, a folder for each class",
        reader="longtail.data.folders:read_folder",
        place="DIR",
        options=_GROUPED,
        photographs=True,
    )
)
register(
    Entry(
        name="csv",
        about="images named in a table with the columns file, label and, if you like, split, group",
        reader="longtail.data.table:read_csv",
        place="FILE",
        reads=("columns",),
        options=_GROUPED | _COLUMNS,
        photographs=True,
    )
)
register(
    Entry(
        name="hf",
        about="a Hugging Face data set of images, from the hub or from a folder of save_to_disk",
        reader="longtail.data.huggingface:read_hf",
        place="NAME_OR_DIR",
        reads=("columns",),
        options=_FILES | _COLUMNS,
        photographs=True,
    )
)
register(
    Entry(
        name="clips",
        about="clips, named in clips.csv or a folder for each class",
        reader="longtail.data.clips:read_clips",
        place="DIR",
        task="video",
        reads=("frames", "columns"),
        look=_CLIPS,
        frames=FRAMES,
        options=_VIDEO | _CUTS | _COLUMNS | {"group_by"},
        training=_TRAIN_CLIPS | {"image_size": 64, "epochs": 30, "batch_size": 8, "lr": 0.02},
        photographs=True,
    )
)
register(
    Entry(
        name="egtea",
        about="EGTEA Gaze+ by its lists, clips of 19 verbs",
        reader="longtail.data.egtea:read_egtea",
        place="DIR",
        task="video",
        reads=("frames",),
        look=_KINETICS_PIXELS,
        frames=FRAMES,
        options=_VIDEO,  # its lists tell the difficulty split
        training=_TRAIN_EGTEA,
    )
)
register(
    Entry(
        name="features",
        about="embeddings of anything as x [N, D] and y in an .npz, .safetensors or .parquet file",
        reader="longtail.data.vectors:read_features",
        place="FILE",
        task="vectors",
        look={"crop_scale": None},
        options=_CUTS | {"imbalance", "imbalance_kind", "group_by"},
        training=_TRAIN_VECTORS,
    )
)
for _name, _place, _about, _source, _files in (
    (
        "coco",
        "DIR",
        "boxes and masks in COCO's format, one JSON or one for each split",
        "coco_files:find_coco",
        ("instances_{}.json", "annotations/instances_{}.json", "annotations/instances_{}2017.json"),
    ),
    (
        "lvis",
        "DIR",
        "boxes and masks of LVIS, judged by its rules",
        "coco_files:find_lvis",
        tuple(
            f"{folder}{file}"
            for file in ("instances_{}.json", "lvis_v1_{}.json", "lvis_v0.5_{}.json")
            for folder in ("", "annotations/")
        ),
    ),
    ("yolo", "DIR_OR_YAML", "boxes and polygons as YOLO's tools write them", "yolo:find_yolo", ()),
    ("voc", "DIR", "boxes as Pascal VOC and labelImg write them", "voc:find_voc", ()),
    ("labelme", "DIR", "boxes and polygons as labelme writes them", "labelme:find_labelme", ()),
):
    register(
        Entry(
            name=_name,
            about=_about,
            reader="longtail.data.coco:read_annotated",
            place=_place,
            task="detect",
            reads=("masks", "broken", "look", "bit_depth"),
            arguments={"name": _name, "source": f"longtail.data.{_source}"} | ({"files": _files} if _files else {}),
            options=_BOXES,
            training=_TRAIN_BOXES,
        )
    )
register(
    Entry(
        name="shapes-lt",
        about="33 kinds of shapes and digits with boxes and masks, drawn on the spot",
        reader="longtail.data.shapes:read_shapes",
        task="detect",
        reads=("data_seed", "masks", "look"),
        options=frozenset({"data_seed"}),
        training=_TRAIN_BOXES
        | {"model": "fasterrcnn_resnet10_fpn", "image_size": 128, "epochs": 8, "batch_size": 8, "lr": 0.03}
        | {"schedule": "cosine", "clip_grad_norm": 10.0},
    )
)


def parse_spec(spec: str) -> tuple[str, str]:
    """The name of a data set, in lower case, and its place: ``NAME`` or ``NAME:PATH``."""
    name, _, place = spec.strip().partition(":")
    return name.lower(), place


def find_entry(spec: str) -> Entry:
    """The entry of ``NAME[:PATH]``.

    Raises:
        LongtailError: no data set of that name.
    """
    entry = entry_of(spec)
    if entry is None:
        raise unknown_data_set(spec)
    return entry


def entry_of(spec: str) -> Entry | None:
    """As `find_entry`; None: no data set of that name."""
    name, _ = parse_spec(spec)
    if name not in CATALOGUE:
        _load_entry_points()
    return CATALOGUE.get(name)


@functools.cache
def _load_entry_points() -> None:
    """Entries of installed packages; one that fails to load is an error of its own."""
    for point in importlib.metadata.entry_points(group=GROUP):
        entry = point.load()
        if CATALOGUE.get(entry.name) is not entry:  # its module may have registered it
            register(entry)


def place_of(spec: str, entry: Entry) -> Path | None:
    """The path in ``NAME[:PATH]``.

    Raises:
        LongtailError: a path that is missing, or that is none to be given.
    """
    place = parse_spec(spec)[1]
    if place and not entry.place:
        raise LongtailError(f"{entry.name} takes no path: write just {entry.name}")
    if not place and entry.place and not entry.place.startswith("["):
        raise LongtailError(f"{entry.name} needs a path: {entry.usage}")
    return Path(place).expanduser() if place else None


def places_of(name: str, path: Path | None) -> list[Path]:
    """Folders that may hold a named set; the first is the one to download into."""
    if path is not None:
        return [path]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longtail" / name
    home = os.environ.get("LONGTAIL_DATA")
    return [Path(home).expanduser() / name, cache] if home else [cache]


def imported(where: str | Callable[..., Any]) -> Callable[..., Any]:
    """The function that ``module:function`` names."""
    if not isinstance(where, str):
        return where
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def known(tasks: Iterable[str] = ("classify", "video", "vectors", "detect")) -> list[str]:
    """How the data sets of some tasks are written."""
    return [entry.usage for entry in CATALOGUE.values() if entry.task in tasks]


def unknown_data_set(spec: str) -> LongtailError:
    """What to say of a name that is none of ours."""
    name, _ = parse_spec(spec)
    place = Path(spec).expanduser()
    if place.suffix.lower() in (".csv", ".tsv") and place.is_file():
        return LongtailError(f"unknown data set {spec!r}: for a table of images write csv:{spec}")
    if any((place / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return LongtailError(f"unknown data set {spec!r}: for a Hugging Face data set write hf:{spec}")
    if place.is_dir():
        return LongtailError(
            f"unknown data set {spec!r}: for a folder of images write folder:{spec}, for one of clips clips:{spec}, "
            "for one with boxes coco:, yolo:, voc: or labelme: before it"
        )
    close = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    boxes = f"; with boxes: {', '.join(known(['detect']))}"
    return LongtailError(
        f"unknown data set {name!r}: {hint}known are {', '.join(known(['classify', 'video', 'vectors']))}{boxes}"
    )
