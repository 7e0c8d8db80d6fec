"""Plain cross-entropy."""

from __future__ import annotations

import dataclasses

from torch import nn

from longtail.methods.base import ClassStats, Method, Parts, register

__all__ = ["CE"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class CE(Method):
    r"""Plain softmax cross-entropy on instance-balanced batches: what every other method is measured against.

    Formula:
        :math:`L = -\log p_y`

        averaged over the batch.

    When to use:
        As the baseline, and as the first stage of decoupled training. On long-tailed data it favours the classes with
        many samples.

    Hyperparameters:
        None.

    Reference:
        Bridle, Probabilistic interpretation of feedforward classification network outputs, Neurocomputing, 1990.
    """

    name = "ce"
    title = "Cross-entropy"
    tasks = ("classify", "video", "detect", "segment")
    in_code = "CrossEntropyLoss()"
    reference = """
@incollection{bridle1990probabilistic,
  title     = {Probabilistic Interpretation of Feedforward Classification Network Outputs, with Relationships to
               Statistical Pattern Recognition},
  author    = {Bridle, John S.},
  booktitle = {Neurocomputing: Algorithms, Architectures and Applications},
  publisher = {Springer},
  pages     = {227--236},
  year      = {1990},
  doi       = {10.1007/978-3-642-76153-9_28},
}
"""

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(criterion=nn.CrossEntropyLoss())
