"""SimCal: a box head calibrated in balance."""

from __future__ import annotations

import dataclasses

from longtail.methods._calibration import Calibrated
from longtail.methods.base import ClassStats, Parts, register

__all__ = ["SimCal"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class SimCal(Calibrated):
    r"""SimCal: beside the head of a trained detector, a second one learns from class-balanced boxes to classify.

    Formula:
        :math:`s_c = p'_c \text{ if } n_c < \text{threshold, else } p_c`

        with the softmax p of the first head and p' of the second, and n_c training instances; the background keeps p.
        Images: the classes take turns, with one image that shows the class each. Boxes: those of this class, and as
        many of the background; every box is weighted by the probability that it is kept, which has the same
        expectation as drawing.

    When to use:
        For a detector that was trained plainly and finds the rare classes without naming them: give its file with
        ``--weights``. Frequent classes keep the scores that they had.

    Hyperparameters:
        threshold: Default 100 instances (the authors' on LVIS).
        start: The second head begins as a ``copy`` of the first (default), or ``random``. The authors tried both.

    Reference:
        Wang et al., The Devil is in Classification: A Simple Framework for Long-tail Instance Segmentation, ECCV 2020.
    """

    name = "simcal"
    title = "SimCal (dual box head)"
    reference = """
@inproceedings{wang2020devil,
  title     = {The Devil is in Classification: A Simple Framework for Long-tail Instance Segmentation},
  author    = {Wang, Tao and Li, Yu and Kang, Bingyi and Li, Junnan and Liew, Junhao and Tang, Sheng and Hoi, Steven and
               Feng, Jiashi},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year      = {2020},
  eprint    = {2007.11978},
  archivePrefix = {arXiv},
}
"""

    def parts(self, stats: ClassStats) -> Parts:
        return self._parts(stats, whole=True)
