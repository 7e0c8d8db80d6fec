"""A second classifier of a detector's boxes, trained in balance beside the first: what SimCal and Mask-Calib share."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from longtail.checks import check_choice, check_range
from longtail.losses import BalancedBoxesLoss
from longtail.methods.base import ClassStats, Method, Parts, Stage
from longtail.samplers import ClassAwareSampler

__all__ = ["Calibrated", "DualPredictor"]


class DualPredictor(nn.Module):
    """The box head and box predictor of a detector, and a second classifier on the same pooled features.

    In training its logits ``[N, C + 1]`` are those of the second classifier; in ``eval()`` those of both,
    ``[N, 2 (C + 1)]``, the first one's first. The boxes are the first one's.

    Args:
        box_head: Of the trained detector.
        predictor: Likewise, with the classifier ``cls_score``.
        whole: The second classifier has a box head of its own; else it is the last layer alone.
        anew: It starts from random values; else as a copy.
    """

    def __init__(self, box_head: nn.Module, predictor: Any, *, whole: bool, anew: bool) -> None:
        super().__init__()
        self.box_head, self.predictor, self.whole = box_head, predictor, whole
        layers = (box_head, predictor.cls_score) if whole else (predictor.cls_score,)
        self.calibrated = nn.Sequential(*copy.deepcopy(layers))
        for module in self.calibrated.modules() if anew else ():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()  # pyright: ignore[reportCallIssue]

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        features = self.box_head(pooled)
        logits, boxes = self.predictor(features)
        calibrated = self.calibrated(pooled if self.whole else features)
        return calibrated if self.training else torch.cat([logits, calibrated], dim=1), boxes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibrated(Method):
    """A trained detector gets a second classifier; class-balanced images and boxes train it, and nothing else."""

    tasks = ("detect", "segment")
    needs_weights = True

    threshold: float = 100.0
    start: Literal["copy", "random"] = "copy"

    def __post_init__(self) -> None:
        check_range(self.threshold, "threshold", 0, math.inf)
        check_choice(self.start, "start", ("copy", "random"))

    def _parts(self, stats: ClassStats, *, whole: bool) -> Parts:
        criterion = BalancedBoxesLoss(stats.image_counts, stats.class_counts, threshold=self.threshold)
        return Parts(
            criterion=criterion,
            sampler=ClassAwareSampler(stats.samples, seed=stats.seed),
            body=functools.partial(_attach, whole=whole, anew=self.start == "random"),
            stages=(Stage(name=self.name, trainable=_calibrated),),
        )


def _attach(model: nn.Module, head: nn.Module, *, whole: bool, anew: bool) -> None:
    heads: Any = model.roi_heads
    heads.box_predictor = DualPredictor(heads.box_head, heads.box_predictor, whole=whole, anew=anew)
    heads.box_head = nn.Identity()


def _calibrated(model: nn.Module, head: nn.Module) -> Iterable[nn.Parameter]:
    roi_heads: Any = model.roi_heads
    return roi_heads.box_predictor.calibrated.parameters()
