"""Class-dependent temperatures."""

from __future__ import annotations

import dataclasses
import math

from longtail.checks import check_range
from longtail.losses import CDTLoss
from longtail.methods.base import ClassStats, Method, Parts, register

__all__ = ["CDT"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class CDT(Method):
    r"""Class-dependent temperatures: the training logits of small classes are made smaller, so they must grow larger.

    Formula:
        :math:`L = -\log \frac{e^{z_y / D_y}}{\sum_k e^{z_k / D_k}}, \quad D_c = (n_{max} / n_c)^\gamma`

        with n_c training samples of class c; plain logits in evaluation.

    When to use:
        Against the shift of features between training and test that small classes suffer from. As a part of ``vs`` it
        goes together with the class prior, which is usually better.

    Hyperparameters:
        gamma: Exponent >= 0 of the temperatures; 0 is cross-entropy. The authors tune it for each data set, between 0
            and 0.4 on CIFAR-10; our default is 0.2. With more classes or more imbalance choose less.

    Reference:
        Ye et al., Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning, arXiv 2020.
    """

    name = "cdt"
    title = "CDT (class-dependent temperatures)"
    in_code = "CDTLoss(class_counts, gamma={gamma})"
    reference = """
@article{ye2020identifying,
  title   = {Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning},
  author  = {Ye, Han-Jia and Chen, Hong-You and Zhan, De-Chuan and Chao, Wei-Lun},
  journal = {arXiv preprint arXiv:2001.01385},
  year    = {2020},
}
"""

    gamma: float = 0.2

    def __post_init__(self) -> None:
        check_range(self.gamma, "gamma", 0, math.inf, open_high=True)

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(criterion=CDTLoss(stats.class_counts, gamma=self.gamma))
