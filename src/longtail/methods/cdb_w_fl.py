"""CDB-W-FL: class-difficulty based weighted focal loss."""

from __future__ import annotations

import dataclasses

from longtail.difficulty import describe_options
from longtail.methods._difficulty import WeightedMethod
from longtail.methods.base import Method, register
from longtail.methods.focal import Focal

__all__ = ["CDBWFL"]


@register
@describe_options
@dataclasses.dataclass(frozen=True, kw_only=True)
class CDBWFL(WeightedMethod):
    r"""Class-difficulty based weighted focal loss (CDB-W-FL): difficulty of the class times that of the sample.

    Formula:
        :math:`L = -w_y (1 - p_y)^\gamma \log p_y, \quad w_c = d_c^\tau`

        with the difficulty d_c of class c (Eq. 14). The modulator comes from the unweighted probability and takes part
        in the gradient.

    When to use:
        Where focal loss is already in use. In the paper it is behind CDB-W-CE on every data set.

    Hyperparameters:
        gamma: Focusing parameter >= 0; 0 is CDB-W-CE. Default 1, as in the public code; the paper prints none.
        {options}
        reduction: As in ``cdb-w``, like ``form`` and ``strength``.
        defer: Share of the epochs with plain focal loss, before the difficulty acts; default ``schedule``: until the
            learning rate first falls by a step, see ``cdb-w``.
        Presets: as in ``cdb-w``, whose ``base`` is focal loss here. (The public code stops the modulator's gradient,
        and for ImageNet-LT uses the sigmoid form of focal loss; the presets keep Eq. 14.)

    Reference:
        Sinha, Ohashi and Nakamura, Class-Difficulty Based Methods for Long-Tailed Visual Recognition, IJCV 2022.
    """

    name = "cdb-w-fl"
    title = "CDB-W-FL (difficulty-weighted focal loss)"
    tasks = ("classify", "video", "detect", "segment")
    in_code = 'ClassWeightedLoss(difficulty, base="focal", gamma={gamma})'
    main = ("gamma", "tau", "defer", "source", "momentum")

    gamma: float = 1.0

    def _base(self) -> Method:
        return Focal(gamma=self.gamma)
