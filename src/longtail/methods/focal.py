"""Focal loss."""

from __future__ import annotations

import dataclasses
import math

from longtail.checks import check_range
from longtail.losses import FocalLoss
from longtail.methods.base import ClassStats, Method, Parts, register

__all__ = ["Focal"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Focal(Method):
    r"""Focal loss in its softmax form: every sample is weighted by how badly it is classified now.

    Formula:
        :math:`L = -(1 - p_y)^\gamma \log p_y`

        averaged over the batch (Eq. 13). The modulator takes part in the gradient.

    When to use:
        As a baseline that weights instances. It does not look at classes, so hard samples of large classes gain as
        much as small classes do.

    Hyperparameters:
        gamma: Focusing parameter >= 0; 0 is cross-entropy. The paper prints none; 1 is the value of the public code
            of CDB and of most long-tail comparisons on CIFAR, 2 that of detectors.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """

    name = "focal"
    title = "Focal loss"
    tasks = ("classify", "video", "detect", "segment")
    in_code = "FocalLoss(gamma={gamma})"
    reference = """
@inproceedings{lin2017focal,
  title     = {Focal Loss for Dense Object Detection},
  author    = {Lin, Tsung-Yi and Goyal, Priya and Girshick, Ross and He, Kaiming and Doll{\\'a}r, Piotr},
  booktitle = {IEEE International Conference on Computer Vision (ICCV)},
  pages     = {2980--2988},
  year      = {2017},
  eprint    = {1708.02002},
  archivePrefix = {arXiv},
}
"""

    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_range(self.gamma, "gamma", 0, math.inf, open_high=True)

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(criterion=FocalLoss(gamma=self.gamma))
