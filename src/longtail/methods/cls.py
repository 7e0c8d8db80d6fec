"""Only the classifier is trained, by any method."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from torch import nn

from longtail.errors import LongtailError
from longtail.methods._compose import named_method, parts_of
from longtail.methods.bags import REFERENCE
from longtail.methods.base import ClassStats, Method, Parts, Stage, register

__all__ = ["ClassifierOnly"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierOnly(Method):
    r"""Only the classifier ("-cls"): all of a trained model is frozen but its last layer, which a method trains on.

    Formula:
        That of ``method``. In a detector the classifier is the layer that gives the classes of the boxes; proposals,
        box regression and masks stay as they are.

    When to use:
        When a model that was trained plainly is there: give its file with ``--weights``. It is quick, and on LVIS it is
        ahead of training the whole detector in the same way (the paper's rows with "-cls").

    Hyperparameters:
        method: What trains the classifier, as NAME or NAME:key=value,key=value; default ``cdb-w``. A difficulty starts
            from what the given model can do on the held-out split. Not: methods that choose what they train, or that
            change more of the model than its classifier.

    Reference:
        Li et al., Overcoming Classifier Imbalance for Long-Tail Object Detection with Balanced Group Softmax,
        CVPR 2020.
    """

    name = "cls"
    title = "Only the classifier"
    tasks = ("classify", "video", "detect", "segment")
    needs_weights = True
    reference = REFERENCE

    method: str = "cdb-w"

    def __post_init__(self) -> None:
        method = self._method()
        parts = method.parts(ClassStats(class_counts=[1, 1], task=method.tasks[0], bare=True))
        if parts.body is not None or method.needs_weights or any(stage.trainable for stage in parts.stages):
            raise LongtailError(f"method is {self.method!r}: it chooses by itself what is trained; choose e.g. cdb-w")

    def _method(self) -> Method:
        return named_method("method", self.method)

    @property
    def needs_held_out(self) -> bool:
        return self._method().needs_held_out

    def parts(self, stats: ClassStats) -> Parts:
        parts = parts_of(self._method(), stats)
        stages = parts.stages or (Stage(name="cls"),)
        stages = tuple(dataclasses.replace(stage, trainable=_classifier, measure=True) for stage in stages)
        return dataclasses.replace(parts, stages=stages)


def _classifier(model: nn.Module, head: nn.Module) -> Iterable[nn.Parameter]:
    return head.parameters()
