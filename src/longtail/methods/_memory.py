"""What OLTR adds to a network: attention on the last feature map, and a classifier with a memory of the classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.checks import full_precision
from longtail.functional import class_means

__all__ = ["MemoryHead", "ModulatedAttention", "centroid_loss", "squash"]


class ModulatedAttention(nn.Module):
    """``f + where(f) * out(self_attention(f))``: where is a softmax over the positions; out is 0 at first.

    Args:
        channels: Of the feature map ``[B, channels, ...]``, whose other sizes are free.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.query, self.key, self.value = (nn.Linear(channels, inner) for _ in range(3))
        self.out, self.where = nn.Linear(inner, channels), nn.Linear(channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, maps: Tensor) -> Tensor:
        positions = maps.flatten(2).mT  # [B, N, channels]
        likeness = (self.query(positions) @ self.key(positions).mT).softmax(-1)
        change = self.where(positions).softmax(1) * self.out(likeness @ self.value(positions))
        return maps + change.mT.reshape(maps.shape)


class MemoryHead(nn.Module):
    """A linear classifier at first; after `begin` the dynamic meta-embedding and its cosine classifier.

    ``m = softmax(hallucinator(x)) @ centroids``, ``e = tanh(selector(x))``, ``r = 10 / distance to the nearest
    centroid``; logits ``scale * cos``-like products of the squashed ``r * (x + e * m)`` with normalised weights.

    Args:
        linear: The layer that it replaces.
        scale: Factor of the logits.
        slow: Factor of the gradients of the features and centroids.
    """

    active: Tensor
    known: Tensor

    def __init__(self, linear: nn.Linear, *, scale: float, slow: float) -> None:
        super().__init__()
        classes, size = linear.weight.shape
        self.scale, self.slow = scale, slow
        self.linear = linear
        self.hallucinator = nn.Linear(size, classes, bias=linear.bias is not None)
        self.selector = nn.Linear(size, size)
        self.weight, self.centroids = (nn.Parameter(torch.zeros_like(linear.weight)) for _ in range(2))
        self.register_buffer("known", torch.ones(classes, dtype=torch.bool))
        self.register_buffer("active", torch.zeros((), dtype=torch.bool))
        self.keeps_features, self.features = False, torch.empty(0)
        self.to(linear.weight.device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def begin(self) -> None:
        """From now on the memory takes part; what it brings to mind starts from the linear classifier."""
        self.hallucinator.load_state_dict(self.linear.state_dict())
        self.active.fill_(True)
        self.keeps_features = True

    @torch.no_grad()
    def remember(self, features: Tensor, target: Tensor) -> None:
        """Let the centroids be the class means of training features ``[N, D]`` with targets ``[N]``."""
        means, count = class_means(features, target, num_classes=len(self.centroids))
        self.centroids.copy_(means)
        self.known.copy_(count > 0)

    def slowed(self, values: Tensor) -> Tensor:
        """The same values, whose gradient is multiplied by ``slow`` once the memory takes part."""
        factor = torch.where(self.active, self.slow, 1.0)
        return values.detach() + factor * (values - values.detach())

    def forward(self, features: Tensor) -> Tensor:
        x = self.slowed(features) if self.training else features
        if self.training and self.keeps_features:
            self.features = x  # for the loss: whoever takes it leaves the place empty
        return torch.where(self.active, self._from_memory(full_precision(x)), full_precision(self.linear(x)))

    def _from_memory(self, x: Tensor) -> Tensor:
        centroids = self.centroids.detach()  # they learn from their own loss alone
        memory = full_precision(self.hallucinator(x)).softmax(-1) @ centroids.to(x.dtype)
        distance = _squared_distances(x, centroids).masked_fill(~self.known, torch.inf).amin(-1, keepdim=True)
        reach = 10 / distance.clamp(min=1e-4, max=1e12).sqrt()
        embedding = reach * (x + self.selector(x).tanh() * memory)
        return self.scale * F.linear(squash(full_precision(embedding)), F.normalize(self.weight))


def squash(x: Tensor) -> Tensor:
    """The direction of each row of ``[N, D]`` with the length ``|x| / (1 + |x|)``, below 1."""
    return x / (1 + torch.linalg.vector_norm(x, dim=-1, keepdim=True))


def centroid_loss(
    features: Tensor, target: Tensor, centroids: Tensor, known: Tensor, *, margin: float = 10.0, repel: float = 0.01
) -> Tensor:
    """``attract + repel * max(0, margin - mean squared distance to the other classes' centroids)``.

    Args:
        features: ``[B, D]``.
        target: Class indices ``[B]``.
        centroids: ``[C, D]``.
        known: bool ``[C]``: the classes that have a centroid.
        margin: Squared distance from which on the other classes no longer repel.
        repel: Factor of that part. attract is half the mean squared distance to the own centroid.
    """
    squared = _squared_distances(full_precision(features), full_precision(centroids))
    own = F.one_hot(target, len(centroids)).bool()
    attract = squared[own].mean() / 2
    others = ~own & known
    far = (squared * others).sum() / others.sum().clamp(min=1)
    return attract + repel * torch.where(others.any(), (margin - far).clamp(min=0), 0.0)


def _squared_distances(x: Tensor, centroids: Tensor) -> Tensor:
    """``[N, C]`` of ``[N, D]`` and ``[C, D]``."""
    centroids = centroids.to(x.dtype)
    squared = x.square().sum(-1, keepdim=True) - 2 * full_precision(x @ centroids.mT) + centroids.square().sum(-1)
    return squared.clamp(min=0)
