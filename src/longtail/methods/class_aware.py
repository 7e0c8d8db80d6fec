"""Class-aware sampling."""

from __future__ import annotations

import dataclasses

from longtail.errors import LongtailError
from longtail.methods._decoupled import REFERENCE
from longtail.methods.base import ClassStats, Method, Parts, register
from longtail.samplers import ClassAwareSampler

__all__ = ["ClassAware"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassAware(Method):
    r"""Class-aware sampling: all classes alike, cycling through the samples of each without replacement.

    Formula:
        :math:`P(c) = 1 / C`

        over the C classes that have samples: a shuffled endless cycle over the classes, and of each class the next
        ``samples_per_class`` samples of its own shuffled endless cycle. The loss is cross-entropy.

    When to use:
        As the standard re-balancing by sampling, and in the second stage of decoupled training. From the first epoch
        on it repeats the few samples of small classes very often.

    Hyperparameters:
        samples_per_class: Samples of a class in a row; default 4, as in the code of Kang et al.

    Reference:
        Shen et al., Relay Backpropagation, ECCV 2016; Kang et al., Decoupling, ICLR 2020 (whom the paper cites).
    """

    name = "class-aware"
    title = "Class-aware sampling"
    in_code = "ClassAwareSampler(labels, samples_per_class={samples_per_class})"
    reference = (
        """
@inproceedings{shen2016relay,
  title     = {Relay Backpropagation for Effective Learning of Deep Convolutional Neural Networks},
  author    = {Shen, Li and Lin, Zhouchen and Huang, Qingming},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year      = {2016},
  eprint    = {1512.05830},
  archivePrefix = {arXiv},
}
"""
        + REFERENCE
    )

    samples_per_class: int = 4

    def __post_init__(self) -> None:
        if type(self.samples_per_class) is not int or self.samples_per_class < 1:
            raise LongtailError(f"samples_per_class is {self.samples_per_class!r}: it must be an integer of at least 1")

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(sampler=ClassAwareSampler(stats.labels, samples_per_class=self.samples_per_class, seed=stats.seed))
