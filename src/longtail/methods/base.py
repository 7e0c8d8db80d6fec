"""What a method is made of, and the one registry that the method files fill by themselves."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from longtail.checks import counts_as_float64
from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.samplers.base import as_tensor

__all__ = [
    "ClassStats",
    "Criterion",
    "Features",
    "Method",
    "Parts",
    "Stage",
    "StepContext",
    "cite",
    "find_method",
    "get_method",
    "list_methods",
    "register",
]


Features = Callable[[str], tuple[Tensor, Tensor]]
Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class ClassStats:
    """What a method may know of the training split before training.

    Args:
        class_counts: Training samples of each class, ``[C]``: images, clips or, with boxes, instances; zeros are
            allowed.
        labels: Class index of every training sample, ``[N]``; default: sorted labels that fit ``class_counts``.
        epochs: Length of the whole training in epochs.
        seed: Seed of every random draw that a part makes.
        task: ``classify``, ``video``, ``detect`` or ``segment``. The latter two judge boxes: logits ``[N, C + 1]`` and
            labels with 0 for the background.
        labels_per_image: With boxes, the class indices (from 0) in each training image; default: one image a sample.
        first_drop: Share of the training after which the learning rate first falls by a step; 0: it does so never.
        out_of_fold: From a criterion to the logits ``[N, C]`` of the training samples, in the order of ``labels``, by
            linear layers that were fitted with it, each without the fold that it answers (`longtail.features`). None:
            the features of the samples are not known before training.
        bare: The parts are only looked at, or get their numbers from a file: nothing is measured or chosen for them.
    """

    class_counts: Sequence[int]
    labels: Tensor = None  # pyright: ignore[reportAssignmentType]  # filled in below
    epochs: int = 1
    seed: int = 0
    task: str = "classify"
    labels_per_image: Sequence[Sequence[int]] | None = None
    first_drop: float = 0.0
    out_of_fold: Callable[[Criterion], Tensor] | None = None
    bare: bool = False

    def __post_init__(self) -> None:
        counts = tuple(int(n) for n in counts_as_float64(self.class_counts))
        object.__setattr__(self, "class_counts", counts)
        if self.labels is None:
            labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        else:
            labels = as_tensor("labels", self.labels)
        object.__setattr__(self, "labels", labels)

    @property
    def num_classes(self) -> int:
        return len(self.class_counts)

    @property
    def boxes(self) -> bool:
        """Whether boxes are judged, and not whole images or clips."""
        return self.task in ("detect", "segment")

    @property
    def classes_of_images(self) -> Sequence[Sequence[int]]:
        """The class indices in each training image; one for images that are labelled as a whole."""
        return [[c] for c in self.labels.tolist()] if self.labels_per_image is None else self.labels_per_image

    @property
    def image_counts(self) -> list[int]:
        """Training images that hold each class, ``[C]``."""
        found = torch.tensor([c for own in self.classes_of_images for c in set(own)], dtype=torch.int64)
        return torch.bincount(found, minlength=self.num_classes).tolist()

    @property
    def samples(self) -> Tensor | Sequence[Sequence[int]]:
        """What a sampler draws by class: the label of every training sample, or the labels of every image."""
        return [sorted(set(own)) for own in self.classes_of_images] if self.boxes else self.labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of training; a method that names none has a single one.

    Args:
        name: What ``history.csv`` calls it.
        epochs: Share of the run's epochs; the shares of a method's stages are taken in proportion.
        parts: Slots of `Parts` that this stage fills otherwise, by name.
        trainable: Given the model and its classifier, the parameters to train; None: all. Modules without any trained
            parameter stay in ``eval()``, so that their BatchNorm statistics are frozen too.
        adapt_norm: Let the BatchNorm statistics of frozen modules follow the batches of this stage all the same.
        setup: Called with the model and its classifier when the stage begins, e.g. to initialise the latter anew.
        prepare: Called after that, once, with the classifier and the function that `Parts.finish` gets.
        restart: Begin with a fresh optimiser and a new learning-rate schedule. A schedule spans all stages from one
            that restarts to the next.
        lr: Factor of the learning rate.
        measure: Let the difficulty of a first stage start from what the given model can do, as in later stages.
    """

    name: str
    epochs: float = 1.0
    parts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trainable: Callable[[nn.Module, nn.Module], Iterable[nn.Parameter]] | None = None
    adapt_norm: bool = False
    setup: Callable[[nn.Module, nn.Module], None] | None = None
    prepare: Callable[[nn.Module, Features], None] | None = None
    restart: bool = False
    lr: float = 1.0
    measure: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepContext:
    """What a `Parts.step` is given.

    Args:
        model: The bare model in training mode, e.g. for ``torch.func.functional_call``.
        forward: The same for the forward pass whose loss is descended, to be called once: it may be compiled, and it
            sums the gradients over the processes.
        criterion: Of this stage.
        batch: This process's share of the training batch: images ``[b, ...]``, targets ``[b]``.
        meta: Its share of a batch from the held-out split, balanced over the classes that this has and augmented as
            in training: images ``[m, ...]``, targets ``[m]``; None: the step asks for none.
        lr: The current learning rate.
    """

    model: nn.Module
    forward: nn.Module
    criterion: Callable[[Tensor, Tensor], Tensor]
    batch: tuple[Tensor, Tensor]
    meta: tuple[Tensor, Tensor] | None
    lr: float


