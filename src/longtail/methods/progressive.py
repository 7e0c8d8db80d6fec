"""Progressively balanced sampling."""

from __future__ import annotations

import dataclasses

from longtail.methods._decoupled import REFERENCE
from longtail.methods.base import ClassStats, Method, Parts, register
from longtail.samplers import ProgressiveSampler

__all__ = ["Progressive"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Progressive(Method):
    r"""Progressively balanced sampling: instance-balanced at first, class-balanced towards the end.

    Formula:
        :math:`P_t(c) = (1 - \frac{t}{T}) \frac{n_c}{N} + \frac{t}{T} \cdot \frac{1}{C}`

        in epoch t = 0, 1, ... of T, then a sample uniformly within the class; the loss is cross-entropy.

    When to use:
        When class-balanced sampling over-fits the small classes: features are learnt on the natural distribution first.

    Hyperparameters:
        None; T is the length of the training.

    Reference:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020.
    """

    name = "progressive"
    title = "Progressively balanced sampling"
    in_code = "ProgressiveSampler(labels, epochs=epochs)"
    reference = REFERENCE

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(sampler=ProgressiveSampler(stats.labels, epochs=stats.epochs, seed=stats.seed))
