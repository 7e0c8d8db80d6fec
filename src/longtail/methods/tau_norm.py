"""tau-normalised classifier."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Literal

import torch
from torch import Tensor, nn

from longtail.checks import check_range
from longtail.errors import LongtailError
from longtail.functional import correct_counts, tau_normalized
from longtail.methods._decoupled import REFERENCE
from longtail.methods.base import ClassStats, Features, Method, Parts, register

__all__ = ["TauNorm"]

GRID = tuple(round(0.1 * i, 1) for i in range(21))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class TauNorm(Method):
    r"""tau-normalisation: plain training, after which the weights of the classes are brought to more equal lengths.

    Formula:
        :math:`W_c \leftarrow \frac{W_c}{\lVert W_c \rVert^\tau}`

        after training with cross-entropy; the bias is dropped.

    When to use:
        To balance a plainly trained classifier at no cost: frequent classes tend to have the longer weights.

    Hyperparameters:
        tau: A number >= 0, or ``auto`` (default): the best of 0, 0.1, ... 2 on the held-out split by mean accuracy of
            the classes, of equals the smallest; ``found`` in metrics.json names it. 0 drops the bias only, 1 makes all
            weights equally long.

    Reference:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020.
    """

    name = "tau-norm"
    title = "tau-normalised classifier"
    reference = REFERENCE

    tau: float | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.tau, str) and self.tau != "auto":
            raise LongtailError(f"tau is {self.tau!r}: it must be a number >= 0 or auto")
        if not isinstance(self.tau, str):
            check_range(self.tau, "tau", 0, math.inf, open_high=True)

    @property
    def needs_held_out(self) -> bool:
        return self.tau == "auto"

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(finish=functools.partial(_normalize, tau=self.tau))


@torch.no_grad()
def _normalize(head: nn.Module, features: Features, *, tau: float | str) -> dict[str, float]:
    weight = head.get_parameter("weight")
    if isinstance(tau, str):
        x, target = features("val")
        scores = [_mean_accuracy(x @ tau_normalized(weight, tau=candidate).T, target) for candidate in GRID]
        tau = GRID[scores.index(max(scores))]
    weight.copy_(tau_normalized(weight, tau=tau))
    if getattr(head, "bias", None) is not None:
        head.get_parameter("bias").zero_()
    return {"tau": float(tau)}


def _mean_accuracy(logits: Tensor, target: Tensor) -> float:
    right, total = correct_counts(logits, target, num_classes=logits.shape[1]).double()
    return float((right / total).nanmean())
