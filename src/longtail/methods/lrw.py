"""Loss re-weighting for detectors."""

from __future__ import annotations

import dataclasses

from longtail.checks import check_range
from longtail.functional import effective_number_weights
from longtail.losses import ClassWeightedLoss
from longtail.methods.bags import REFERENCE
from longtail.methods.base import ClassStats, Method, Parts, register

__all__ = ["LRW"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class LRW(Method):
    r"""Loss re-weighting (LRW) for detectors: classes by their effective number of instances, within bounds.

    Formula:
        :math:`w_c = \min(\max(a \frac{1 - \beta}{1 - \beta^{n_c}}, \text{least}), \text{most})`

        :math:`L = -w_y \log p_y`

        with n_c training instances of class c, and a such that the mean over the classes is 1 before the bounds; the
        background weighs 1. Plain mean over the boxes.

    When to use:
        As the re-weighting baseline of detection. It is ``cb`` with bounds, without which a category of one instance
        would weigh hundreds of times more than another. The authors train the classifier alone in this way, from a
        plainly trained detector: ``cls`` with ``method=lrw``.

    Hyperparameters:
        beta: In [0, 1]; default 0.999 (the public code). 1 is inverse frequency.
        least: Smallest weight; default 0.1 (the public code).
        most: Largest weight; default 5 (the public code).

    Reference:
        Li et al., Overcoming Classifier Imbalance for Long-Tail Object Detection with Balanced Group Softmax,
        CVPR 2020 (as a baseline).
    """

    name = "lrw"
    title = "Loss re-weighting, clipped"
    tasks = ("classify", "video", "detect", "segment")
    in_code = "ClassWeightedLoss(effective_number_weights(class_counts, beta={beta}).clamp({least}, {most}))"
    reference = REFERENCE

    beta: float = 0.999
    least: float = 0.1
    most: float = 5.0

    def __post_init__(self) -> None:
        check_range(self.beta, "beta", 0, 1)
        check_range(self.least, "least", 0, 1)
        check_range(self.most, "most", 1, float("inf"), open_high=True)

    def parts(self, stats: ClassStats) -> Parts:
        weight = effective_number_weights(stats.class_counts, beta=self.beta)
        return Parts(criterion=ClassWeightedLoss(weight.clamp(self.least, self.most)))
