"""``--tune adapter``: a frozen network with a few parameters that learn in its place, and a classifier."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from longtail.config import RunConfig
from longtail.errors import LongtailError
from longtail.kwargs import parse_kwargs
from longtail.methods import ClassStats, Method, Parts, get_method
from longtail.methods._heads import CosineHead
from longtail.models import classifier_of
from longtail.models.adapters import add_adapters, add_adaptformer, freeze, merged
from longtail.tasks.base import put_in
from longtail.tasks.image import ImageTask

__all__ = ["COSINE_SCALE", "AdapterTask", "settle_head"]

COSINE_SCALE = 25.0
"""Factor of the cosines, as in LIFT (Shi et al., ICML 2024)."""


class AdapterTask(ImageTask):
    """`ImageTask` with adapters in the network; what is written of LoRA is the plain network, merged."""

    learns: ClassVar[frozenset[str]] = ImageTask.learns - {"backbone_lr", "layer_decay"} | {"adapter", "adapter_rank"}
    keeps_still: ClassVar[bool] = True

    adapter: str
    rank_of_adapter: int
    head: str

    @classmethod
    def load(cls, config: RunConfig, **options: Any) -> Self:
        task = super().load(config, **options)
        assert isinstance(task, cls) and config.adapter and config.adapter_rank and config.head
        task.adapter, task.rank_of_adapter, task.head = config.adapter, config.adapter_rank, config.head
        return task

    @classmethod
    def restore(cls, info: Mapping[str, Any], config: RunConfig, method: Method) -> nn.Module:
        model = cls.restore_network(info)
        parts = method.parts(ClassStats(class_counts=info["class_counts"]["train"], bare=True))
        put_in(model, _with_head(parts, config.head), classifier_of(model))
        if config.adapter == "adaptformer":
            assert config.adapter_rank
            add_adaptformer(model, config.adapter_rank)
        return model

    def build(self, parts: Parts | None = None, weights: str | None = None) -> tuple[nn.Module, nn.Module]:
        model = self.build_model(weights=weights)
        freeze(model)
        head = put_in(model, _with_head(parts or Parts(), self.head), classifier_of(model))
        for parameter in head.parameters():
            parameter.requires_grad_(True)
        model = model.to(self.device)
        frames = [self.data.frames] if self.data.frames else []
        shape = [2, self.channels, *frames, self.image_size, self.image_size]
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self.device)
        add_adapters(model, head, kind=self.adapter, rank=self.rank_of_adapter, images=images)
        learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
        every = sum(p.numel() for p in model.parameters())
        told = f"{self.adapter} of rank {self.rank_of_adapter}: {learned:,} of {every:,} parameters are trained"
        notes: Any = model.notes
        model.notes = [*notes, told]  # type: ignore[assignment]
        return model.to(self.device), head

    def written(self, model: nn.Module) -> contextlib.AbstractContextManager[dict[str, Tensor]]:
        return merged(model)


def settle_head(config: RunConfig) -> str:
    """``linear`` or ``cosine``: what is asked for, or cosines where the method leaves the classifier alone.

    Raises:
        LongtailError: cosines are asked for, and the method has a classifier of its own, or changes it after training.
    """
    if config.head == "linear":
        return "linear"
    parts = get_method(config.method, **parse_kwargs(config.method_kwargs)).parts(
        ClassStats(class_counts=[1, 1], bare=True)
    )
    own = parts.head is not None
    if not own and parts.finish is None:
        return "cosine"
    if config.head == "cosine":
        why = "has a classifier of its own" if own else "changes its classifier after training"
        raise LongtailError(f"--head cosine: {config.method} {why}: leave it out")
    return "linear"


def _with_head(parts: Parts, head: str | None) -> Parts:
    cosine = functools.partial(CosineHead, scale=COSINE_SCALE)
    return dataclasses.replace(parts, head=cosine) if head == "cosine" else parts
