"""Cross-entropy on logits that are scaled and shifted by class: the losses that know the class counts.

With the training counts n, the prior is ``pi_c = n_c / N``:

==================== ============================== ===========================================
loss                 logits of the cross-entropy    source
==================== ============================== ===========================================
balanced softmax     ``z_c + log pi_c``             Ren et al., NeurIPS 2020
logit adjustment     ``z_c + tau * log pi_c``       Menon et al., ICLR 2021
CDT                  ``z_c / D_c``                  Ye et al., 2020
VS                   ``z_c / D_c + tau * log pi_c`` Kini et al., NeurIPS 2021
==================== ============================== ===========================================

with ``D_c = (n_max / n_c) ** gamma``. A class without training samples counts like the rarest one that has some, so
that nothing here is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from longtail.checks import check_range, counts_as_float64, full_precision
from longtail.errors import LongtailError
from longtail.functional.targets import cross_entropy

__all__ = ["class_temperatures", "filled_counts", "log_prior", "shifted_cross_entropy"]


def filled_counts(class_counts: Tensor | Sequence[int]) -> Tensor:
    """The counts, float64 ``[C]`` on the CPU, where a class without samples has those of the rarest class with some.

    Raises:
        LongtailError: counts that are negative or not finite.
    """
    counts = counts_as_float64(class_counts)
    rarest = counts.where(counts > 0, math.inf).min()
    return counts.where(counts > 0, rarest.where(rarest.isfinite(), 1))


def log_prior(class_counts: Tensor | Sequence[int]) -> Tensor:
    """``log(n_c / N)`` from the `filled_counts`.

    Args:
        class_counts: Training samples of each class, ``[C]``.

    Returns:
        Finite logarithms ``[C]`` in the default dtype; their exponentials sum to 1.
    """
    counts = filled_counts(class_counts)
    return (counts / counts.sum()).log().to(torch.get_default_dtype())


def class_temperatures(class_counts: Tensor | Sequence[int], *, gamma: float) -> Tensor:
    """``(n_max / n_c) ** gamma`` from the `filled_counts`: 1 for the largest class, more for the others.

    Args:
        class_counts: Training samples of each class, ``[C]``.
        gamma: At least 0, where all are 1.

    Returns:
        Temperatures ``[C]`` >= 1 in the default dtype.

    Raises:
        LongtailError: negative gamma.
    """
    check_range(gamma, "gamma", 0, math.inf, open_high=True)
    counts = filled_counts(class_counts)
    return ((counts.max() / counts) ** gamma).to(torch.get_default_dtype())


def shifted_cross_entropy(
    logits: Tensor, target: Tensor, *, temperature: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """Cross-entropy of ``logits / temperature + shift``.

    Args:
        logits: ``[N, C]`` or dense ``[N, C, d1, ...]``.
        target: Class indices ``[N]`` or ``[N, d1, ...]``, or soft targets of the shape of ``logits``.
        temperature: One per class, ``[C]`` > 0; None: ones.
        shift: One per class, ``[C]``; None: zeros.

    Returns:
        Losses ``[N]`` or ``[N, d1, ...]``; half precision is computed and returned in float32.

    Raises:
        LongtailError: not one temperature or shift per class.
    """
    logits = full_precision(logits)
    if temperature is not None:
        logits = logits / by_class(temperature, logits)
    if shift is not None:
        logits = logits + by_class(shift, logits)
    return cross_entropy(logits, target)


def by_class(values: Tensor, logits: Tensor) -> Tensor:
    """Values ``[C]`` in the shape, dtype and place in which they meet logits ``[N, C, ...]``."""
    if logits.ndim < 2 or len(values) != logits.shape[1]:
        raise LongtailError(f"logits of shape {list(logits.shape)} do not fit {len(values)} classes: give [N, C, ...]")
    return values.to(logits).view(-1, *(1,) * (logits.ndim - 2))
