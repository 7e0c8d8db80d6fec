"""Meta-learning of sample weights: how the loss on other samples depends on them through a step of gradient descent.

Let ``u_i`` be the weights of N samples with losses ``l_i``. One step leads from the parameters ``theta`` to
``theta' = theta - lr * grad mean_i(u_i l_i)``, and with ``v`` the gradient of the meta loss at ``theta'``::

    d meta / d u_i = -lr / N * <v, grad l_i(theta)>

so all that is needed of the second order is a derivative of each sample's loss in one direction.

Where several processes share the samples, ``reduce`` sums a tensor over them.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from longtail.errors import LongtailError

__all__ = ["directional_derivatives", "mean_one", "mean_one_gradient"]

Named = Mapping[str, Tensor]


def _alone(total: Tensor) -> Tensor:
    return total


def directional_derivatives(losses: Callable[[Named], Tensor], parameters: Named, direction: Named) -> Tensor:
    """``<v, grad l_i>`` for each loss, by forward-mode differentiation: one pass, and no graph of a graph.

    Args:
        losses: Parameters by name -> losses ``[N]``. Called once; it may change in place only what it has made.
        parameters: Where to differentiate.
        direction: v, with the names and shapes of ``parameters``.

    Returns:
        ``[N]``.

    Raises:
        LongtailError: ``losses`` uses an operation that torch cannot differentiate in forward mode.
    """
    _load_forward_mode()
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # the fused attention has no forward mode
            return jvp(losses, (dict(parameters),), (dict(direction),))[1]
    except RuntimeError as error:
        if not any(words in str(error) for words in ("forward AD", "jvp")):
            raise
        reason = str(error).partition("\n")[0]
        raise LongtailError(f"the meta-gradient cannot be computed for this model ({reason}): choose another") from None


@functools.cache
def _load_forward_mode() -> None:
    with warnings.catch_warnings():  # torch compiles formulas with a function that it calls deprecated itself
        warnings.simplefilter("ignore")
        jvp(torch.sin, (torch.zeros(()),), (torch.ones(()),))


def mean_one(values: Tensor, *, reduce: Callable[[Tensor], Tensor] = _alone) -> Tensor:
    """``N * V_i / sum(V)``: values >= 0, ``[N]``, scaled to mean 1; all zeros stay zeros."""
    total, count = reduce(torch.stack([values.sum(), values.new_tensor(len(values))]))
    return values * (count / total.where(total != 0, 1))


def mean_one_gradient(values: Tensor, gradient: Tensor, *, reduce: Callable[[Tensor], Tensor] = _alone) -> Tensor:
    """Gradient by V from the gradient by ``u = mean_one(V)``: ``N / sum(V) * (g_i - sum(g V) / sum(V))``, ``[N]``."""
    sums = torch.stack([values.sum(), values.new_tensor(len(values)), (gradient * values).sum()])
    total, count, inner = reduce(sums)
    total = total.where(total != 0, 1)
    return count / total * (gradient - inner / total)
