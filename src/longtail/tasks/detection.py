"""Object detection and instance segmentation."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from longtail.advice import Finding
from longtail.config import DataOptions, RunConfig
from longtail.data import load_boxes
from longtail.data.box_reader import Batch, BoxReader
from longtail.data.boxes import BoxData, BoxSplit, inspect_boxes, with_categories
from longtail.data.catalogue import Entry, known
from longtail.data.given import image_files
from longtail.data.loader import draw_key, usable_workers
from longtail.data.record import SplitRecord
from longtail.difficulty import ClassDifficulty, all_reduce_sum
from longtail.errors import LongtailError
from longtail.evenness import evenness
from longtail.functional.counting import confusion_cells
from longtail.integrations.detection import box_predictions, boxes_of_step, with_box_criterion
from longtail.methods import ClassStats, Method, Parts
from longtail.metrics._confusion import Confusion
from longtail.metrics.detection import detection_ap
from longtail.models.detectors import architecture_of, box_classifier, create_detector, has_published
from longtail.models.pretrained import PretrainedWeights
from longtail.prediction.drawing import beside, draw_objects
from longtail.prediction.results import coco_results
from longtail.tasks.base import Evaluation, Predictions, Task, put_in
from longtail.tasks.description import BOXES, Rules
from longtail.tasks.start import DEFAULT_DETECTOR, choose_start

__all__ = ["DetectionTask", "coco_results"]


class DetectionTask(Task):
    """Detection, and with ``masks`` segmentation, on one data set.

    Args:
        data: The splits.
        model: Name of the detector, see `create_detector`.
        image_size: Shorter side to which the model brings images, in pixels.
        device: Where batches are made.
        masks: Train and judge masks too.
        workers: Threads that read images ahead; 0: none.
        seed: Seed of the augmentation (horizontal flips).
        rank, world: This process and the number of processes: evaluation is sharded over them.
        options: Of torchvision's detectors.
    """

    kinds: ClassVar[tuple[str, ...]] = ("detect", "segment")
    options: ClassVar[frozenset[str]] = frozenset({"data_seed", "val_fraction", "broken", "bit_depth", "group_by"})
    reads: ClassVar[tuple[str, ...]] = ("detect",)
    rules: ClassVar[Rules] = BOXES
    every_epoch: ClassVar[Mapping[str, Any]] = {"quick": True}
    warms_up_by_step: ClassVar[bool] = True  # or a new detector diverges in its first epoch

    def __init__(
        self,
        data: BoxData,
        *,
        model: str,
        image_size: int,
        device: torch.device,
        masks: bool = False,
        workers: int = 0,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        options: dict[str, Any] | None = None,
    ) -> None:
        if masks and not model.lower().startswith("mask"):
            raise LongtailError(f"{model} finds no masks: choose {model.replace('faster', 'mask')}")
        self.data, self.model_name, self.image_size = data, model, image_size
        self.device, self.masks, self.seed = device, masks or model.lower().startswith("mask"), seed
        self.rank, self.world, self._of_detector = rank, world, options or {}
        self.class_counts = data.train.instance_counts()
        self._reader = BoxReader(self.split, device=device, masks=self.masks, flips=data.flip, workers=workers)
        self._frozen_norm = False
        self._start: dict[str, Any] = {}  # how pixels are normalised, and whose weights the detector starts from

    # -- ways in -------------------------------------------------------------------------------------------------------
    @classmethod
    def settle(cls, config: RunConfig, entry: Entry) -> tuple[RunConfig, dict[str, Any]]:
        """Segmentation is done by the detector's counterpart with masks."""
        name, defaults = entry.name, dict(entry.training)
        if entry.task == "video":
            raise LongtailError(f"{name} has clips to classify, nothing for --task {config.task}: use --task video")
        if entry.task not in cls.reads:
            raise LongtailError(
                f"{name} has no boxes for --task {config.task}: known are {', '.join(known(['detect']))}"
            )
        if config.task == "segment":
            defaults["model"] = defaults["model"].replace("faster", "mask")
        if config.tune not in (None, "all"):
            raise LongtailError(f"--tune {config.tune} means nothing to --task {config.task}: leave it out")
        default = DEFAULT_DETECTOR.replace("faster", "mask" if config.task == "segment" else "faster")
        model, weights = choose_start(
            config, defaults, photographs=entry.photographs, default=default, published=has_published
        )
        config = dataclasses.replace(config, model=model, weights=weights)
        return config, defaults

    @classmethod
    def check_method(cls, method: Method, kind: str) -> None:
        """Refuse a method that is not made for boxes, or that measures what they do not have."""
        super().check_method(method, kind)
        if getattr(method, "measure", "recall") not in ("recall", "precision", "f1"):
            raise LongtailError(
                "with boxes the difficulty is measured from decisions: use measure=recall, precision or f1"
            )

    @classmethod
    def read(cls, config: RunConfig, *, record: SplitRecord | None = None, whole: bool = False) -> BoxData:
        """The data of a configuration, see `load_boxes`."""
        masks = config.task == "segment" or (config.model or "").lower().startswith("mask")
        return load_boxes(config.data, **_keywords(config), masks=masks, record=record, whole=whole)

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
    ) -> DetectionTask:
        """The task of a configuration, for process ``rank`` of ``world``."""
        assert config.model and config.image_size
        return cls(
            cls.read(config, record=record, whole=whole),
            model=config.model,
            image_size=config.image_size,
            device=device,
            masks=config.task == "segment" or config.model.lower().startswith("mask"),
            workers=usable_workers(config.workers or 0),
            seed=config.seed,
            rank=rank,
            world=world,
        )

    def adopt(self, info: Mapping[str, Any], split: str) -> DetectionTask:
        """This task as one for the detector of a finished run: its categories by their names, its rules, its counts."""
        part = with_categories(self.split(split), self.data.name, info)
        data = BoxData(name=self.data.name, train=part, val=part, test=part, rules=info["rules"])
        task = type(self)(data, model=info["model"], image_size=info["image_size"], device=self.device)
        task.class_counts = info["class_counts"]["train"]
        return task

    @classmethod
    def restore(cls, info: Mapping[str, Any], config: RunConfig, method: Method) -> nn.Module:
        """The detector of a finished run, ready for its weights, its boxes scored as the method has it."""
        described: Mapping[str, Any] = info.get("architecture") or {"name": info["model"], "args": None}
        model = create_detector(
            described["name"],
            args=described["args"],
            num_classes=len(info["class_names"]),
            image_size=info["image_size"],
            frozen_norm=info["frozen_norm"],
            **{key: info[key] for key in ("image_mean", "image_std") if info.get(key)},
        )
        parts = method.parts(ClassStats(class_counts=info["class_counts"]["train"], task=config.task, bare=True))
        put_in(model, parts, box_classifier(model))
        last = dataclasses.replace(parts, **parts.stages[-1].parts) if parts.stages else parts
        return with_box_criterion(model, last.criterion)

    # -- the model -----------------------------------------------------------------------------------------------------
    def description(self) -> dict[str, Any]:
        """``data.json``: what `predict` and the report must know of the data."""
        found = inspect_boxes(self.data)
        return {
            "name": self.data.name,
            "class_names": found["class_names"],
            "class_counts": {name: split["instance_counts"] for name, split in found["splits"].items()},
            "image_counts": {name: split["image_counts"] for name, split in found["splits"].items()},
            "frequency": [category["frequency"] for category in self.data.train.categories],
            "category_ids": [category["id"] for category in self.data.train.categories],
            "rules": self.data.rules,
            "notes": list(self.data.notes),
            "image_size": self.image_size,
            "masks": self.masks,
            "model": self.model_name,
            "frozen_norm": self._frozen_norm,
            "architecture": architecture_of(self.model_name),
            **self._start,
        }

    def build_model(self, *, weights: str | None = None) -> nn.Module:
        """A fresh detector on the task's device."""
        model = create_detector(
            self.model_name,
            num_classes=self.data.num_classes,
            image_size=self.image_size,
            weights=weights,
            **self._of_detector,
        )
        self._frozen_norm = model.frozen_norm
        look: Any = model.transform
        self._start = {"image_mean": list(look.image_mean), "image_std": list(look.image_std)}
        if isinstance(info := model.weights_info, PretrainedWeights):
            self._start["weights"] = info.told()
        return model.to(self.device)

    def build(self, parts: Parts | None = None, weights: str | None = None) -> tuple[nn.Module, nn.Module]:
        """A fresh detector on the task's device with a method's parts, and the classifier of its boxes."""
        model = self.build_model(weights=weights)
        head = put_in(model, parts, box_classifier(model))
        return model.to(self.device), head

    def stats(self, **training: Any) -> ClassStats:
        """What a method may know of the training split, with instances for class counts, and of the training."""
        return ClassStats(
            class_counts=self.class_counts,
            task="segment" if self.masks else "detect",
            labels_per_image=self.data.train.labels_per_image(),
            **training,
        )

    # -- batches -------------------------------------------------------------------------------------------------------
    def train_batches(self, batches: Iterable[Tensor], *, epoch: int, start: int = 0) -> Iterator[Batch]:
        """This process's share of each global batch of training rows: images in [0, 1], and their targets.

        An epoch that is continued leaves out its first ``start`` batches.

        A flip is a function of (seed, epoch, batch, position in the batch) alone.
        """
        jobs = (
            [(row, draw_key(self.seed, epoch, number, k) % 2 == 1) for k, row in enumerate(batch.tolist())]
            for number, batch in enumerate(itertools.islice(batches, start, None), start)
        )
        yield from self._reader.read("train", (job[self.rank :: self.world] for job in jobs))

    def meta_batches(self, size: int, steps: int, *, epoch: int, start: int = 0) -> Iterator[None]:
        """Nothing for each step: no method for boxes asks for held-out batches in training."""
        return itertools.repeat(None, steps - start)

    def features(self, model: nn.Module, head: nn.Module, split: str) -> tuple[Tensor, Tensor]:
        """Not for boxes: methods that ask for the classifier's input are made for whole images."""
        raise LongtailError("this method looks at the features of whole images: it cannot be used for boxes")

    def eval_batches(self, name: str, *, batch_size: int = 8) -> Iterator[tuple[list[int], Batch]]:
        """This process's share of a split: rows, and their batch."""
        rows = list(range(len(self.split(name))))[self.rank :: self.world]
        own = [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
        yield from zip(own, self._reader.read(name, ([(row, False) for row in part] for part in own)), strict=True)

    def close(self) -> None:
        """End the reading threads."""
        self._reader.close()

    # -- training and judging ------------------------------------------------------------------------------------------
    def use(self, model: nn.Module, criterion: Any) -> None:
        """Let ``criterion`` judge and score the classes of the boxes: called when a stage begins, and before judging.

        Logits are ``[N, C + 1]``, labels ``[N]`` with 0 for the background, see `with_box_criterion`.
        """
        with_box_criterion(model, criterion)

    def loss(self, model: nn.Module, criterion: Any, batch: Batch) -> dict[str, Tensor]:
        """Forward pass and losses of one batch: ``loss`` is the sum of torchvision's others, which come by their names.

        ``logits`` ``[n, C]`` and ``target`` ``[n]`` are those of the foreground boxes, the background aside.
        ``criterion`` is the one in `use`.
        """
        losses = model(*batch)
        logits, target = boxes_of_step(_bare(model))
        return {"loss": torch.stack(list(losses.values())).sum(), "logits": logits, "target": target, **losses}

    @torch.inference_mode()
    def evaluate(
        self,
        model: nn.Module,
        split: str,
        *,
        batch_size: int = 8,
        observe: ClassDifficulty | None = None,
        quick: bool = False,
    ) -> Evaluation:
        """Judge ``model`` (switched to ``eval()`` and back) on a split; all processes get the result of the whole.

        Args:
            model: The detector; its criterion says how boxes are scored.
            split: Its name.
            batch_size: Of one process.
            observe: Updated with this process's share of the classes seen in ground-truth boxes.
            quick: Only tell whether the ground-truth boxes are recognised: their recall is the performance then, and
                without it the average precision of each category is.
        """
        part, classes = self.split(split), self.data.num_classes
        confusion, total = Confusion(classes), torch.zeros(classes, dtype=torch.int64)
        found: list[dict[str, Any]] = []
        training = model.training
        model.eval()
        for rows, (images, targets) in self.eval_batches(split, batch_size=batch_size):
            predicted, label = (values.cpu() for values in box_predictions(model, images, targets))
            total += torch.bincount(label, minlength=classes)
            seen = (predicted >= 0) & (predicted < classes)  # no class: the background
            confusion.update(label[seen], predicted[seen])
            if observe is not None:
                observe.update(predicted, label)
            if not quick:
                found += self._results(part, rows, model(images))
        model.train(training)
        cells, total = confusion.total(), all_reduce_sum(total)
        true, guessed, count = confusion_cells(cells)
        hit = true == guessed
        right = torch.zeros(classes, dtype=torch.float64).index_add(0, true[hit], count[hit].double())
        recall = right / total
        metrics: dict[str, Any] = {
            "box_accuracy": float(count[hit].sum() / total.sum().clamp(min=1)),
            "box_recall": float(recall.nanmean()),
        }
        performance = recall
        if not quick:
            precision = self._average_precision(part, found, "box")
            performance = torch.tensor([precision["per_category"][c["id"]] for c in part.categories]).double()
            per_class = [None if v != v else v for v in performance.tolist()]
            metrics |= _plain(precision) | evenness(per_class) | {"per_class": per_class}
            if self.masks:
                metrics["mask"] = _plain(self._average_precision(part, found, "mask"))
        rows_out = [
            {"class": c, "name": name, "train_count": self.class_counts[c], "count": int(total[c])}
            | ({"accuracy": float(recall[c]), "recall": float(recall[c])} if total[c] else {})
            for c, name in enumerate(self.data.class_names)
        ]
        return Evaluation(metrics, performance, rows_out, metrics["box_accuracy"], cells)

    @torch.inference_mode()
    def examples(self, model: nn.Module, *, split: str = "test", number: int = 4, threshold: float = 0.3) -> Tensor:
        """A picture ``[3, H, W]`` of some images of a split: their objects on the left, what is found on the right.

        The first one shows one of the rarest categories, the last one frequent ones only.

        Args:
            model: The detector; its criterion says how boxes are scored.
            split: Its name.
            number: Of images.
            threshold: Smallest score that is drawn; at most 20 objects are.
        """
        part, names = self.split(split), {c["id"]: c["name"] for c in self.data.train.categories}
        rarest = [min((self.class_counts[c] for c in own), default=None) for own in part.labels_per_image()]
        shown = sorted((n, row) for row, n in enumerate(rarest) if n is not None)
        chosen = [shown[i * (len(shown) - 1) // max(number - 1, 1)][1] for i in range(min(number, len(shown)))] or [0]
        ids, training, rows = list(names), model.training, []
        model.eval()
        for row in chosen:
            pixels, truth = part.read(row), [own for own in part.objects[row] if not own["iscrowd"]]
            (output,) = model([pixels.to(self.device).float() / 255])
            found = [own for own in coco_results(output, None, ids) if own["score"] >= threshold]
            named = [[own | {"name": names[own["category_id"]]} for own in map(dict, some)] for some in (truth, found)]
            rows.append([draw_objects(pixels, some[:20], most=384) for some in named])
        model.train(training)
        return beside(rows)

    @classmethod
    def label(cls, trained: Any, files: Sequence[str | Path], **options: Any) -> Iterator[tuple[str, Any]]:
        """Not for boxes: a file has no single class."""
        del files, options
        raise LongtailError(f"{trained.folder.path} finds objects: use longtail.training.apply_boxes.find_objects")

    @classmethod
    def predict(cls, trained: Any, files: Sequence[str | Path], **options: Any) -> Predictions:
        """A row an object of at least the score ``threshold``; all of them as COCO's results, with pictures, are saved
        to ``.json`` or to a folder."""
        from longtail.prediction.objects import find_objects, write_objects

        threshold, problems = options.get("threshold", 0.5), options.get("problems")

        def found() -> Iterator[Any]:
            paths = image_files(files, notes=options.get("notes"), problems=problems)
            return find_objects(trained, paths, problems=problems)

        def rows() -> Iterator[dict[str, Any]]:
            for path, _, detections in found():
                for entry in detections:
                    if entry["score"] >= threshold:
                        box = dict(zip(("x", "y", "width", "height"), entry["bbox"], strict=True))
                        yield {"file": path, "label": entry["name"], "score": entry["score"], **box}

        def lines(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
            for row in rows:
                box = "\t".join(f"{row[side]:.1f}" for side in ("x", "y", "width", "height"))
                yield f"{row['file']}\t{row['label']}\t{row['score']:.4f}\t{box}"

        def save(place: Path) -> str:
            file, folder, pictures = write_objects(found(), place, threshold=threshold)
            return f"wrote {file}, and {pictures} pictures in {folder}"

        columns = ("file", "label", "score", "x", "y", "width", "height")
        return Predictions(columns, rows(), lines, save, (".json", ""))

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
        """Images and instances of every category, frequency groups, a picture; also where photographs are missing."""
        from longtail.inspection.boxes import describe_boxes

        content = load_boxes(data, look=True, **_keywords(options))
        yield from describe_boxes(content, picture=picture, verify=verify, found=found)

    def _average_precision(self, part: BoxSplit, found: list[dict[str, Any]], kind: Any) -> dict[str, Any]:
        """Of the whole split on every process."""
        if self.world > 1:
            shards: list[list[dict[str, Any]]] = [[] for _ in range(self.world)]
            dist.all_gather_object(shards, found)
            found = sorted(itertools.chain.from_iterable(shards), key=lambda result: result["row"])
        return detection_ap(part.truth(), found, kind=kind, rules=self.data.rules)

    def _results(
        self, part: BoxSplit, rows: Sequence[int], outputs: Sequence[dict[str, Tensor]]
    ) -> list[dict[str, Any]]:
        """Detections in COCO's format of results, with the row of their image."""
        ids = [category["id"] for category in part.categories]
        return [
            result | {"row": row}
            for row, output in zip(rows, outputs, strict=True)
            for result in coco_results(output, part.images[row]["id"], ids)
        ]


def _keywords(options: DataOptions) -> dict[str, Any]:
    """Those of `load_boxes`; what cannot be used is refused unless it is said."""
    return options.keywords(DetectionTask.options) | {"broken": options.broken or "refuse"}


def _bare(model: nn.Module) -> nn.Module:
    """The model without the shells of DistributedDataParallel and torch.compile."""
    for name in ("module", "_orig_mod"):
        model = getattr(model, name, model)
    return model


def _plain(precision: dict[str, Any]) -> dict[str, Any]:
    return {key: None if v != v else v for key, v in precision.items() if key != "per_category"}
