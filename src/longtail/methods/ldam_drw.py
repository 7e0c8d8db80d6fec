"""LDAM with deferred re-weighting."""

from __future__ import annotations

import dataclasses
import functools

from longtail.checks import check_range
from longtail.functional import effective_number_weights
from longtail.losses import LDAMLoss
from longtail.methods._heads import CosineHead
from longtail.methods.base import ClassStats, Method, Parts, Stage, register

__all__ = ["LDAMDRW"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class LDAMDRW(Method):
    r"""Label-distribution-aware margins with deferred re-weighting: larger margins for rare classes, weights late.

    Formula:
        :math:`m_c = m_{max} (n_{min} / n_c)^{1/4}`

        :math:`L = -w_y \log \frac{e^{s (\cos_y - m_y)}}{e^{s (\cos_y - m_y)} + \sum_{k \ne y} e^{s \cos_k}}`

        with the cosines between normalised features and normalised class weights, and ``scale`` s. w = 1 at first; in
        the last epochs class-balanced weights :math:`\frac{1 - \beta}{1 - \beta^{n_c}}`, scaled to sum to C. The mean
        over a batch divides by the sum of its weights.

    When to use:
        As a strong method from before logit adjustment that needs class counts alone. It replaces the classifier by a
        normalised one, in training and in the saved model.

    Hyperparameters:
        max_margin: Margin of the rarest class, in units of the cosine; default 0.5 (the authors'). 0: no margins.
        scale: Factor of the cosines; default 30 (the authors' code).
        beta: Of the class-balanced weights; default 0.9999 (the authors').
        defer: Share of the epochs before re-weighting; default 0.8, that is 160 of 200 epochs (the authors'). The
            learning-rate schedule runs on. 1: never (plain LDAM).

    Reference:
        Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019.
    """

    name = "ldam-drw"
    title = "LDAM-DRW"
    main = ("max_margin", "scale", "defer")
    reference = """
@inproceedings{cao2019learning,
  title     = {Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss},
  author    = {Cao, Kaidi and Wei, Colin and Gaidon, Adrien and Arechiga, Nikos and Ma, Tengyu},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  volume    = {32},
  year      = {2019},
  eprint    = {1906.07413},
  archivePrefix = {arXiv},
}
"""

    max_margin: float = 0.5
    scale: float = 30.0
    beta: float = 0.9999
    defer: float = 0.8

    def __post_init__(self) -> None:
        LDAMLoss([1], max_margin=self.max_margin, scale=self.scale)  # checks both
        check_range(self.beta, "beta", 0, 1)
        check_range(self.defer, "defer", 0, 1)

    def parts(self, stats: ClassStats) -> Parts:
        loss = functools.partial(
            LDAMLoss, stats.class_counts, max_margin=self.max_margin, scale=self.scale, reduction="weighted_mean"
        )
        weighted = loss(weight=effective_number_weights(stats.class_counts, beta=self.beta))
        stages = (
            Stage(name="plain", epochs=self.defer),
            Stage(name="reweighted", epochs=1 - self.defer, parts={"criterion": weighted}),
        )
        return Parts(
            criterion=loss(),
            head=functools.partial(CosineHead, scale=self.scale),
            stages=tuple(stage for stage in stages if stage.epochs > 0),
        )
