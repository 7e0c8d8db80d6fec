"""Classification of images and of clips: they differ in the shape of a batch and in what is reported besides."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from longtail import runfolder
from longtail.advice import Finding
from longtail.config import DataOptions, RunConfig
from longtail.data import Loader, inspect_data, load_data, make_loader, suggest_workers
from longtail.data.base import ImageData
from longtail.data.catalogue import Entry, find_entry, known
from longtail.data.copies import Near
from longtail.data.loader import Batch, usable_cpus, usable_workers
from longtail.data.record import SplitRecord
from longtail.data.splits import sample_numbers
from longtail.difficulty import ClassDifficulty, all_reduce_sum
from longtail.errors import LongtailError
from longtail.functional import per_class_scores
from longtail.functional.counting import confusion_cells
from longtail.methods import ClassStats, Method, Parts
from longtail.metrics import Classification
from longtail.models import (
    PretrainedWeights,
    architecture_of,
    classifier_of,
    create_model,
    layer_depths,
    model_channels,
    preprocess_of,
)
from longtail.names import same_classes
from longtail.prediction.labels import label_files
from longtail.samplers import ClassAwareSampler
from longtail.tasks.base import Evaluation, Predictions, Task, put_in
from longtail.tasks.description import IMAGES, Rules
from longtail.tasks.start import settle_start, with_look

__all__ = ["Evaluation", "ImageTask"]

JUDGED = 256
"""Images that are judged at once, fewer of those that have more pixels than `PIXELS` together."""
PIXELS = JUDGED * 224 * 224
HEAD = 5
"""Most frequent classes whose precision and recall are reported apart for clips, as in Table 8 of the paper."""


class ImageTask(Task):
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
        | {"frame_cache", "download", "group_by", "bit_depth", "augment", "columns"}
    )
    reads: ClassVar[tuple[str, ...]] = ("classify", "video")
    rules: ClassVar[Rules] = IMAGES
    learns: ClassVar[frozenset[str]] = Task.learns | {"backbone_lr", "layer_decay", "label_smoothing"}
    exports: ClassVar[bool] = True

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
        self._weights: Mapping[str, str] | None = None  # whose the model starts from

    # -- ways in -------------------------------------------------------------------------------------------------------
    @classmethod
    def settle(cls, config: RunConfig, entry: Entry) -> tuple[RunConfig, dict[str, Any]]:
        """Clips are classified as ``video``, whether it is said or not."""
        if entry.task not in cls.reads:
            raise LongtailError(f"{entry.name} is no data set of labelled images: use it with --task detect or segment")
        if entry.task == "video":
            config = dataclasses.replace(config, task="video", frames=config.frames or entry.frames)
        elif config.task == "video":
            raise LongtailError(f"{entry.name} has no clips for --task video: known are {', '.join(known(['video']))}")
        clips = entry.task == "video"
        return settle_start(config, dict(entry.training), photographs=entry.photographs, clips=clips)

    @classmethod
    def read(
        cls,
        config: RunConfig,
        *,
        record: SplitRecord | None = None,
        whole: bool = False,
        near: Near | None = None,
    ) -> ImageData:
        """The data of a configuration, see `load_data`."""
        return load_data(config.data, **config.keywords(cls.options), record=record, whole=whole, near=near)

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
    ) -> ImageTask:
        """The task of a configuration, for process ``rank`` of ``world``; the first one downloads."""
        assert config.model and config.image_size
        data = cls.look_at(config, rank=rank, record=record, whole=whole)
        workers = config.workers
        if workers is None:
            workers = suggest_workers(data.train, config.image_size, usable_cpus() // world)
        return cls(
            data,
            model=config.model,
            image_size=config.image_size,
            device=device,
            workers=usable_workers(workers),
            seed=config.seed,
            rank=rank,
            world=world,
        )

    @classmethod
    def look_at(
        cls,
        config: RunConfig,
        *,
        rank: int = 0,
        record: SplitRecord | None,
        whole: bool,
        near: Near | None = None,
    ) -> ImageData:
        """The data of a configuration as its network expects them; the first process downloads."""
        config = dataclasses.replace(config, download=config.download and rank == 0)
        assert config.model
        data = with_look(
            cls.read(config, record=record, whole=whole, near=near), preprocess_of(config.model, config.weights)
        )
        if data.num_classes < 2 and not whole:
            raise LongtailError(
                f"{config.data} has the one class {data.class_names[0]!r}: a classifier needs at least two"
            )
        return data

    def adopt(self, info: Mapping[str, Any], split: str) -> ImageTask:
        """This task as one for the model of a finished run: its classes by their names, its look, its counts."""
        data = with_classes(self.data, split, info["class_names"])
        if bool(data.frames) != bool(info.get("frames", 0)):
            other = "clips" if info.get("frames", 0) else "images"
            raise LongtailError(f"{data.name} has {data.item}s, and the run was trained on {other}")
        if data.train.in_memory and data.channels != info["data_channels"]:
            raise LongtailError(f"{data.name} has {data.channels} channels, the run's data {info['data_channels']}")
        look: dict[str, Any] = {key: info[key] for key in ("mean", "std", "center_crop")}
        data = dataclasses.replace(data, **look, interpolation=info.get("interpolation", "bilinear"))
        task = type(self)(data, model=info["model"], image_size=info["image_size"], device=self.device)
        task.class_counts = info["class_counts"]["train"]  # the shot groups are those of the training
        return task

    @classmethod
    def restore(cls, info: Mapping[str, Any], config: RunConfig, method: Method) -> nn.Module:
        """The network of a finished run, ready for its weights."""
        model = cls.restore_network(info)
        put_in(
            model, method.parts(ClassStats(class_counts=info["class_counts"]["train"], bare=True)), classifier_of(model)
        )
        return model

    @classmethod
    def restore_network(cls, info: Mapping[str, Any]) -> nn.Module:
        """The same without a method's parts."""
        described: Mapping[str, Any] = info.get("architecture") or {"name": info["model"], "args": None}
        return create_model(
            described["name"],
            args=described["args"],
            num_classes=len(info["class_names"]),
            in_channels=info["channels"],
            image_size=info["image_size"],
            frames=info.get("frames", 0),
        )

    # -- the model -----------------------------------------------------------------------------------------------------
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
            "interpolation": self.data.interpolation,
            "image_size": self.image_size,
            "channels": self.channels,
            "data_channels": self.data.channels,
            "model": self.model_name,
            "frames": self.data.frames,
            "bit_depth": self.data.bit_depth,
            "architecture": architecture_of(self.model_name),
            "weights": self._weights,
        }

    def build_model(self, *, weights: str | None = None) -> nn.Module:
        """A fresh model with one logit per class, on the task's device."""
        model = create_model(
            self.model_name,
            num_classes=self.data.num_classes,
            in_channels=self.channels,
            image_size=self.image_size,
            frames=self.data.frames,
            weights=weights,
        )
        if isinstance(info := model.weights_info, PretrainedWeights):
            self._weights = info.told()
        last = torch.channels_last_3d if self.data.frames else torch.channels_last
        return model.to(self.device, memory_format=last)  # pyright: ignore[reportCallIssue]

    def build(self, parts: Parts | None = None, weights: str | None = None) -> tuple[nn.Module, nn.Module]:
        """A fresh model on the task's device with a method's parts, and its classifier."""
        model = self.build_model(weights=weights)
        head = put_in(model, parts, classifier_of(model))
        return model.to(self.device), head

    def depths(self, model: nn.Module) -> Mapping[str, int] | None:
        """Of each parameter by its name the number of its layer, from the input; None: the network does not tell."""
        return layer_depths(model)

    # -- batches, loss, judgement --------------------------------------------------------------------------------------
    def train_batches(self, batches: Iterable[Tensor], *, epoch: int, start: int = 0) -> Iterator[Batch]:
        """This process's share of each global batch of training indices: augmented batch, targets ``[B]``, and what
        is mixed into the images where they are mixed.

        An epoch that is continued leaves out its first ``start`` batches.
        """
        return self._loader("train", augment=True)(batches, epoch=epoch, rank=self.rank, world=self.world, start=start)

    def meta_batches(self, size: int, steps: int, *, epoch: int, start: int = 0) -> Iterator[Batch | None]:
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

    def loss(self, model: nn.Module, criterion: Any, batch: Batch) -> dict[str, Tensor]:
        """Forward pass and loss of one batch: ``{"loss": scalar, "logits": [B, C]}``."""
        images, target, *mixture = batch
        logits = model(images)
        loss = mixture[0].loss(criterion, logits, target) if mixture else criterion(logits, target)
        return {"loss": loss, "logits": logits}

    def _loader(self, name: str, *, augment: bool) -> Loader:
        key = (name, augment)
        if key not in self._loaders:
            self._loaders[key] = make_loader(self.split(name), self.data, train=augment, **self._settings)
        return self._loaders[key]

    def _at_once(self) -> int:
        """Samples that are judged at once."""
        return max(1, min(JUDGED, PIXELS // (self.image_size**2 * max(1, self.data.frames))))

    def close(self) -> None:
        """End the worker processes."""
        for loader in self._loaders.values():
            loader.close()

    @torch.inference_mode()
    def evaluate(
        self, model: nn.Module, split: str, *, batch_size: int | None = None, observe: ClassDifficulty | None = None
    ) -> Evaluation:
        """Judge ``model`` (switched to ``eval()`` and back) on a split; all processes get the result of the whole.

        Args:
            model: One logit per class.
            split: Its name.
            batch_size: Of one process; None: as many as memory should have.
            observe: Updated with this process's share of the predictions.
        """
        part = self.split(split)
        metric = Classification(self.class_counts, head=HEAD if self.data.frames else 0).to(self.device)
        batches = torch.arange(len(part)).split(batch_size or self._at_once())[self.rank :: self.world]
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
        confusion = result.pop("confusion")
        performance = torch.tensor([float("nan") if a is None else a for a in result["per_class"]], dtype=torch.float64)
        predicted = all_reduce_sum(predicted).cpu()  # each process has filled in its own rows
        return Evaluation(result, performance, self._per_class(confusion), result["top1"], confusion, predicted)

    def samples(self, split: str) -> dict[str, Tensor]:
        """Of each sample of a split its ``sample`` number, the same in every run, and its ``target``, int32 ``[N]``."""
        part = self.split(split)
        return {"sample": sample_numbers(part.images), "target": part.labels.int()}

    @torch.no_grad()
    def features(
        self, model: nn.Module, head: nn.Module, split: str, *, batch_size: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """What ``model`` (switched to ``eval()`` and back) feeds to its classifier ``head``, without augmentation.

        Every process computes the whole split.

        Returns:
            Features float32 ``[N, D]`` and targets ``[N]``, in the order of the split.
        """
        features, targets = [], []
        batches = torch.arange(len(self.split(split))).split(batch_size or self._at_once())
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

    @classmethod
    def label(cls, trained: Any, files: Sequence[str | Path], **options: Any) -> Iterator[tuple[str, Any]]:
        """Each file with its most likely classes and their probabilities."""
        return label_files(trained, files, **options)

    @classmethod
    def predict(cls, trained: Any, files: Sequence[str | Path], **options: Any) -> Predictions:
        """A row a file and class, the best first; a line a file."""
        options.pop("threshold", None)
        top = max(options.get("top", 1), 1)

        def rows() -> Iterator[dict[str, Any]]:
            for file, classes in cls.label(trained, files, **options):
                for rank, (label, p) in enumerate(classes, 1):
                    yield {"file": file, "rank": rank, "label": label, "probability": p}

        def lines(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
            while own := list(itertools.islice(rows, top)):
                yield "\t".join([own[0]["file"], *(f"{row['label']}\t{row['probability']:.4f}" for row in own)])

        return Predictions(("file", "rank", "label", "probability"), rows(), lines)

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
        """Class counts, imbalance, shot groups, splits, what would be hard, and a picture."""
        from longtail.data.listed import counts_of_lists
        from longtail.inspection.images import describe_images

        near, told = None, list[str]()
        if options.group_by == "auto" and find_entry(data).photographs:
            from longtail.tasks.near import near_of_data

            kept = Path("runs") / runfolder.FEATURES  # where a run looks for them
            near = near_of_data(data, bit_depth=options.bit_depth, folder=kept, note=told.append)
            told += near.network.notes
        try:
            content = load_data(data, **options.keywords(cls.options), near=near)
        except LongtailError:
            yield from counts_of_lists(data)  # what is known although files are missing
            raise
        yield from (f"note: {note}" for note in told)
        yield from describe_images(content, picture=picture, verify=verify, found=found)

    def _per_class(self, confusion: Tensor) -> list[dict[str, Any]]:
        scores = {name: values.tolist() for name, values in per_class_scores(confusion).items()}
        true, _, counts = confusion_cells(confusion)
        count = torch.zeros(len(confusion), dtype=torch.int64).index_add(0, true, counts).tolist()
        return [
            {"class": c, "name": name, "train_count": self.class_counts[c], "count": count[c]}
            | {key: values[c] if count[c] else "" for key, values in ({"accuracy": scores["recall"]} | scores).items()}
            for c, name in enumerate(self.data.class_names)
        ]


def with_classes(data: ImageData, name: str, class_names: Sequence[str]) -> ImageData:
    """``data`` with the labels of one split as indices into ``class_names``.

    Raises:
        LongtailError: no such split, or other classes.
    """
    places = same_classes(data.class_names, class_names, where=data.name)
    part = getattr(data, name, None)
    if part is None:
        raise LongtailError(f"{data.name} has no {name!r} split")
    labels = torch.tensor(places)[part.labels]
    parts: dict[str, Any] = {name: dataclasses.replace(part, labels=labels)}
    return dataclasses.replace(data, class_names=class_names, **parts)
