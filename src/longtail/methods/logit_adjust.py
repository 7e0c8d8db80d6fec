"""Logit adjustment, in training or afterwards."""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

from torch import Tensor, nn

from longtail.errors import LongtailError
from longtail.functional import log_prior
from longtail.losses import LogitAdjustedLoss
from longtail.methods._crossfit import Aim, check_exponent, with_exponent
from longtail.methods.base import ClassStats, Method, Parts, register

__all__ = ["LogitAdjust"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class LogitAdjust(Method):
    r"""Logit adjustment: add the logarithm of the class prior in training, or subtract it in evaluation.

    Formula:
        :math:`L = -\log \frac{e^{z_y + \tau \log \pi_y}}{\sum_k e^{z_k + \tau \log \pi_k}}`

        with the share :math:`\pi_c = n_c / N` of class c in the training samples; plain logits z in evaluation.
        Post-hoc: cross-entropy in training; in evaluation the logits are :math:`z_c - \tau \log \pi_c`.

    When to use:
        As balanced softmax, which is the trained form with tau = 1. The post-hoc form costs nothing and suits a model
        whose training should stay as it is. Both assume test classes that are equally frequent.

    Hyperparameters:
        tau: Strength; 1 is the theory's value and the default, 0 is cross-entropy. A class without training samples
            counts like the rarest one that has some. ``cv``: the one of 0, 0.5, 0.75, 1, 1.15, 1.3, 1.5 and 2 that does
            best out of fold on the training samples, where features stay as they are (``--tune head``,
            ``features:FILE``); ``found`` in metrics.json names it. Trained, they are climbed from 1 for as long as the
            next is better, a fit a fold for each; post-hoc, one cross-entropy serves them all.
        aim: Of ``cv``: ``mean`` takes the largest mean accuracy of the classes, ``floor`` the largest geometric mean
            (below 1 % counts as 1 %), which cares for the worst classes.
        post_hoc: False: trained. True: post-hoc. The shift is then a part of the saved model, and holds wherever that
            is evaluated or exported.

    Reference:
        Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021.
    """

    name = "logit-adjust"
    title = "Logit adjustment"
    in_code = "LogitAdjustedLoss(class_counts, tau={tau})"
    reference = """
@inproceedings{menon2021long,
  title     = {Long-Tail Learning via Logit Adjustment},
  author    = {Menon, Aditya Krishna and Jayasumana, Sadeep and Rawat, Ankit Singh and Jain, Himanshu and Veit, Andreas
               and Kumar, Sanjiv},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2021},
  eprint    = {2007.07314},
  archivePrefix = {arXiv},
}
"""

    tau: float | Literal["cv"] = 1.0
    post_hoc: bool = False
    aim: Aim = "mean"

    def __post_init__(self) -> None:
        check_exponent(self.tau, self.aim)
        if not isinstance(self.post_hoc, bool):
            raise LongtailError(f"post_hoc is {self.post_hoc!r}: it must be True or False")

    @property
    def takes_aim(self) -> bool:
        return self.tau == "cv"

    def parts(self, stats: ClassStats) -> Parts:
        def make(tau: float) -> Parts:
            if not self.post_hoc:
                return Parts(criterion=LogitAdjustedLoss(stats.class_counts, tau=tau))
            return Parts(head=functools.partial(ShiftedInEvaluation, shift=-tau * log_prior(stats.class_counts)))

        return with_exponent(stats, self.tau, make, aim=self.aim, post_hoc=self.post_hoc)


class ShiftedInEvaluation(nn.Module):
    """A classifier whose logits are shifted by class, in ``eval()`` only; the shift is saved with the weights."""

    shift: Tensor

    def __init__(self, linear: nn.Linear, *, shift: Tensor) -> None:
        super().__init__()
        self.linear = linear
        self.register_buffer("shift", shift.to(linear.weight.device, copy=True))

    def forward(self, features: Tensor) -> Tensor:
        logits = self.linear(features)
        return logits if self.training else logits + self.shift
