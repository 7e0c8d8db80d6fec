"""What a task is: whatever training, judging, prediction and inspection ask of a kind of data.

`ImageTask` and `DetectionTask` are two; a task of one's own derives from `Task` and is used as ``--task MODULE:CLASS``.
`longtail.tasks.check_task` holds its laws.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from longtail.advice import Finding
from longtail.config import DataOptions, RunConfig
from longtail.data.catalogue import Entry
from longtail.data.record import SplitRecord
from longtail.difficulty import ClassDifficulty
from longtail.errors import LongtailError
from longtail.methods import ClassStats, Method, Parts
from longtail.methods._place import put_in
from longtail.names import distinct_names
from longtail.tasks.description import COMMON, Rules, check_description

__all__ = ["Evaluation", "Predictions", "Task", "put_in"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's result on one split.

    Args:
        metrics: What ``metrics.json`` holds of a split: fractions in [0, 1], plain JSON values.
        performance: Performance of each class in [0, 1], ``[C]``, NaN where the split has no sample of the class.
        per_class: Rows of ``per_class.csv`` without the split's name.
        accuracy: Share of the samples, or of the ground-truth boxes, whose class is right.
        confusion: Counts, true class by predicted class, ``[C, C]``, sparse where there are many classes; None: the
            task has no such table.
        predicted: Class that each sample of the split was taken for, int64 ``[N]``; None: samples have none, as boxes.
    """

    metrics: dict[str, Any]
    performance: Tensor
    per_class: list[dict[str, Any]]
    accuracy: float
    confusion: Tensor | None = None
    predicted: Tensor | None = None

    @property
    def score(self) -> float:
        """What model selection maximises: the mean performance over the classes that the split holds."""
        return float(self.performance.double().nanmean())


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a run says of files; nothing is computed before the rows are asked for.

    Args:
        columns: Of a table.
        rows: One entry per row, a value for each column.
        lines: From ``rows`` to what is printed.
        save: Writes the files of a form of its own; given the place, gives what to say. None: tables only.
        forms: Endings of the places that ``save`` is for, e.g. ``.json``; ``""``: a folder.
    """

    columns: tuple[str, ...]
    rows: Iterator[dict[str, Any]]
    lines: Callable[[Iterator[dict[str, Any]]], Iterator[str]]
    save: Callable[[Path], str] | None = None
    forms: tuple[str, ...] = ()


class Task(abc.ABC):
    """One kind of data with what is learned from it: batches, loss, judgement.

    A batch is a function of (seed, epoch, position) alone, and the shares of all processes together are the batch of
    one: then a run that was killed and continued, or split over processes, equals one that was not.

    Attributes:
        data: The splits ``train``, ``val`` (or None), ``test``, ``select`` (or None), with ``name``, ``class_names``,
            ``num_classes`` and ``notes``: an `ImageData` or a `BoxData`.
        class_counts: Training samples of each class, ``[C]``.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    """The names in ``--task`` that it serves; a task of one's own is named by its class and needs none."""
    options: ClassVar[frozenset[str]] = frozenset()
    """The fields of `DataOptions` that mean something to it; any other is refused where it is set."""
    reads: ClassVar[tuple[str, ...]] = ("classify",)
    """The kinds of data set that it reads: ``classify`` (labelled images), ``video`` (clips), ``detect`` (boxes)."""
    like: ClassVar[str] = "classify"
    """What methods take a task of one's own for."""
    rules: ClassVar[Rules] = {}
    """What ``data.json`` must hold besides what every task writes."""
    every_epoch: ClassVar[Mapping[str, Any]] = {}
    """Options of `evaluate` for the held-out split after each epoch."""
    warms_up_by_step: ClassVar[bool] = False
    """Whether the learning rate rises with every step of the warm-up, and not with every epoch."""
    learns: ClassVar[frozenset[str]] = frozenset({"optimizer", "ema", "patience"})
    """The fields of `RunConfig` about how a given network is trained on that mean something to it."""
    keeps_still: ClassVar[bool] = False
    """Whether what is frozen of a new model stays as in evaluation while the rest is trained."""
    on_features: ClassVar[bool] = False
    """Whether what is trained reads features that stay as they are: a run takes seconds, and can be cross-fitted."""
    exports: ClassVar[bool] = False
    """Whether a model maps a batch of images or clips alone to logits, so that ``longtail export`` can write it."""

    data: Any
    class_counts: Sequence[int]
    told: Sequence[str] = ()
    """What to tell of how the data were read, besides ``data.notes``; it is not written."""

    # -- before there are data -----------------------------------------------------------------------------------------
    @classmethod
    def settle(cls, config: RunConfig, entry: Entry) -> tuple[RunConfig, dict[str, Any]]:
        """Look whether the data set is one for this task, and settle what follows from it.

        Args:
            config: A run, unset fields unset.
            entry: Of its data set.

        Returns:
            The run, and the training defaults of its data set, both as the task has them.

        Raises:
            LongtailError: the data set is none for this task.
        """
        if entry.task not in cls.reads:
            raise LongtailError(f"{entry.name} is for --task {entry.task}, not for --task {config.task}")
        return config, dict(entry.training)

    @classmethod
    def check_method(cls, method: Method, kind: str) -> None:
        """Refuse a method that is not made for the task (``kind``: as in ``--task``).

        Raises:
            LongtailError: it is not.
        """
        if (kind if kind in cls.kinds else cls.like) not in method.tasks:
            raise LongtailError(f"{method.name} is made for --task {' and '.join(method.tasks)}, not {kind}")

    # -- ways in -------------------------------------------------------------------------------------------------------
    @classmethod
    @abc.abstractmethod
    def read(cls, config: RunConfig, *, record: SplitRecord | None = None, whole: bool = False) -> Any:
        """The data of a configuration: for a run, for a check before one, for judging.

        Args:
            config: A resolved configuration.
            record: The splits of a run, in place of new ones.
            whole: For judging alone: nothing is cut, and data without splits are all ``test``.

        Raises:
            LongtailError: data that are missing or cannot be used.
        """

    @classmethod
    @abc.abstractmethod
    def load(
        cls,
        config: RunConfig,
        *,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        record: SplitRecord | None = None,
        whole: bool = False,
    ) -> Self:
        """The task of a configuration, its data read by `read`, for process ``rank`` of ``world``."""

    def adopt(self, info: Mapping[str, Any], split: str) -> Self:
        """This task as one for the model of a finished run: its classes by their names, its look, its counts.

        Args:
            info: The run's ``data.json``, of `read_description`.
            split: The one that is to be judged.

        Raises:
            LongtailError: the split is not there, or has other classes.
        """
        self.split(split)
        if list(self.data.class_names) != list(info["class_names"]):
            raise LongtailError(f"{self.data.name} has other classes than the run")
        self.class_counts = info["class_counts"]["train"]
        return self

    @classmethod
    def read_description(cls, info: dict[str, Any], path: Path) -> dict[str, Any]:
        """The content of ``data.json``, checked; ``path``: where it stands.

        Raises:
            LongtailError: an entry is missing, or is not what it must be.
        """
        info = check_description(info, path, COMMON | cls.rules)
        ids, kind = info.get("category_ids"), "category" if "category_ids" in info else "class"
        return info | {"class_names": distinct_names(info["class_names"], ids, kind=kind)}

    # -- the model -----------------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def build(self, parts: Parts | None = None, weights: str | None = None) -> tuple[nn.Module, nn.Module]:
        """A fresh model on the task's device, and its classifier.

        Args:
            parts: Of a method, whose classifier and layers are put in, see `put_in`; None: those of the network.
            weights: File with initial weights.
        """

    @classmethod
    @abc.abstractmethod
    def restore(cls, info: Mapping[str, Any], config: RunConfig, method: Method) -> nn.Module:
        """The model of a finished run, ready for its weights.

        Args:
            info: The run's ``data.json``.
            config: Its configuration.
            method: With the hyperparameters that the run had.
        """

    def written(self, model: nn.Module) -> contextlib.AbstractContextManager[dict[str, Tensor]]:
        """Within this a model is what is written of it, and can be judged as such; it gives its state."""
        return contextlib.nullcontext(model.state_dict())

    def depths(self, model: nn.Module) -> Mapping[str, int] | None:
        """Of each parameter of a model by its name the number of its layer, from the input; None: it is not known."""
        return None

    def use(self, model: nn.Module, criterion: Any) -> None:
        """Prepare a model for a criterion: once when a stage begins, and before judging. Most tasks need nothing."""
        return None

    @abc.abstractmethod
    def stats(self, **training: Any) -> ClassStats:
        """What a method may know of the training split, and of the training (keywords of `ClassStats`)."""

    def training(self, config: RunConfig, parts: Parts) -> RunConfig:
        """The configuration with what only the data and the method's parts tell, of the fields that are not set."""
        del parts
        return config

    def frozen_part(self) -> tuple[Path | None, dict[str, Tensor]]:
        """Weights of the finished model that are not the trained model's, and a file that holds them already."""
        return None, {}

    def pictures(self) -> Mapping[str, Path]:
        """Pictures of the data that are there already, by the names that they have in a run folder."""
        return {}

    def refitted(self, config: RunConfig, method: Method) -> Task | None:
        """The task of a last training on all that may be trained on, with its held-out split among it; None: none."""
        del config, method
        return None

    # -- batches, loss, judgement --------------------------------------------------------------------------------------
    @abc.abstractmethod
    def train_batches(self, batches: Iterable[Tensor], *, epoch: int, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """This process's share of each global batch of training rows, int64 ``[B]``: inputs and targets, of one length.

        Row k of a global batch belongs to process k modulo their number. An epoch that is continued leaves out its
        first ``start`` batches; the others are what they would have been.
        """

    def meta_batches(self, size: int, steps: int, *, epoch: int, start: int = 0) -> Iterator[Any]:
        """This process's share of a batch of ``size`` held-out samples a step; None a step where none are asked for."""
        if size:
            raise LongtailError("this method asks for held-out batches in training, which this task does not make")
        return itertools.repeat(None, steps - start)

    @abc.abstractmethod
    def loss(self, model: nn.Module, criterion: Any, batch: Any) -> dict[str, Tensor]:
        """Forward pass and loss of one batch.

        Returns:
            ``loss``, a scalar; ``logits`` ``[n, C]``; and ``target`` ``[n]`` where the batch's own are no classes.
        """

    @abc.abstractmethod
    def evaluate(
        self, model: nn.Module, split: str, *, observe: ClassDifficulty | None = None, **options: Any
    ) -> Evaluation:
        """Judge ``model`` (switched to ``eval()`` and back) on a split; all processes get the result of the whole.

        Args:
            model: The model.
            split: Its name.
            observe: Updated with this process's share of what is predicted.
            **options: Of the task, see `every_epoch`.
        """

    def split(self, name: str) -> Any:
        """One of ``train``, ``val``, ``test``, ``select``.

        Raises:
            LongtailError: the data have no such split.
        """
        split = getattr(self.data, name, None) if name in ("train", "val", "test", "select") else None
        if split is None:
            raise LongtailError(f"{self.data.name} has no {name!r} split")
        return split

    def features(self, model: nn.Module, head: nn.Module, split: str) -> tuple[Tensor, Tensor]:
        """What ``model`` feeds to its classifier ``head``: ``[N, D]``, and targets ``[N]``."""
        raise LongtailError("this method looks at features, which this task does not give")

    def samples(self, split: str) -> dict[str, Tensor] | None:
        """Of each sample of a split a ``sample`` number that is the same in every run, and its ``target``, ``[N]``."""
        return None

    def examples(self, model: nn.Module) -> Tensor | None:
        """A picture uint8 ``[3, H, W]`` of what is found in some images, where there is more to see than a label."""
        return None

    # -- for people ----------------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def description(self) -> dict[str, Any]:
        """``data.json``: ``class_names``, ``class_counts`` by split, ``model``, ``image_size``, and whatever `restore`,
        `adopt` and `predict` must know."""

    @classmethod
    def predict(cls, trained: Any, files: Sequence[str | Path], **options: Any) -> Predictions:
        """What a run says of files.

        Args:
            trained: The run, of `longtail.training.apply.load_run`.
            files: Files, folders of them, or patterns.
            **options: ``top``: number of classes to name; ``threshold``: smallest score of an object; ``notes`` and
                ``problems``: lists that take lines about what was passed over, and about files that cannot be read.
        """
        raise LongtailError(f"{trained.folder.path}: its task labels no files")

    @classmethod
    def label(cls, trained: Any, files: Sequence[str | Path], **options: Any) -> Iterator[tuple[str, Any]]:
        """Each file with its most likely classes and their probabilities, the best first.

        Args:
            trained: As in `predict`.
            files: As in `predict`.
            **options: ``top``, ``notes`` and ``problems`` of `predict`.
        """
        raise LongtailError(f"{trained.folder.path}: its task labels no files")

    @classmethod
    def inspect(
        cls,
        data: str,
        options: DataOptions,
        *,
        picture: Path | None = None,
        verify: bool = False,
        found: list[Finding] | None = None,
    ) -> Iterator[str]:
        """Lines that describe a data set before anything is trained.

        Args:
            data: ``NAME[:PATH]``.
            options: How it is split and read.
            picture: PNG file to write; None: none.
            verify: Decode every file.
            found: Takes what the checks find.
        """
        raise LongtailError(f"{data}: {cls.__name__} shows no data")

    def close(self) -> None:
        """End worker processes and threads."""
        return None
