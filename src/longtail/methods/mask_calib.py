"""Classification calibration: a last layer calibrated in balance."""

from __future__ import annotations

import dataclasses

from longtail.methods._calibration import Calibrated
from longtail.methods.base import ClassStats, Parts, register

__all__ = ["MaskCalib"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskCalib(Calibrated):
    r"""Classification calibration (Mask-Calib): a second last layer learns from class-balanced boxes to classify.

    Formula:
        As ``simcal``, whose forerunner it is, with the last layer alone in the place of a whole second head. That is
        this library's reading: the report does not say it in full.

    When to use:
        As a cheaper ``simcal``: give the file of a plainly trained detector with ``--weights``.

    Hyperparameters:
        threshold: Classes of fewer training instances take the second layer's scores; default 100, as ``simcal``.
        start: The second layer begins as a ``copy`` of the first (default), or ``random``.

    Reference:
        Wang et al., Classification Calibration for Long-tail Instance Segmentation, arXiv:1910.13081, 2019.
    """

    name = "mask-calib"
    title = "Classification calibration"
    reference = """
@article{wang2019classification,
  title   = {Classification Calibration for Long-tail Instance Segmentation},
  author  = {Wang, Tao and Li, Yu and Kang, Bingyi and Li, Junnan and Liew, Jun Hao and Tang, Sheng and Hoi, Steven and
             Feng, Jiashi},
  journal = {arXiv preprint arXiv:1910.13081},
  year    = {2019},
}
"""

    def parts(self, stats: ClassStats) -> Parts:
        return self._parts(stats, whole=False)
