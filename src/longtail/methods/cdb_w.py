"""CDB-W: class-difficulty based weighted cross-entropy."""

from __future__ import annotations

import dataclasses
from typing import Any

from longtail.methods._compose import base_method
from longtail.methods._difficulty import WeightedMethod
from longtail.methods.base import Method, register

__all__ = ["CDBW"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class CDBW(WeightedMethod):
    r"""Class-difficulty based weighted cross-entropy (CDB-W-CE): classes that the model finds hard weigh more.

    Formula:
        ``d_c = 1 - accuracy of class c`` on a held-out split, measured after every epoch; ``w_c = d_c ** tau``;
        ``loss = -w_y * log p_y`` (Eq. 2-12). tau is a number, or follows from the bias between the classes (Eq. 5-10).

    When to use:
        When class counts are a poor guide to what the model finds hard, or are unknown. It needs a held-out split with
        some samples of every class, or ``source`` = ``train``.

    Hyperparameters:
        tau: A number >= 0, or ``linear``, ``poly``, ``log``, ``sigmoid`` (the paper's rules), ``accv``, ``code2020``.
        max_tau: T_M of the paper's rules; the paper uses 5.
        eps: 0.01 (paper).
        power: Exponent of ``poly``; the paper does not print it.
        min_difficulty: Floor of d. Above 0 it keeps a perfect class from getting weight 0.
        momentum: Smoothing of the accuracy from epoch to epoch.
        normalize: ``samples``: the mean weight of a training sample is 1, so that the steps keep their size; True: the
            weights sum to C, as in the public code; False: neither, as in the paper's formula.
        absent: What becomes of a class that the held-out split lacks: ``keep``, ``hard`` or ``error``.
        bias_quantile: In [0, 0.5): quantiles in place of the best and the worst class in the bias; 0: Eq. 5.
        measure: In place of the accuracy (``recall``): ``soft`` (mean probability of the true class), ``loss``
            (``exp(-mean loss)``), ``ap`` (average precision), ``precision``, ``f1``.
        shrinkage: As if each class had so many more held-out samples that did as well as all do; ``auto`` estimates
            the number. 0: off.
        source: ``held-out``, or ``train``: the predictions on the training batches, made before each step; no
            held-out split is needed then.
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
        Presets: ``paper``, ``code2020-cifar``, ``code2020-imagenet``.

    Reference:
        Sinha, Ohashi and Nakamura, Class-Difficulty Based Methods for Long-Tailed Visual Recognition, IJCV 2022.
    """

    name = "cdb-w"
    title = "CDB-W (difficulty-weighted cross-entropy)"
    tasks = ("classify", "video", "detect", "segment")

    base: str = "ce"

    def _base(self) -> Method:
        return base_method("base", self.base)

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """Those of all difficulty-based methods, on cross-entropy."""
        return {name: preset | {"base": "ce"} for name, preset in super().presets().items()}
