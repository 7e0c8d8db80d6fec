"""Class-balanced loss."""

from __future__ import annotations

import dataclasses

from longtail.checks import check_range
from longtail.functional import effective_number_weights
from longtail.losses import ClassWeightedLoss
from longtail.methods.base import ClassStats, Method, Parts, register

__all__ = ["CB"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class CB(Method):
    r"""Class-balanced cross-entropy: a class is weighted by the inverse of its effective number of samples.

    Formula:
        :math:`w_c \propto \frac{1 - \beta}{1 - \beta^{n_c}}`

        :math:`L = -w_y \log p_y`

        with n_c training samples of class c; the weights sum to C. Plain mean over the batch (the authors' reduction,
        not torch's division by the sum of the weights).

    When to use:
        As the standard re-weighting by class counts: no held-out split, no extra cost.

    Hyperparameters:
        beta: In [0, 1]; 0 is cross-entropy, 1 inverse frequency. Default 0.9999: the authors' CIFAR-10 scripts and the
            re-weighting baseline of LDAM. They chose from {0.9, 0.99, 0.999, 0.9999} for each data set and used 0.999
            on large ones. With at most a few hundred samples per class, 0.9999 is nearly inverse frequency and 0.9
            nearly uniform. A class without samples gets weight 1.

    Reference:
        Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019.
    """

    name = "cb"
    title = "Class-balanced loss"
    tasks = ("classify", "video", "detect", "segment")
    in_code = "ClassWeightedLoss(effective_number_weights(class_counts, beta={beta}))"
    reference = """
@inproceedings{cui2019class,
  title     = {Class-Balanced Loss Based on Effective Number of Samples},
  author    = {Cui, Yin and Jia, Menglin and Lin, Tsung-Yi and Song, Yang and Belongie, Serge},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages     = {9268--9277},
  year      = {2019},
  eprint    = {1901.05555},
  archivePrefix = {arXiv},
}
"""

    beta: float = 0.9999

    def __post_init__(self) -> None:
        check_range(self.beta, "beta", 0, 1)

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(criterion=ClassWeightedLoss(effective_number_weights(stats.class_counts, beta=self.beta)))
