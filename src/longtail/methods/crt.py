"""Classifier re-training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from torch import nn

from longtail.methods._decoupled import Decoupled
from longtail.methods.base import ClassStats, Parts, register

__all__ = ["CRT"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class CRT(Decoupled):
    r"""Classifier re-training (cRT): train everything, then freeze the features and learn a new classifier in balance.

    Formula:
        Stage 1: the method ``stage1``, which trains :math:`z = W f(x) + b`. Stage 2: f is frozen, W and b are
        initialised anew and alone trained, with the sampler, loss and difficulty of the method ``balance``, on a
        learning-rate schedule of its own.

    When to use:
        When a model that was trained plainly is there already or its features are good: stage 2 is short. In the paper
        CDB-S as ``balance`` is ahead of class-aware sampling.

    Hyperparameters:
        stage1: Any method with a classifier that is trained, as NAME or NAME:key=value,key=value; default ``ce``.
        balance: Any method without a classifier and stages of its own: ``class-aware`` (default, the authors'),
            ``cdb-s``, ``cdb-w``, ``balanced-softmax``, ... A difficulty starts from the stage-1 model's accuracies on
            the held-out split.
        bn_mode: ``frozen``: BatchNorm statistics stay as they are, so that the features do. ``adapt``: they follow
            the batches of stage 2, as in the authors' code.
        share: Share of the epochs for stage 2; default 0.1, as 10 after 90 (the authors' on ImageNet-LT).

    Reference:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020.
    """

    name = "crt"
    title = "cRT (classifier re-training)"
    main = ("stage1", "balance")

    def parts(self, stats: ClassStats) -> Parts:
        return self._parts(stats, trainable=_classifier, setup=_initialise)


def _classifier(model: nn.Module, head: nn.Module) -> Iterable[nn.Parameter]:
    return head.parameters()


def _initialise(model: nn.Module, head: nn.Module) -> None:
    for module in head.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()  # pyright: ignore[reportCallIssue]
