"""Nearest class mean."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.functional import class_means
from longtail.methods._decoupled import REFERENCE
from longtail.methods.base import ClassStats, Features, Method, Parts, register

__all__ = ["NCM"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class NCM(Method):
    r"""Nearest class mean: plain training, after which the class whose mean feature is nearest is predicted.

    Formula:
        :math:`f = \frac{x - \bar{x}}{\lVert x - \bar{x} \rVert}`

        :math:`z_c = -\lVert f - \mu_c \rVert^2`

        Training with cross-entropy. Then the features x are centred at the mean of the training features and
        normalised; :math:`\mu_c` is the mean f of class c in training.

    When to use:
        To see how good the features are, whatever the classifier has made of the class counts. The logits are
        distances, so softmax probabilities are flat and not calibrated.

    Hyperparameters:
        None. A class without training samples has no mean and is not predicted.

    Reference:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020.
    """

    name = "ncm"
    title = "Nearest class mean"
    reference = REFERENCE

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(head=NearestMean, finish=_find_means)


class NearestMean(nn.Module):
    """A linear classifier for training, and class means that take its place once `find_means` was called."""

    center: Tensor
    means: Tensor
    offset: Tensor
    found: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        weight = linear.weight.detach()
        self.register_buffer("center", torch.zeros_like(weight[0]))
        self.register_buffer("means", torch.zeros_like(weight))
        self.register_buffer("offset", torch.zeros_like(weight[:, 0]))
        self.register_buffer("found", torch.zeros((), dtype=torch.bool, device=weight.device))

    @torch.no_grad()
    def find_means(self, features: Tensor, target: Tensor) -> None:
        """Class means of training features ``[N, D]`` with targets ``[N]``."""
        self.center.copy_(features.mean(0))
        means, count = class_means(F.normalize(features - self.center), target, num_classes=len(self.means))
        self.means.copy_(means)
        self.offset.copy_(torch.where(count > 0, 0, -1e4))  # farther than any other: features have length 1
        self.found.fill_(True)

    def forward(self, features: Tensor) -> Tensor:
        f = F.normalize(features - self.center, dim=-1)
        distance = f.square().sum(-1, keepdim=True) - 2 * F.linear(f, self.means) + self.means.square().sum(-1)
        return torch.where(self.found, self.offset - distance, self.linear(features))


def _find_means(head: nn.Module, features: Features) -> dict[str, float]:
    assert isinstance(head, NearestMean)
    head.find_means(*features("train"))
    return {}
