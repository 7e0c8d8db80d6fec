"""Class-frequency based sampling."""

from __future__ import annotations

import dataclasses
import math

from longtail.checks import check_range
from longtail.methods.base import ClassStats, Method, Parts, register
from longtail.samplers import PowerLawSampler

__all__ = ["CFS"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class CFS(Method):
    r"""Class-frequency based sampling: the class by a power of its count, then a sample uniformly within it.

    Formula:
        :math:`P(c) = \frac{n_c^e}{\sum_k n_k^e}`

        with n_c training samples of class c and e the ``exponent``; the loss is cross-entropy.

    When to use:
        For a mild re-balancing between instance-balanced (exponent 1) and class-balanced sampling (exponent 0).

    Hyperparameters:
        exponent: Default 1/2, square-root sampling. This is our reading: the paper cites the word2vec article and
            prints no formula. Both word2vec's sub-sampling and the square-root sampling that Kang et al. attribute to
            it draw classes by the square root of their counts.

    Reference:
        Mikolov et al., Distributed Representations of Words and Phrases and their Compositionality, NeurIPS 2013.
    """

    name = "cfs"
    title = "Class-frequency based sampling"
    in_code = "PowerLawSampler(labels, exponent={exponent})"
    reference = """
@inproceedings{mikolov2013distributed,
  title     = {Distributed Representations of Words and Phrases and their Compositionality},
  author    = {Mikolov, Tomas and Sutskever, Ilya and Chen, Kai and Corrado, Greg S. and Dean, Jeff},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  volume    = {26},
  year      = {2013},
  eprint    = {1310.4546},
  archivePrefix = {arXiv},
}
"""

    exponent: float = 0.5

    def __post_init__(self) -> None:
        check_range(self.exponent, "exponent", -math.inf, math.inf, open_low=True, open_high=True)

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(sampler=PowerLawSampler(stats.labels, exponent=self.exponent, seed=stats.seed))
