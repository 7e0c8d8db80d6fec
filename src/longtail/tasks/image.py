"""Classification of images and of clips: they differ in the shape of a batch and in what is reported besides."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from longtail.data import Loader, inspect_data, make_loader
from longtail.data.base import ImageData, Split
from longtail.difficulty import ClassDifficulty, all_reduce_sum
from longtail.errors import LongtailError
from longtail.functional import per_class_scores
from longtail.methods import ClassStats
from longtail.metrics import Classification
from longtail.models import create_model, model_channels
from longtail.samplers import ClassAwareSampler

__all__ = ["Evaluation", "ImageTask"]

HEAD = 5
"""Most frequent classes whose precision and recall are reported apart for clips, as in Table 8 of the paper."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's result on one split.

    Args:
        metrics: What ``metrics.json`` holds of a split: fractions in [0, 1], plain JSON values.
        performance: Performance of each class in [0, 1], ``[C]``, NaN where the split has no sample of the class.
        per_class: Rows of ``per_class.csv`` without the split's name.
        confusion: Counts, true class by predicted class, ``[C, C]``.
        predicted: Class that each sample of the split was taken for, int64 ``[N]``; None: samples have none, as boxes.
    """

    metrics: dict[str, Any]
    performance: Tensor
    per_class: list[dict[str, Any]]
    confusion: Tensor
    predicted: Tensor | None = None

    @property
    def accuracy(self) -> float:
        """Share of the samples, or of the ground-truth boxes, whose class is right."""
        return self.metrics["top1"] if "top1" in self.metrics else self.metrics["box_accuracy"]

    @property
    def score(self) -> float:
        """What model selection maximises: the mean performance over the classes that the split holds."""
        return float(self.performance.double().nanmean())


class ImageTask:
    """Classification on one data set, of images or of clips.

    A batch of images is ``[B, C, S, S]``, one of clips of T frames ``[B, C, T, S, S]``.

    Args:
        data: The splits.
        model: Name of the network, which decides the channels of a batch.
        image_size: Side of the square that the model sees, in pixels.
        device: Where batches are made.
        workers: Processes that read image files; unused for data held in memory.
        seed: Seed of the augmentation.
        rank, world: This process and the number of processes: evaluation is sharded over them.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classify", "video")
    options: ClassVar[frozenset[str]] = frozenset(
        {"imbalance", "imbalance_kind", "protocol", "data_seed", "val_fraction", "select_fraction", "frames", "broken"}
        | {"frame_cache", "download", "group_by", "bit_depth", "augment"}
    )
    every_epoch: ClassVar[dict[str, Any]] = {}
    """Options of `evaluate` for the held-out split after each epoch."""

    def __init__(
        self,
        data: ImageData,
        *,
        model: str,
        image_size: int,
        device: torch.device,
        workers: int = 0,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.data, self.image_size, self.device = data, image_size, device
        self.model_name, self.channels = model, model_channels(model, data.channels)
        self.rank, self.world = rank, world
        self.class_counts = data.train.class_counts(data.num_classes)
        self._settings: dict[str, Any] = {
            "image_size": image_size,
            "device": device,
            "workers": workers,
            "seed": seed,
            "channels": self.channels,
        }
        self._loaders: dict[tuple[str, bool], Loader] = {}

    def stats(self, **training: Any) -> ClassStats:
        """What a method may know of the training split, and of the training (keywords of `ClassStats`)."""
        return ClassStats(class_counts=self.class_counts, labels=self.data.train.labels, **training)

    def description(self) -> dict[str, Any]:
        """``data.json``: what `predict` and the report must know of the data."""
        splits = inspect_data(self.data)["splits"]
        return {
            "name": self.data.name,
            "class_names": list(self.data.class_names),
            "class_counts": {name: split["class_counts"] for name, split in splits.items()},
            "notes": list(self.data.notes),
            "mean": list(self.data.mean),
            "std": list(self.data.std),
            "center_crop": self.data.center_crop,
            "image_size": self.image_size,
            "channels": self.channels,
            "data_channels": self.data.channels,
            "model": self.model_name,
            "frames": self.data.frames,
            "bit_depth": self.data.bit_depth,
        }

    def build_model(self, *, weights: str | None = None) -> nn.Module:
        """A fresh model with one logit a class, on the task's device."""
        model = create_model(
            self.model_name,
            num_classes=self.data.num_classes,
            in_channels=self.channels,
            image_size=self.image_size,
            frames=self.data.frames,
            weights=weights,
        )
        last = torch.channels_last_3d if self.data.frames else torch.channels_last
        return model.to(self.device, memory_format=last)  # pyright: ignore[reportCallIssue]

    def train_batches(
        self, batches: Iterable[Tensor], *, epoch: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of each global batch of training indices: augmented batch, targets ``[B]``.

        An epoch that is continued leaves out its first ``start`` batches.
        """
        return self._loader("train", augment=True)(batches, epoch=epoch, rank=self.rank, world=self.world, start=start)

    def meta_batches(
        self, size: int, steps: int, *, epoch: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor] | None]:
        """This process's share of a class-balanced batch of ``size`` held-out samples a step, augmented as in training.

        The classes take turns, and each runs through its samples in shuffled order; classes that the held-out split
        lacks are left out. Size 0: a None a step.

        Raises:
            LongtailError: a process would have no sample in a batch.
        """
        if not size:
            return itertools.repeat(None, steps - start)
        if size < self.world:
            raise LongtailError(f"meta_batch is {size}: {self.world} processes need at least one sample each")
        sampler = ClassAwareSampler(self.split("val").labels, num_samples=steps * size, seed=self._settings["seed"])
        sampler.set_epoch(epoch)
        batches = sampler.indices().split(size)
        return self._loader("val", augment=True)(batches, epoch=epoch, rank=self.rank, world=self.world, start=start)

    def use(self, model: nn.Module, criterion: Any) -> None:
        """Nothing to prepare: the loss calls the criterion, and a classifier is judged by its logits alone."""

    def loss(self, model: nn.Module, criterion: Any, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Forward pass and loss of one batch: ``{"loss": scalar, "logits": [B, C]}``."""
        images, target = batch
        logits = model(images)
        return {"loss": criterion(logits, target), "logits": logits}

    def split(self, name: str) -> Split:
        """One of ``train``, ``val``, ``test``, ``select``."""
        split = getattr(self.data, name, None)
        if not isinstance(split, Split):
            raise LongtailError(f"{self.data.name} has no {name!r} split")
        return split

    def _loader(self, name: str, *, augment: bool) -> Loader:
        key = (name, augment)
        if key not in self._loaders:
            self._loaders[key] = make_loader(self.split(name), self.data, train=augment, **self._settings)
        return self._loaders[key]

    def close(self) -> None:
        """End the worker processes."""
        for loader in self._loaders.values():
            loader.close()

    @torch.inference_mode()
    def evaluate(
        self, model: nn.Module, split: str, *, batch_size: int = 256, observe: ClassDifficulty | None = None
    ) -> Evaluation:
        """Judge ``model`` (switched to ``eval()`` and back) on a split; all processes get the result of the whole.

        Args:
            model: One logit a class.
            split: Its name.
            batch_size: Of one process.
            observe: Updated with this process's share of the predictions.
        """
        part = self.split(split)
        metric = Classification(self.class_counts, head=HEAD if self.data.frames else 0).to(self.device)
        batches = torch.arange(len(part)).split(batch_size)[self.rank :: self.world]
        predicted = torch.zeros(len(part), dtype=torch.int64, device=self.device)
        training = model.training
        model.eval()
        for rows, (images, target) in zip(batches, self._loader(split, augment=False)(batches), strict=True):
            logits = model(images).float()
            predicted[rows.to(self.device)] = logits.argmax(1)
            metric.update(logits, target)
            if observe is not None:
                observe.update(logits, target)
        model.train(training)
        result = metric.compute()
        confusion = result.pop("confusion").cpu()
        performance = torch.tensor([float("nan") if a is None else a for a in result["per_class"]], dtype=torch.float64)
        predicted = all_reduce_sum(predicted).cpu()  # each process has filled in its own rows
        return Evaluation(result, performance, self._per_class(confusion), confusion, predicted)

    def examples(self, model: nn.Module) -> None:
        """No picture: what is found in an image is its label, and the tables tell that. `DetectionTask` has one."""

    @torch.no_grad()
    def features(
        self, model: nn.Module, head: nn.Module, split: str, *, batch_size: int = 256
    ) -> tuple[Tensor, Tensor]:
        """What ``model`` (switched to ``eval()`` and back) feeds to its classifier ``head``, without augmentation.

        Every process computes the whole split.

        Returns:
            Features float32 ``[N, D]`` and targets ``[N]``, in the order of the split.
        """
        features, targets = [], []
        batches = torch.arange(len(self.split(split))).split(batch_size)
        hook = head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].float()))
        training = model.training
        model.eval()
        try:
            for images, target in self._loader(split, augment=False)(batches):
                model(images)
                targets.append(target)
        finally:
            hook.remove()
            model.train(training)
        return torch.cat(features), torch.cat(targets)

    def _per_class(self, confusion: Tensor) -> list[dict[str, Any]]:
        scores = {name: values.tolist() for name, values in per_class_scores(confusion).items()}
        count = confusion.sum(1).tolist()
        return [
            {"class": c, "name": name, "train_count": self.class_counts[c], "count": count[c]}
            | {key: values[c] if count[c] else "" for key, values in ({"accuracy": scores["recall"]} | scores).items()}
            for c, name in enumerate(self.data.class_names)
        ]
