"""Training images that are mixed of two: mixup and cutmix, drawn for each global batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["Mixture", "drawn", "mix", "places"]

_ALPHA = {"mixup": 0.2, "cutmix": 1.0}
"""Of the Beta distribution of the share, as torchvision's training recipes have them; mixup: Zhang et al. (2018) for
ImageNet, cutmix: Yun et al. (2019)."""


@dataclasses.dataclass(frozen=True)
class Mixture:
    """What is mixed into the images of a batch.

    Args:
        target: Labels of the images that are mixed in, ``[B]``.
        share: Of the image whose label the batch has; at least a half.
    """

    target: Tensor
    share: float

    def loss(self, criterion: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> Tensor:
        """``share * L(z, y) + (1 - share) * L(z, y_mixed_in)``, for any criterion."""
        own, other = criterion(logits, target), criterion(logits, self.target)
        return self.share * own + (1 - self.share) * other


def places(size: int, *, rank: int, world: int, mixed: bool) -> tuple[Tensor, Tensor]:
    """Which images of a global batch a process needs.

    Image k is mixed with the one half a batch further on. In a batch that the processes share evenly most often both
    are the same process's; others are read by both.

    Args:
        size: Of the global batch.
        rank, world: The process, and their number.
        mixed: Whether images are mixed.

    Returns:
        Places in the global batch, the process's own first; and of each own image where its partner is among them.
    """
    every = torch.arange(size)
    own = every[rank::world]
    if not mixed:
        return own, own
    partner = (own + size // 2) % size
    needed = torch.cat([own, partner[~torch.isin(partner, own)]])
    where = torch.empty_like(every).index_put((needed,), torch.arange(len(needed)))
    return needed, where[partner]


def mix(
    images: Tensor, labels: Tensor, partner: Tensor, kind: str | Sequence[str], key: int
) -> tuple[Tensor, Tensor, Mixture]:
    """Mix the first images of a batch with their partners.

    The larger share is that of the first image, so that its label is what the mixture shows most of.

    Args:
        images: Normalised, ``[N, C, S, S]``, or clips ``[N, C, T, S, S]``.
        labels: ``[N]``.
        partner: Of each of the first B images the row of the other, ``[B]``.
        kind: ``mixup`` or ``cutmix``; several: one of them is drawn, as in torchvision's recipes.
        key: Seed of the draw, one for all processes.

    Returns:
        Images ``[B, ...]``, their own labels ``[B]``, and what is mixed in.
    """
    from torchvision.transforms import v2

    kind = kind if isinstance(kind, str) else kind[key % len(kind)]
    size = images.shape[-2:]
    one_and_other = torch.stack([torch.ones(1, *size), torch.zeros(1, *size)])
    draw = (v2.MixUp if kind == "mixup" else v2.CutMix)(alpha=_ALPHA[kind], num_classes=2)
    part = drawn(lambda pair: draw(pair, torch.tensor([0, 1]))[0][0], one_and_other, key)
    part = part if float(part.mean()) >= 0.5 else 1 - part
    own, other, part = images[: len(partner)], images[partner.to(images.device)], part.to(images.device)
    mixture = Mixture(labels[partner.to(labels.device)], float(part.mean()))
    return own * part + other * (1 - part), labels[: len(partner)], mixture


def drawn(transform: Callable[[Tensor], Tensor], image: Tensor, key: int) -> Tensor:
    """``transform(image)``, its draws a function of ``key``: torchvision draws from the CPU's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key)
        return transform(image)
