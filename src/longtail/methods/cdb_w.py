"""CDB-W: class-difficulty based weighted cross-entropy."""

from __future__ import annotations

import dataclasses
from typing import Any

from longtail.difficulty import describe_options
from longtail.methods._compose import base_method
from longtail.methods._difficulty import WeightedMethod
from longtail.methods.base import Method, register

__all__ = ["CDBW"]


@register
@describe_options
@dataclasses.dataclass(frozen=True, kw_only=True)
class CDBW(WeightedMethod):
    r"""Class-difficulty based weighted cross-entropy (CDB-W-CE): classes that the model finds hard weigh more.

    Formula:
        :math:`d_c = 1 - A_c`

        :math:`w_c = d_c^\tau`

        :math:`L = -w_y \log p_y`

        with the accuracy A_c of class c on a held-out split, measured after every epoch (Eq. 2-12). :math:`\tau` is a
        number, or follows from the bias between the classes (Eq. 5-10).

    When to use:
        When class counts are a poor guide to what the model finds hard, or are unknown. It needs a held-out split with
        some samples of every class, or ``source`` = ``train``.

    Hyperparameters:
        {options}
        reduction: ``mean`` (plain; the code for CIFAR and EGTEA) or ``weighted_mean`` (the code for ImageNet-LT).
            ``mean`` leaves another base its own.
        base: The method whose loss is weighted, as NAME or NAME:key=value,key=value; default ``ce``. Its head, sampler,
            stages and finish come along, and class weights that it has (``cb``; the last epochs of ``ldam-drw``) are
            multiplied. Not: methods with a difficulty, a training step, or stages with more than a loss of their own.
        form: ``weight``, or ``logit``: the weights multiply nothing, and the base's loss sees the logits
            ``z_c - strength * log(w_c / max(w))`` in training, so that a class with a larger weight needs a larger
            margin, as rare classes do with balanced softmax. Ratios below 1/1000 count as that.
        strength: Of ``logit``; default 1.
        defer: Share of the epochs with the plain loss, before the difficulty weighs or shifts anything (it is measured
            from the start). ``schedule``, the default: until the learning rate first falls by a step, as LDAM-DRW
            does; 0 where it falls by none (constant, cosine), for boxes, and for a base with stages. 0: as the paper.
        Presets: ``paper``, ``code2020-cifar``, ``code2020-imagenet``; ``cross-fit`` for features that stay as they are.

    Reference:
        Sinha, Ohashi and Nakamura, Class-Difficulty Based Methods for Long-Tailed Visual Recognition, IJCV 2022.
    """

    name = "cdb-w"
    title = "CDB-W (difficulty-weighted cross-entropy)"
    tasks = ("classify", "video", "detect", "segment")
    in_code = "ClassWeightedLoss(difficulty)"
    main = ("tau", "defer", "source", "base", "momentum")

    base: str = "ce"

    def _base(self) -> Method:
        return base_method("base", self.base)

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """Those of all difficulty-based methods, on cross-entropy."""
        return {name: preset | {"base": "ce"} for name, preset in super().presets().items()}
