"""Seesaw loss."""

from __future__ import annotations

import dataclasses
import functools
import math

from torch import nn

from longtail.checks import check_range
from longtail.errors import LongtailError
from longtail.losses import BoxSeesawLoss, SeesawLoss
from longtail.methods._heads import CosineHead, with_outputs
from longtail.methods.base import ClassStats, Method, Parts, register

__all__ = ["Seesaw"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Seesaw(Method):
    r"""Seesaw loss: samples punish rarer classes less, and the classes that they are mistaken for more.

    Formula:
        :math:`L = -\log \frac{e^{z_y}}{e^{z_y} + \sum_{j \ne y} S_{yj} e^{z_j}}`

        :math:`S_{yj} = \min(1, (N_j / N_y)^p) \cdot \max(1, (s_j / \max(s_y, \epsilon))^q)`

        N counts the labels seen so far in training, s are the softmax probabilities taken as constants. Plain logits
        in evaluation. With boxes it judges the foreground alone, and two more logits tell foreground from background.

    When to use:
        In instance segmentation and detection, for which it was made, and in classification as an alternative to
        balanced softmax that learns the counts as it goes.

    Hyperparameters:
        p: Exponent of the mitigation; default 0.8 (the authors'). p = q = 0 is cross-entropy.
        q: Exponent of the compensation; default 2 (the authors').
        eps: Smallest s_y in the compensation; default 0.01 (their code).
        normalized: True: the classifier is normalised, logits ``scale * cos(x, W_c)``, as in the authors' detectors.
            Default False.
        scale: Factor of the cosines where normalized; default 20 (the authors').

    Reference:
        Wang et al., Seesaw Loss for Long-Tailed Instance Segmentation, CVPR 2021.
    """

    name = "seesaw"
    title = "Seesaw loss"
    tasks = ("classify", "video", "detect", "segment")
    in_code = "SeesawLoss(len(class_counts), p={p}, q={q})"
    main = ("p", "q")
    reference = """
@inproceedings{wang2021seesaw,
  title     = {Seesaw Loss for Long-Tailed Instance Segmentation},
  author    = {Wang, Jiaqi and Zhang, Wenwei and Zang, Yuhang and Cao, Yuhang and Pang, Jiangmiao and Gong, Tao and
               Chen, Kai and Liu, Ziwei and Loy, Chen Change and Lin, Dahua},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages     = {9695--9704},
  year      = {2021},
  eprint    = {2008.10032},
  archivePrefix = {arXiv},
}
"""

    p: float = 0.8
    q: float = 2.0
    eps: float = 0.01
    normalized: bool = False
    scale: float = 20.0

    def __post_init__(self) -> None:
        SeesawLoss(1, p=self.p, q=self.q, eps=self.eps)  # checks them
        check_range(self.scale, "scale", 0, math.inf, open_low=True, open_high=True)
        if not isinstance(self.normalized, bool):
            raise LongtailError(f"normalized is {self.normalized!r}: it must be True or False")

    def parts(self, stats: ClassStats) -> Parts:
        options = {"p": self.p, "q": self.q, "eps": self.eps}
        scale = self.scale if self.normalized else None
        if stats.boxes:
            criterion = BoxSeesawLoss(stats.num_classes, **options)
            return Parts(criterion=criterion, head=functools.partial(_head, outputs=criterion.num_logits, scale=scale))
        criterion = SeesawLoss(stats.num_classes, **options)
        return Parts(criterion=criterion, head=functools.partial(CosineHead, scale=scale) if scale else None)


def _head(linear: nn.Linear, *, outputs: int, scale: float | None) -> nn.Module:
    wider = with_outputs(linear, outputs=outputs)
    return CosineHead(wider, scale=scale) if scale else wider
