"""Repeat-factor sampling."""

from __future__ import annotations

import dataclasses
import math

from longtail.checks import check_range
from longtail.methods.base import ClassStats, Method, Parts, register
from longtail.samplers import RepeatFactorSampler

__all__ = ["RFS"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class RFS(Method):
    r"""Repeat-factor sampling (RFS): images that show a rare category come several times an epoch.

    Formula:
        :math:`r_c = \max(1, \sqrt{t / f_c}), \quad r_i = \max_{c \in i} r_c`

        with ``threshold`` t and the share f_c of training images that show category c. Image i comes r_i times, once
        if it shows nothing. The part after the point is the probability of one time more, drawn anew every epoch. An
        epoch is longer by the repetitions.

    When to use:
        In detection and segmentation, where an image shows rare and frequent categories together and cannot be drawn by
        a class of its own. The usual baseline on LVIS.

    Hyperparameters:
        threshold: Categories in a smaller share of the images are repeated; default 0.001 (the authors', on LVIS; a
            small data set needs a larger one). 0 repeats nothing.

    Reference:
        Gupta, Dollar and Girshick, LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019.
    """

    name = "rfs"
    title = "Repeat-factor sampling"
    tasks = ("classify", "video", "detect", "segment")
    in_code = "RepeatFactorSampler([[y] for y in labels.tolist()], threshold={threshold})"
    reference = """
@inproceedings{gupta2019lvis,
  title     = {{LVIS}: A Dataset for Large Vocabulary Instance Segmentation},
  author    = {Gupta, Agrim and Dollar, Piotr and Girshick, Ross},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages     = {5356--5364},
  year      = {2019},
  eprint    = {1908.03195},
  archivePrefix = {arXiv},
}
"""

    threshold: float = 1e-3

    def __post_init__(self) -> None:
        check_range(self.threshold, "threshold", 0, math.inf, open_high=True)

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(sampler=RepeatFactorSampler(stats.classes_of_images, threshold=self.threshold, seed=stats.seed))
