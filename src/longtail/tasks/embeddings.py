"""Classification of rows in a file of embeddings: sentences, sounds, tables, whatever somebody made vectors of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from longtail.config import RunConfig
from longtail.data.base import ImageData
from longtail.data.catalogue import Entry, known
from longtail.data.groups import group_numbers
from longtail.data.record import SplitRecord
from longtail.data.summary import inspect_data
from longtail.data.vectors import read_vectors
from longtail.errors import LongtailError
from longtail.features.kept import Kept, key_of
from longtail.features.project import COMPONENTS, projection_of
from longtail.features.store import digests_of
from longtail.methods import ClassStats, Method
from longtail.tasks.description import ROWS, Rules
from longtail.tasks.image import with_classes
from longtail.tasks.vectors import HIDDEN, VectorModel, VectorTask

__all__ = ["MODELS", "EmbeddingTask", "RowModel"]

MODELS = ("linear", "cosine", "mlp")
_IDLE = ("image_size", "weights", "tune", "head", "features", "views", "feature_cache", "workers")
"""Fields of a run that mean nothing here, and must not be set."""
_KEPT = "rows"
"""Folder of what was found from rows, beside the features of networks."""
_TRAIN_MLP: dict[str, Any] = {"lr": 0.05, "weight_decay": 5e-4, "final": "best", "refit": False}
"""With a layer between, it is a network in training."""


class RowModel(VectorModel):
    """What a run on embeddings is in use: rows as the file holds them ``[B, D]`` to logits.

    Args:
        project: Standardises the rows, as `projection_of` found it on the training rows.
        num_classes: Number of classes.
        hidden: Units of a layer between; 0: none.
    """

    def __init__(self, project: nn.Linear, num_classes: int, *, hidden: int = 0) -> None:
        super().__init__(project.out_features, num_classes, hidden=hidden)
        self.project = project

    def forward(self, vectors: Tensor) -> Tensor:
        return super().forward(self.project(vectors))


class EmbeddingTask(VectorTask):
    """Classification of the rows of ``features:FILE``.

    The rows are standardised on the training rows, and of more than 1,024 numbers the first principal components are
    taken; the layer that does this is part of the saved model.

    Args:
        data: The splits, of rows.
        project: The layer; None: the rows are for a whole model, as a finished run is.
        **options: Of `VectorTask`.
    """

    kinds: ClassVar[tuple[str, ...]] = ("vectors",)
    reads: ClassVar[tuple[str, ...]] = ("vectors",)
    options: ClassVar[frozenset[str]] = frozenset(
        {"imbalance", "imbalance_kind", "data_seed", "val_fraction", "select_fraction", "group_by"}
    )
    rules: ClassVar[Rules] = ROWS
    exports: ClassVar[bool] = False

    def __init__(self, data: ImageData, *, project: nn.Linear | None, **options: Any) -> None:
        splits = {name: getattr(data, name) for name in ("train", "val", "test", "select")}
        rows: dict[str, Tensor] = {name: split.images for name, split in splits.items() if split is not None}
        vectors = rows if project is None else {name: project(x) for name, x in rows.items()}
        super().__init__(data, vectors | {"train": vectors["train"][None]}, image_size=1, **options)
        self.project = project

    # -- ways in -------------------------------------------------------------------------------------------------------
    @classmethod
    def settle(cls, config: RunConfig, entry: Entry) -> tuple[RunConfig, dict[str, Any]]:
        """The model is one of `MODELS`; what belongs to pictures and networks is refused."""
        if entry.task not in cls.reads:
            raise LongtailError(
                f"{entry.name} holds no rows for --task vectors: known are {', '.join(known(['vectors']))}"
            )
        if config.model not in (None, *MODELS):
            raise LongtailError(f"--model {config.model} reads no rows of numbers: choose {', '.join(MODELS)}")
        default = {"weights": ("auto", "none"), "tune": ("all",)}
        for name in _IDLE:
            if (value := getattr(config, name)) is not None and value not in default.get(name, ()):
                raise LongtailError(f"--{name.replace('_', '-')} means nothing to {entry.usage}: leave it out")
        recipe = dict(entry.training) | (_TRAIN_MLP if config.model == "mlp" else {})
        return dataclasses.replace(config, task="vectors", weights=None, tune=None), recipe

    @classmethod
    def check_method(cls, method: Method, kind: str) -> None:
        """Methods for labelled images fit, but those that start from a trained network."""
        super().check_method(method, cls.like)
        if method.needs_weights:
            raise LongtailError(f"{method.name} starts from the weights of a network, and rows of numbers have none")

    @classmethod
    def load(
        cls,
        config: RunConfig,
        *,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        record: SplitRecord | None = None,
        whole: bool = False,
    ) -> EmbeddingTask:
        """The task of a configuration, for process ``rank`` of ``world``."""
        assert config.model
        data = cls.read(config, record=record, whole=whole)
        x = data.train.images
        assert isinstance(x, Tensor)
        kept = Kept(
            Path(config.feature_cache).expanduser() / _KEPT if config.feature_cache else None,
            key_of(digests_of(data.train), data.train.labels, group_numbers(data.train)),
        )
        wide = x.shape[1] > COMPONENTS
        task = cls(
            data,
            project=kept.layer(f"project-{COMPONENTS}", lambda: projection_of(x)) if wide else projection_of(x),
            kept=kept.value,
            kind=config.model,
            model=config.model,
            device=device,
            seed=config.seed,
            rank=rank,
            world=world,
        )
        task.mark = f"rows {kept.key}"
        return task

    def adopt(self, info: Mapping[str, Any], split: str) -> EmbeddingTask:
        """This task as one for the model of a finished run, which standardises the rows itself."""
        data = with_classes(self.data, split, info["class_names"])
        width = self.split(split).images.shape[1]
        if width != info["feature_width"]:
            raise LongtailError(f"{data.name} has {width} numbers in a row, the run's data {info['feature_width']}")
        task = type(self)(data, project=None, kind=info["head"], model=info["model"], device=self.device)
        task.class_counts = info["class_counts"]["train"]
        return task

    @classmethod
    def restore(cls, info: Mapping[str, Any], config: RunConfig, method: Method) -> nn.Module:
        """The whole model of a finished run, ready for its weights: from rows to logits."""
        project = nn.Linear(info["feature_width"], info["width"])
        hidden = HIDDEN if info["head"] == "mlp" else 0
        model = RowModel(project, len(info["class_names"]), hidden=hidden)
        model.put_in(method.parts(ClassStats(class_counts=info["class_counts"]["train"], bare=True)), info["head"])
        return model

    # -- the model -----------------------------------------------------------------------------------------------------
    def frozen_part(self) -> tuple[Path | None, dict[str, Tensor]]:
        """The layer that standardises the rows."""
        state = {} if self.project is None else self.project.state_dict()
        return None, {f"project.{key}": value.cpu().contiguous() for key, value in state.items()}

    def description(self) -> dict[str, Any]:
        """``data.json``: what rebuilds the model, and what `predict` and the report must know."""
        splits = inspect_data(self.data)["splits"]
        return {
            "name": self.data.name,
            "class_names": list(self.data.class_names),
            "class_counts": {name: split["class_counts"] for name, split in splits.items()},
            "notes": list(self.data.notes),
            "model": self.model_name,
            "head": self.kind,
            "width": self.width,
            "feature_width": self.data.train.images.shape[1],
        }

    # -- for people ----------------------------------------------------------------------------------------------------
    @classmethod
    @torch.inference_mode()
    def label(cls, trained: Any, files: Sequence[str | Path], **options: Any) -> Iterator[tuple[str, Any]]:
        """Each row of some files of features with its most likely classes and their probabilities."""
        top, problems, told = options.get("top", 1), options.get("problems"), False
        if not 1 <= top <= len(trained.class_names):
            raise LongtailError(
                f"--top is {top}: it must be between 1 and the number of classes, {len(trained.class_names)}"
            )
        if not files:
            raise LongtailError("no file of features is given: longtail predict RUN FILE...")
        for path in map(Path, files):
            try:
                own = read_vectors(path, labels=False)
                if (width := own.x.shape[1]) != trained.info["feature_width"]:
                    raise LongtailError(f"{path} has {width} numbers in a row, the run {trained.info['feature_width']}")
            except LongtailError as error:
                if problems is None:
                    raise
                problems.append(str(error))
                continue
            told = True
            names = own.name or [f"{path}:{row}" for row in range(len(own.x))]
            for place, part in zip(range(0, len(own.x), 4096), own.x.split(4096), strict=True):
                with trained.autocast():
                    logits = trained.model(part.to(trained.device))
                probability, label = logits.float().softmax(1).topk(top)
                for row, (p, c) in enumerate(zip(probability.tolist(), label.tolist(), strict=True), place):
                    yield names[row], [(trained.class_names[i], v) for i, v in zip(c, p, strict=True)]
        if problems and not told:
            raise LongtailError(problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""))
