"""A task of one's own: images are known by the sums of their rows and columns, with a little noise in training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from longtail.data import ImageData, load_data
from longtail.data.loader import draw_key
from longtail.methods import ClassStats
from longtail.metrics import Classification
from longtail.models import final_linear
from longtail.tasks import Evaluation, Task, put_in


class Profiles(Task):
    options: ClassVar[frozenset[str]] = frozenset({"imbalance", "imbalance_kind", "protocol", "data_seed"})

    def __init__(self, data: ImageData, config: Any, device: torch.device, rank: int, world: int) -> None:
        self.data, self.seed, self.device, self.rank, self.world = data, config.seed, device, rank, world
        self.class_counts = data.train.class_counts(data.num_classes)

    @classmethod
    def read(cls, config: Any, *, record: Any = None, whole: bool = False) -> ImageData:
        return load_data(config.data, **config.keywords(cls.options), record=record, whole=whole)

    @classmethod
    def load(cls, config: Any, *, device: torch.device, rank: int = 0, world: int = 1, **how: Any) -> Profiles:
        return cls(cls.read(config, **how), config, device, rank, world)

    def build(self, parts: Any = None, weights: str | None = None) -> tuple[nn.Module, nn.Module]:
        return _network(self.data.num_classes, parts)

    @classmethod
    def restore(cls, info: Mapping[str, Any], config: Any, method: Any) -> nn.Module:
        counts = info["class_counts"]["train"]
        return _network(len(counts), method.parts(ClassStats(class_counts=counts)))[0]

    def stats(self, **training: Any) -> ClassStats:
        return ClassStats(class_counts=self.class_counts, labels=self.data.train.labels, **training)

    def description(self) -> dict[str, Any]:
        names, counts = list(self.data.class_names), {"train": self.class_counts}
        return {"class_names": names, "class_counts": counts, "model": "profiles", "image_size": 8}

    def train_batches(self, batches: Iterable[Tensor], *, epoch: int, start: int = 0) -> Iterator[Any]:
        for number, batch in enumerate(islice(batches, start, None), start):
            rows = batch[self.rank :: self.world]
            keys = [draw_key(self.seed, epoch, number, k) for k in range(self.rank, len(batch), self.world)]
            noise = torch.stack([torch.randn(16, generator=torch.Generator().manual_seed(key)) for key in keys])
            yield _profiles(self.data.train.images[rows]) + 0.05 * noise, self.data.train.labels[rows]

    def loss(self, model: nn.Module, criterion: Any, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {"loss": criterion(logits := model(batch[0]), batch[1]), "logits": logits}

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, split: str, *, observe: Any = None, **options: Any) -> Evaluation:
        part, metric = self.split(split), Classification(self.class_counts)
        logits, target = model(_profiles(part.images))[self.rank :: self.world], part.labels[self.rank :: self.world]
        metric.update(logits, target)
        if observe is not None:
            observe.update(logits, target)
        found = metric.compute()
        confusion, accuracy = found.pop("confusion"), [float("nan") if a is None else a for a in found["per_class"]]
        rows = [{"class": c, "name": name, "accuracy": accuracy[c]} for c, name in enumerate(self.data.class_names)]
        return Evaluation(found, torch.tensor(accuracy), rows, found["top1"], confusion)


def _network(classes: int, parts: Any) -> tuple[nn.Module, nn.Module]:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, classes))
    return model, put_in(model, parts, final_linear(model))


def _profiles(images: Tensor) -> Tensor:
    pixels = images.float().div(255).mean(1)
    return torch.cat([pixels.mean(1), pixels.mean(2)], dim=1)