@dataclasses.dataclass(kw_only=True)
class Parts:
    """The slots that a method may fill; an empty slot means plain training.

    Args:
        criterion: ``criterion(logits [B, C], target [B]) -> scalar``. For boxes ``logits [N, C + 1]`` and labels with 0
            for the background (`longtail.losses.with_background` adds it to class weights); a criterion with a method
            ``scores`` also says how boxes are scored, see `longtail.integrations.detection.with_box_criterion`.
        sampler: Yields dataset indices in the global order; ``set_epoch(e)`` is called before each epoch.
        difficulty: Stepped after each epoch with the performance on the held-out split.
        head: Takes the model's final linear layer, returns what stands in its place.
        body: Called with a new model and the classifier in its place; changes the model, e.g. adds a layer.
        stages: Stages in order; empty: one stage.
        finish: Called after the last epoch, before weights are judged and written, with the model's classifier and a
            function from the name of a split to its features ``[N, D]`` (what goes into the classifier, in ``eval()``
            and without augmentation) and targets ``[N]``. It changes the classifier in place, and returns what it
            has found for ``metrics.json``.
        step: Called for every optimisation step in place of forward pass and criterion. It returns ``{"loss": scalar,
            "logits": [b, C]}``: the loss to descend, as a mean over this process's samples, and the model's output.
            Its attribute ``meta_batch``, if it has one, is the size of the held-out batches that it is given, over all
            processes. The state of a module is part of the checkpoint.
        found: What was chosen before training, for ``metrics.json``.
        notes: Lines about what was measured or chosen before training.
    """

    criterion: Callable[[Tensor, Tensor], Tensor] = dataclasses.field(default_factory=nn.CrossEntropyLoss)
    sampler: Any = None
    difficulty: ClassDifficulty | None = None
    head: Callable[[nn.Linear], nn.Module] | None = None
    body: Callable[[nn.Module, nn.Module], None] | None = None
    stages: tuple[Stage, ...] = ()
    finish: Callable[[nn.Module, Features], Mapping[str, float]] | None = None
    step: Callable[[StepContext], dict[str, Tensor]] | None = None
    found: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """Base of all methods: a frozen set of hyperparameters that turns class statistics into `Parts`."""

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    """BibTeX of the publication."""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "video")
    """What it can be used for: ``classify``, ``video``, ``detect``, ``segment``."""
    needs_weights: ClassVar[bool] = False
    """Whether it starts from a model that is trained already, so that it takes a file of weights."""
    in_code: ClassVar[str] = ""
    """For the card: an expression that makes the criterion or sampler of whole images from public names, given
    ``class_counts``, ``labels``, ``epochs`` and a ``difficulty``; ``{name}`` stands for a hyperparameter."""
    main: ClassVar[tuple[str, ...]] = ()
    """For the card: the hyperparameters that matter first; none named: they are few."""

    @property
    def needs_held_out(self) -> bool:
        """Whether the method measures something on a held-out split."""
        return False

    @property
    def takes_aim(self) -> bool:
        """Whether the hyperparameter ``aim`` has a part in what it does."""
        return False

    def parts(self, stats: ClassStats) -> Parts:
        raise TypeError(f"{type(self).__name__} defines no parts()")

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """Named sets of hyperparameters: ``get_method(name, preset=...)``."""
        return {}

    @classmethod
    def card(cls) -> str:
        """The method card: the class's docstring."""
        return inspect.cleandoc(cls.__doc__ or "")


