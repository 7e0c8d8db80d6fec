"""Balanced group softmax."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from longtail.errors import LongtailError
from longtail.losses import GroupSoftmaxLoss
from longtail.methods._heads import with_outputs
from longtail.methods.base import ClassStats, Method, Parts, register

__all__ = ["BAGS", "REFERENCE"]

REFERENCE = """
@inproceedings{li2020overcoming,
  title     = {Overcoming Classifier Imbalance for Long-Tail Object Detection with Balanced Group Softmax},
  author    = {Li, Yu and Wang, Tao and Kang, Bingyi and Tang, Sheng and Wang, Chunfeng and Li, Jintao and
               Feng, Jiashi},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages     = {10991--11000},
  year      = {2020},
  eprint    = {2006.10408},
  archivePrefix = {arXiv},
}
"""


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class BAGS(Method):
    r"""Balanced group softmax (BAGS): a category competes only with categories about as frequent as itself.

    Formula:
        :math:`L = \sum_g -\log \frac{e^{z_{g,y_g}}}{\sum_{k \in g} e^{z_{g,k}}}`

        :math:`s_c = P(\text{foreground}) \cdot P(c \mid g(c))`

        The categories are put into groups g by their number of training instances, each with one logit more for
        "others", which is the label y_g of boxes from outside; one group tells the background from all others. A group
        sees the boxes of its categories and ``beta`` times as many others, drawn at random. s_c is the score of
        category c in its group.

    When to use:
        For detectors, where rare categories lose against frequent ones in a common softmax. The authors train the
        classifier alone in this way, from a plainly trained detector: ``cls`` with ``method=bags``.

    Hyperparameters:
        bins: Bounds of the groups, in instances: below the first, from the first to below the second, and so on;
            default (10, 100, 1000) (the authors', on LVIS). Empty groups vanish; no bounds: the plain softmax.
        beta: Others for each box of a group's own; default 8 (the authors').

    Reference:
        Li et al., Overcoming Classifier Imbalance for Long-Tail Object Detection with Balanced Group Softmax,
        CVPR 2020.
    """

    name = "bags"
    title = "Balanced group softmax"
    tasks = ("detect", "segment")
    reference = REFERENCE

    bins: tuple[float, ...] = (10, 100, 1000)
    beta: float = 8.0

    def __post_init__(self) -> None:
        bins: Any = (self.bins,) if isinstance(self.bins, int | float) else self.bins
        if not isinstance(bins, list | tuple) or not all(isinstance(b, int | float) and b > 0 for b in bins):
            raise LongtailError(f"bins is {self.bins!r}: it must be numbers above 0, e.g. 10,100,1000")
        object.__setattr__(self, "bins", tuple(bins))
        self._loss([1])  # checks the rest

    def _loss(self, instance_counts: Sequence[int]) -> GroupSoftmaxLoss:
        return GroupSoftmaxLoss(instance_counts, bins=self.bins, beta=self.beta)

    def parts(self, stats: ClassStats) -> Parts:
        criterion = self._loss(stats.class_counts)
        return Parts(criterion=criterion, head=functools.partial(with_outputs, outputs=criterion.num_logits))
