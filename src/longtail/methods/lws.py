"""Learnable weight scaling."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from longtail.methods._decoupled import Decoupled
from longtail.methods.base import ClassStats, Parts, register

__all__ = ["LWS"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class LWS(Decoupled):
    r"""Learnable weight scaling (LWS): train everything, then learn in balance one factor a class for its logit.

    Formula:
        :math:`z_c = s_c (W_c f(x) + b_c)`

        Stage 1: the method ``stage1``, with s = 1. Stage 2: everything but s is frozen; with the sampler, loss and
        difficulty of the method ``balance``, on a schedule of its own.

    When to use:
        As cRT, with C numbers to learn instead of a classifier: it cannot over-fit the rare classes. In the paper it is
        ahead of cRT.

    Hyperparameters:
        stage1: Any method with a classifier that is trained, as NAME or NAME:key=value,key=value; default ``ce``.
        balance: Any method without a classifier and stages of its own: ``class-aware`` (default, the authors'),
            ``cdb-s``, ``cdb-w``, ``balanced-softmax``, ... A difficulty starts from the stage-1 model's accuracies on
            the held-out split.
        bn_mode: ``frozen``: BatchNorm statistics stay as they are, so that the features do. ``adapt``: they follow
            the batches of stage 2, as in the authors' code.
        share: Share of the epochs for stage 2; default 0.1 (the authors train 5 to 10 epochs after 90).

    Reference:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020.
    """

    name = "lws"
    title = "LWS (learnable weight scaling)"
    main = ("stage1", "balance")

    def parts(self, stats: ClassStats) -> Parts:
        parts = self._parts(stats, trainable=_scale, before=_all_but_the_scale)
        return dataclasses.replace(parts, head=functools.partial(ScaledHead, inside=parts.head))


class ScaledHead(nn.Module):
    """A classifier with one learnable factor a class, at first 1.

    Args:
        linear: The layer that it replaces.
        inside: What makes the classifier proper from that layer; None: the layer itself.
    """

    def __init__(self, linear: nn.Linear, *, inside: Callable[[nn.Linear], nn.Module] | None = None) -> None:
        super().__init__()
        self.inside = linear if inside is None else inside(linear)
        self.scale = nn.Parameter(torch.ones_like(linear.weight[:, 0]))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * self.inside(features)


def _scale(model: nn.Module, head: nn.Module) -> Iterable[nn.Parameter]:
    return [head.get_parameter("scale")]


def _all_but_the_scale(model: nn.Module, head: nn.Module) -> Iterable[nn.Parameter]:
    scale = head.get_parameter("scale")
    return (parameter for parameter in model.parameters() if parameter is not scale)
