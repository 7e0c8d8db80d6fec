"""Vector-scaling loss."""

from __future__ import annotations

import dataclasses
import math

from longtail.checks import check_range
from longtail.losses import VSLoss
from longtail.methods.base import ClassStats, Method, Parts, register

__all__ = ["VS"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class VS(Method):
    r"""Vector-scaling loss: the training logits are divided by a class temperature and shifted by the class prior.

    Formula:
        :math:`L = -\log \frac{e^{z_y / D_y + \tau \log \pi_y}}{\sum_k e^{z_k / D_k + \tau \log \pi_k}}`

        :math:`D_c = (n_{max} / n_c)^\gamma, \quad \pi_c = n_c / N`

        with n_c of the N training samples in class c; plain logits in evaluation.

    When to use:
        When balanced softmax is good and there is validation data to tune one more number on. The temperatures act to
        the end of training, where a shift alone no longer changes a model that fits its training data.

    Hyperparameters:
        gamma: Exponent of the temperatures; 0 is logit adjustment. Default 0.3, as in the authors' code, which also
            shows 0.2 with tau = 1.2.
        tau: Strength of the prior; 0 is CDT. Default 1.

    Reference:
        Kini et al., Label-Imbalanced and Group-Sensitive Classification under Overparameterization, NeurIPS 2021.
    """

    name = "vs"
    title = "VS loss (vector scaling)"
    in_code = "VSLoss(class_counts, gamma={gamma}, tau={tau})"
    reference = """
@inproceedings{kini2021label,
  title     = {Label-Imbalanced and Group-Sensitive Classification under Overparameterization},
  author    = {Kini, Ganesh Ramachandra and Paraskevas, Orestis and Oymak, Samet and Thrampoulidis, Christos},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  volume    = {34},
  year      = {2021},
  eprint    = {2103.01550},
  archivePrefix = {arXiv},
}
"""

    gamma: float = 0.3
    tau: float = 1.0

    def __post_init__(self) -> None:
        check_range(self.gamma, "gamma", 0, math.inf, open_high=True)
        check_range(self.tau, "tau", 0, math.inf, open_high=True)

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(criterion=VSLoss(stats.class_counts, gamma=self.gamma, tau=self.tau))
