"""Balanced softmax."""

from __future__ import annotations

import dataclasses
from typing import Literal

from longtail.losses import BalancedSoftmaxLoss
from longtail.methods._crossfit import Aim, check_exponent, with_exponent
from longtail.methods.base import ClassStats, Method, Parts, register

__all__ = ["BalancedSoftmax"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class BalancedSoftmax(Method):
    r"""Balanced softmax: the training softmax carries the class counts, so that the logits need not learn them.

    Formula:
        :math:`L = -\log \frac{n_y^\tau e^{z_y}}{\sum_k n_k^\tau e^{z_k}}`

        with n_c training samples of class c, averaged over the batch; plain logits z in evaluation.

    When to use:
        As the first thing to try when the test classes are balanced: no held-out split, no cost, nothing to tune. It
        is ahead of most older methods on the usual benchmarks.

    Hyperparameters:
        tau: Exponent of the counts; 1 is the publication's and the default, 0 is cross-entropy; another value is logit
            adjustment. A class without training samples counts like the rarest one that has some (the formula's
            logarithm would be infinite). ``cv``: chosen out of fold, as in ``logit-adjust``.
        aim: Of ``cv``, as in ``logit-adjust``: ``mean`` or ``floor``.

    Reference:
        Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, NeurIPS 2020.
    """

    name = "balanced-softmax"
    title = "Balanced softmax"
    in_code = "BalancedSoftmaxLoss(class_counts, tau={tau})"
    main = ("tau", "aim")
    reference = """
@inproceedings{ren2020balanced,
  title     = {Balanced Meta-Softmax for Long-Tailed Visual Recognition},
  author    = {Ren, Jiawei and Yu, Cunjun and Sheng, Shunan and Ma, Xiao and Zhao, Haiyu and Yi, Shuai and Li,
               Hongsheng},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  volume    = {33},
  year      = {2020},
  eprint    = {2007.10740},
  archivePrefix = {arXiv},
}
"""

    tau: float | Literal["cv"] = 1.0
    aim: Aim = "mean"

    def __post_init__(self) -> None:
        check_exponent(self.tau, self.aim)

    @property
    def takes_aim(self) -> bool:
        return self.tau == "cv"

    def parts(self, stats: ClassStats) -> Parts:
        def make(tau: float) -> Parts:
            return Parts(criterion=BalancedSoftmaxLoss(stats.class_counts, tau=tau))

        return with_exponent(stats, self.tau, make, aim=self.aim)
