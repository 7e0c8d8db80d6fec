"""Equalisation loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from longtail.losses import BoxEqualizationLoss, EqualizationLoss
from longtail.losses.equalization import EqualizationForm
from longtail.methods._heads import with_prior_bias
from longtail.methods.base import ClassStats, Method, Parts, register

__all__ = ["EQL"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class EQL(Method):
    r"""Equalisation loss (softmax form, SEQL): rare classes are not pushed down by the samples of other classes.

    Formula:
        :math:`L = -\log \frac{e^{z_y}}{\sum_k w_k e^{z_k}}`

        :math:`w_k = 1 - \beta T(f_k) (1 - [k = y])`

        with :math:`T(f_k) = 1` for the share :math:`f_k = n_k / N` of class k below ``threshold``, else 0, and
        :math:`\beta` 1 with probability ``gamma``, drawn anew for every sample and class in every step. Sigmoid form:
        :math:`L = \sum_k w_k \text{BCE}(z_k, [k = y])`. Boxes: the sigmoid form without :math:`\beta`, where f_k is
        the share of the images that show k, and boxes of the background push all classes down.

    When to use:
        When rare classes drown in the gradients of the many samples that are something else. It needs class counts
        alone. With balanced softmax at hand it is mostly of interest for comparison.

    Hyperparameters:
        threshold: A class whose share of the training samples is below is rare (the authors' lambda). None, the
            default, is 1 / (2 C), half of an equal share: 0.005 with 100 classes, as is usual on CIFAR100-LT (the
            article: 0.003), and 0.25 with two classes, so that the small one of two is rare. 0 is cross-entropy.
            With boxes None is 0.00176, the article's on LVIS, where it is a hundred images; small data need more.
        gamma: Probability of ignoring; default 0.9, as is usual on CIFAR100-LT (the article: 0.95).
        form: ``softmax``, or ``sigmoid`` as in detectors and in the public code of CDB. The latter starts from biases
            at -log(C - 1), and its softmax probabilities in prediction are no calibrated ones. Boxes know this form
            alone, and it scores them, too; gamma has no part there.

    Reference:
        Tan et al., Equalization Loss for Long-Tailed Object Recognition, CVPR 2020.
    """

    name = "eql"
    title = "Equalisation loss"
    tasks = ("classify", "video", "detect", "segment")
    in_code = "EqualizationLoss(class_counts, threshold={threshold}, gamma={gamma})"
    main = ("threshold", "gamma")
    reference = """
@inproceedings{tan2020equalization,
  title     = {Equalization Loss for Long-Tailed Object Recognition},
  author    = {Tan, Jingru and Wang, Changbao and Li, Buyu and Li, Quanquan and Ouyang, Wanli and Yin, Changqing and
               Yan, Junjie},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages     = {11662--11671},
  year      = {2020},
  eprint    = {2003.05176},
  archivePrefix = {arXiv},
}
"""

    threshold: float | None = None
    gamma: float = 0.9
    form: EqualizationForm = "softmax"

    def __post_init__(self) -> None:
        self._loss([1])  # checks all

    def _loss(self, class_counts: Sequence[int]) -> EqualizationLoss:
        return EqualizationLoss(class_counts, threshold=self.threshold, gamma=self.gamma, form=self.form)

    def parts(self, stats: ClassStats) -> Parts:
        if stats.boxes:
            options = {} if self.threshold is None else {"threshold": self.threshold}
            loss = BoxEqualizationLoss(stats.image_counts, len(stats.classes_of_images), **options)
            return Parts(criterion=loss, head=with_prior_bias)
        criterion = self._loss(stats.class_counts)
        return Parts(criterion=criterion, head=with_prior_bias if self.form == "sigmoid" else None)
