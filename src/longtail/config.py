"""What one run is: a frozen dataclass, free of torch so that ``longtail --help`` stays quick.

Fields left at ``None`` are filled in from the data set's recipe (``longtail.training.recipes``) before a run starts; a
run folder's ``config.json`` always holds the resolved values.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal

from longtail.errors import LongtailError

__all__ = ["TASKS", "DataOptions", "RunConfig"]

TASKS = ("classify", "detect", "segment", "vectors", "video")
Augment = Literal["none", "crop", "flip", "no-flip", "standard", "randaugment", "trivialaugment", "mixup", "cutmix"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How a data set is split, thinned and read: what is asked of a run, and of data that are only looked at.

    An option that is set and means nothing to the data set is refused (``longtail.tasks.options``), so each of them
    tells that it is not set: by None, by False, or by no words.

    Args:
        imbalance: Largest class count over smallest, at least 1; 1 keeps the data balanced. None: the data set's own.
        imbalance_kind: Law of the class counts, ``exp`` if there is a law.
        protocol: Preset of the splits: ``paper`` (450 + 50 per class on CIFAR-100), ``cao`` (500, no held-out split),
            ``merged`` (the images of ``paper``, all of them for training).
        data_seed: Seed of the subset and of the splits; separate from ``seed``. None: 0; ``compare``: that of each run,
            so that each seed cuts its own.
        val_fraction: Share of the training part that becomes the difficulty split when the data has none.
        select_fraction: Share of the training part for a separate model-selection split; none: the difficulty split
            selects.
        frames: Frames that stand for a clip on disk.
        broken: Clips and annotations that cannot be used: ``refuse`` them (that is what happens unless it is said), or
            ``skip`` them with a note.
        frame_cache: Folder that keeps decoded frames of video files, for quick epochs at the price of disk space.
        group_by: What must stay on one side of every cut, such as clips of one recording. A regular expression that is
            searched for in each path: files with the same match (or the same part in parentheses) are a group.
            ``auto``: as a column ``group`` says, else near copies by the features of a frozen network (``--tune
            head``); this is the default where features are computed anyway. ``none``: each file is on its own.
        bit_depth: Bits that are in use in image files of 16 bits a channel, e.g. 12; none: all 16.
        augment: What training does to images and clips, a name or several, in the order in which it is done. In place
            of what suits the data set: ``standard`` (random crop, flip, and for files colour jitter or rotation),
            ``no-flip`` (the same, never mirrored), ``crop``, ``flip``, ``none``. Then operations drawn for each image:
            ``randaugment`` or ``trivialaugment``. Then images mixed of two: ``mixup``, ``cutmix``, or both, one of them
            drawn for each batch.
        download: Fetch the data set with torchvision if it is missing.
        columns: Names of the columns of a table, each ``ROLE=NAME``: ``file=id label=breed split=fold group=patient``.
            Otherwise the usual names are found, and a note tells which.
    """

    imbalance: float | None = None
    imbalance_kind: Literal["exp", "step"] | None = None
    protocol: Literal["paper", "cao", "merged"] | None = None
    data_seed: int | None = None
    val_fraction: float | None = None
    select_fraction: float | None = None
    frames: int | None = None
    broken: Literal["refuse", "skip"] | None = None
    frame_cache: str | None = None
    group_by: str | None = None
    bit_depth: int | None = None
    augment: tuple[Augment, ...] | None = None
    download: bool = False
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.augment, str):  # one name, as versions before had it
            object.__setattr__(self, "augment", (self.augment,))
        for field in dataclasses.fields(self):
            if isinstance(value := getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(value))

    def keywords(self, names: Iterable[str]) -> dict[str, Any]:
        """The fields of these names as keywords of `load_data` or `load_boxes`; a data seed that is not set is 0."""
        values = {name: getattr(self, name) for name in names}
        return values | ({"data_seed": self.data_seed or 0} if "data_seed" in values else {})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(DataOptions):
    """One training run; how its data are split and read is in `DataOptions`.

    Args:
        data: Data set as ``NAME[:PATH]``.
        method: Identifier from ``longtail methods``.
        method_kwargs: Hyperparameters of the method as ``key=value``.
        task: What is recognised: ``classify``, ``video``, ``detect``, ``segment``, or a task of your own (a class that
            derives from `longtail.tasks.Task`) as ``MODULE:CLASS``.
        image_size: Side in pixels of the square that the model sees.
        model: ``lenet5``, ``resnet32``, ``resnet10``, any torchvision classifier, or any of timm's as ``timm/NAME``,
            ``timm/hf-hub:OWNER/NAME`` or ``timm/local-dir:FOLDER``; clips: ``small3d``, ``resnext3d101``, ``r3d_18`` or
            another of torchvision's.
        weights: What the network starts from: ``pretrained`` (its published weights), ``none`` (random ones), a file
            (safetensors, or a ``weights_only`` checkpoint), or ``auto``: published weights for photographs, where the
            network has some, and random ones otherwise. Photographs whose model is not said start from
            ``timm/tf_efficientnet_lite0``, whose weights come with a package.
        tune: What is trained: the classifier alone (``head``; the frozen network sees the frames of clips), adapters
            (``adapter``), or ``all``. Default: ``head`` of your own photographs and clips that start from published
            weights for images, else ``all``.
        head: The classifier on top of a frozen network: ``linear``, or ``cosine``, which sees directions alone.
        features: What it reads there: what the network's own classifier read (``last``), the output of every stage as
            well (``levels``), or ``auto``: whichever predicts the training images better in cross-validation.
        views: Augmented views of each training image that it is trained on besides the image; default: none.
        refit: Train a last time on the training and the held-out images together, with what was chosen before, where
            the held-out ones were cut from the training part and the method measures nothing on them; default of a
            classifier on features.
        feature_cache: Folder of the features that a frozen network gives; default: ``features`` beside the run folder
            or the comparison.
        adapter: What ``--tune adapter`` puts into the network: ``lora`` (linear layers; package peft) or
            ``adaptformer`` (blocks of vision transformers). Otherwise the latter where it can be.
        adapter_rank: Width of the bottleneck of each adapter.
        epochs: Passes over the training split.
        batch_size: Global batch: all processes together.
        lr: Learning rate at the global batch size.
        optimizer: ``sgd`` or ``adamw``; default: SGD, and for pretrained networks what suits their kind.
        momentum: Momentum of SGD, beta1 of AdamW.
        weight_decay: Weight decay; AdamW leaves biases and the scales of normalisation layers out.
        backbone_lr: Learning rate of all but the classifier, where there are weights to start from; default: ``lr``,
            and for pretrained networks a tenth of it.
        layer_decay: Factor of the learning rate for each layer between a parameter and the output, in (0, 1]; networks
            of timm.
        ema: Judge, choose and save a running average of the weights that keeps this share of itself a step, in (0, 1),
            e.g. 0.999.
        label_smoothing: Share of the target that all classes have in common, in [0, 1); not for losses that tell
            the one true class from the others.
        patience: Stop after so many epochs in a row that are not better on the selection split, counted within the
            last stage of the method. The schedule stays that of all ``epochs``.
        schedule: Learning-rate law after the warm-up.
        milestones: Epochs after which the ``multistep`` rate is multiplied by ``gamma``.
        gamma: Factor of the ``multistep`` schedule.
        warmup_epochs: Epochs of linear warm-up.
        clip_grad_norm: Largest norm of the gradient; 0: no clipping, which is the default but for boxes.
        seed: Seed of initialisation, order and augmentation.
        device: Where to compute.
        precision: ``fp32``, or ``bf16`` (autocast).
        final: Which weights ``metrics.json`` judges: those of the best epoch on the selection split (``best``, the
            default of a network in training), or the last ones (``last``, the default of a classifier on features).
        workers: Processes that read image files; ignored for data held in memory.
        compile: Compile the model with ``torch.compile``.
        trackers: Trackers beside the CSV files: ``tensorboard``, ``wandb``, ``mlflow``.
    """

    data: str = "digits"
    method: str = "cdb-w"
    method_kwargs: tuple[str, ...] = ()
    task: Literal["classify", "detect", "segment", "vectors", "video"] | str = "classify"
    image_size: int | None = None
    model: str | None = None
    weights: str | None = None
    tune: Literal["head", "adapter", "all"] | None = None
    head: Literal["linear", "cosine"] | None = None
    features: Literal["last", "levels", "auto"] | None = None
    views: int | None = None
    refit: bool | None = None
    feature_cache: str | None = None
    adapter: Literal["lora", "adaptformer"] | None = None
    adapter_rank: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    optimizer: Literal["sgd", "adamw"] | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    backbone_lr: float | None = None
    layer_decay: float | None = None
    ema: float | None = None
    label_smoothing: float | None = None
    patience: int | None = None
    schedule: Literal["multistep", "cosine", "constant"] | None = None
    milestones: tuple[int, ...] | None = None
    gamma: float | None = None
    warmup_epochs: int | None = None
    clip_grad_norm: float | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    final: Literal["best", "last"] | None = None
    workers: int | None = None
    compile: bool = False
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()

        def check(ok: bool, message: str) -> None:
            if not ok:
                raise LongtailError(message)

        for name, kind in _kinds().items():
            value = getattr(self, name)
            check(_fits(value, kind), f"{_flag(name)} is {value!r}: it must be {_in_words(kind)}")
        check(
            self.task in TASKS or all(self.task.partition(":")),
            f"--task: {self.task!r} is unknown: choose one of {', '.join(TASKS)}, or MODULE:CLASS",
        )
        check(bool(self.data.strip()), "DATA is missing: name a data set, e.g. digits or folder:photos")
        check(
            self.imbalance is None or self.imbalance >= 1, f"--imbalance is {self.imbalance}: it is max/min, at least 1"
        )
        for name in ("epochs", "batch_size", "image_size", "frames", "patience", "adapter_rank"):
            value = getattr(self, name)
            check(value is None or value >= 1, f"{_flag(name)} is {value}: it must be at least 1")
        check(
            self.bit_depth is None or 8 <= self.bit_depth <= 16,
            f"--bit-depth is {self.bit_depth}: it must be from 8 to 16",
        )
        for name in ("momentum", "weight_decay", "clip_grad_norm", "workers", "warmup_epochs", "views"):
            value = getattr(self, name)
            check(value is None or value >= 0, f"{_flag(name)} is {value}: it must not be negative")
        check(self.momentum < 1, f"--momentum is {self.momentum}: it must be below 1")
        for name in ("lr", "backbone_lr"):
            value = getattr(self, name)
            check(value is None or value > 0, f"{_flag(name)} is {value}: it must be above 0")
        check(self.ema is None or 0 < self.ema < 1, f"--ema is {self.ema}: it must be between 0 and 1, e.g. 0.999")
        check(
            self.layer_decay is None or 0 < self.layer_decay <= 1,
            f"--layer-decay is {self.layer_decay}: it must be in (0, 1]",
        )
        check(
            self.label_smoothing is None or 0 <= self.label_smoothing < 1,
            f"--label-smoothing is {self.label_smoothing}: it must be in [0, 1)",
        )
        check(self.gamma is None or self.gamma > 0, f"--gamma is {self.gamma}: it must be above 0")
        check(
            self.select_fraction is None or 0 <= self.select_fraction < 0.5,
            f"--select-fraction is {self.select_fraction}: it must be in [0, 0.5)",
        )
        check(
            self.val_fraction is None or 0 < self.val_fraction < 0.9,
            f"--val-fraction is {self.val_fraction}: it must be between 0 and 0.9",
        )
        check(0 <= self.seed < 2**31, f"--seed is {self.seed}: it must be in [0, 2**31)")
        check(0 <= (self.data_seed or 0) < 2**31, f"--data-seed is {self.data_seed}: it must be in [0, 2**31)")
        if self.epochs is not None:
            warmup, last = self.warmup_epochs or 0, max(self.milestones or (1,))
            check(warmup < self.epochs, f"--warmup-epochs is {warmup}: it must be below --epochs, {self.epochs}")
            check(last <= self.epochs, f"--milestones has {last}, which is after the last of {self.epochs} epochs")
        check(min(self.milestones or (1,)) >= 1, f"--milestones is {self.milestones}: epochs count from 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, in field order."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunConfig:
        """Inverse of `to_dict`; an unknown key or a value of the wrong type is an error that names it."""
        unknown = sorted(set(values) - _kinds().keys())
        if unknown:
            raise LongtailError(f"unknown configuration key {unknown[0]!r}: known are {', '.join(sorted(_kinds()))}")
        return cls(**values)


_LARGEST = 3e38
"""Numbers must fit into 32 bits; NaN and infinity do not."""


def _flag(name: str) -> str:
    return "DATA" if name == "data" else f"--{name.replace('_', '-')}"


@functools.cache
def _kinds() -> dict[str, Any]:
    """The type of each field."""
    return typing.get_type_hints(RunConfig)


def _fits(value: Any, kind: Any) -> bool:
    """Whether ``value`` is of the type ``kind``."""
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return isinstance(value, str) and value in inside
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in inside)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, inside[0]) for one in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _in_words(kind: Any) -> str:
    origin, inside = typing.get_origin(kind), [k for k in typing.get_args(kind) if k not in (type(None), ...)]
    if origin is Literal:
        return f"one of {', '.join(inside)}" if len(inside) > 1 else inside[0]
    if origin in (types.UnionType, typing.Union, tuple):
        return f"a list, each {_in_words(inside[0])}" if origin is tuple else _in_words(inside[0])
    return {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}[kind]