_REGISTRY: dict[str, type[Method]] = {}
MethodClass = TypeVar("MethodClass", bound=type[Method])


def register(cls: MethodClass) -> MethodClass:
    """Class decorator: enter a method under its ``name``."""
    if cls.name in _REGISTRY:
        raise TypeError(f"two methods are called {cls.name!r}")
    _REGISTRY[cls.name] = cls
    return cls


def _load() -> dict[str, type[Method]]:
    package = importlib.import_module("longtail.methods")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"longtail.methods.{module.name}")
    return _REGISTRY


def list_methods() -> list[str]:
    """Identifiers of all methods, sorted."""
    return sorted(_load())


def find_method(name: str) -> type[Method]:
    """The dataclass of a method; case and ``_`` for ``-`` are forgiven."""
    methods = _load()
    key = name.lower().replace("_", "-") if isinstance(name, str) else ""
    if key not in methods:
        known = f"known are {', '.join(sorted(methods))}"
        if len(several := [part for part in re.split(r"[,\s]+", key) if part in methods]) > 1:
            raise LongtailError(f"{name!r} names {len(several)} methods: give one, or use longtail compare")
        longer = [method for method in sorted(methods) if key and method.startswith(f"{key}-")]  # cdb: cdb-s, cdb-w
        close = longer or difflib.get_close_matches(key.replace(" ", "-"), list(methods), n=1)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise LongtailError(f"unknown method {name!r}: {hint}{known}")
    return methods[key]


def find_class(class_name: str) -> type[Method] | None:
    """The method class of that Python name, or None."""
    return next((cls for cls in _load().values() if cls.__name__ == class_name), None)


def get_method(name: str, **kwargs: Any) -> Method:
    """Build a method by its identifier.

    Args:
        name: One of `list_methods`; case and ``_`` for ``-`` are forgiven.
        **kwargs: Hyperparameters of the method's dataclass; ``preset="paper"`` starts from a named set.

    Raises:
        LongtailError: unknown method, hyperparameter, preset or value.
    """
    cls = find_method(name)
    preset = kwargs.pop("preset", None)
    if preset is not None:
        presets = cls.presets()
        if preset not in list(presets):
            known = f"known are {', '.join(presets)}" if presets else "it has none"
            raise LongtailError(f"unknown preset {preset!r} of {cls.name}: {known}")
        kwargs = presets[preset] | kwargs
    fields = [f.name for f in dataclasses.fields(cls)]
    for key in kwargs:
        if key not in fields:
            known = f"known are {', '.join(fields)}" if fields else "it has none"
            raise LongtailError(f"unknown hyperparameter {key!r} of {cls.name}: {known}")
    return cls(**kwargs)


def cite(*names: str) -> str:
    """BibTeX of the named methods, each publication once, in the order asked for."""
    if not names:
        raise LongtailError("name at least one method to cite, e.g. cdb-w")

    def references() -> Iterator[str]:
        for name in names:
            yield from (part.strip() for part in find_method(name).reference.strip().split("\n\n"))

    return "\n\n".join(dict.fromkeys(references()))
