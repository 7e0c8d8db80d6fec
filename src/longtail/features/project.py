"""From raw features to what a classifier is trained on: standardised, of length about 1, in fewer dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["COMPONENTS", "projection_of"]

COMPONENTS = 1024
"""Principal components that are kept: as accurate as all features, and a fit is several times faster."""
_SPARE, _ROUNDS = 32, 1
_FLAT = 1e-6
"""A feature whose standard deviation is below this share of its largest value is constant."""


@torch.no_grad()
def projection_of(x: Tensor, *, components: int = COMPONENTS) -> nn.Linear:
    """The layer that standardises features, divides them by the square root of their number, and turns them onto their
    first principal components.

    So the mean square length of its output on ``x`` is at most 1, and one weight decay means the same for any network.
    Where there are no more features, or no more samples, than components, nothing is lost.

    Args:
        x: Features of the training samples, ``[N, D]``.
        components: K; the layer has min(K, D, N) outputs, or D where D is at most K.

    Returns:
        A linear layer, D to K, float32 and frozen.
    """
    x = x.float()
    mean, spread = x.mean(0), x.std(0, correction=0)
    useful = spread > _FLAT * x.abs().amax(0)
    scale = torch.where(useful, 1 / spread.clamp(min=1e-12), 0) / math.sqrt(max(1, int(useful.sum())))
    layer = nn.Linear(
        x.shape[1], min(components, x.shape[1]) if x.shape[1] <= components else min(components, *x.shape)
    )
    if x.shape[1] <= components:
        layer.weight.copy_(torch.diag(scale))
    else:
        layer.weight.copy_(_directions((x - mean) * scale, layer.out_features).T * scale)
    layer.bias.copy_(-layer.weight @ mean)
    return layer.requires_grad_(False)


def _directions(z: Tensor, count: int) -> Tensor:
    """The first principal directions, ``[D, count]``, by subspace iteration from a fixed seed (Halko et al., 2011)."""
    if min(z.shape) <= count + _SPARE:  # few samples: all directions that they have
        values, vectors = torch.linalg.eigh((z @ z.T).double())
        values, vectors = values[-count:].flip(0), vectors[:, -count:].flip(1)
        lengths = torch.where(values > 1e-10 * values[0], values, torch.inf).sqrt()
        return z.T @ (vectors / lengths).float()
    start = torch.randn(len(z), count + _SPARE, generator=torch.Generator().manual_seed(0)).to(z)
    basis = torch.linalg.qr(z.T @ start).Q
    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(z.T @ (z @ basis)).Q
    inside = z @ basis
    return basis @ torch.linalg.eigh(inside.T @ inside).eigenvectors.flip(1)[:, :count]
