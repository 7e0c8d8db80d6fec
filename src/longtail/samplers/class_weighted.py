"""Class-weighted sampling (CDB-S): classes in proportion to weights that may change from epoch to epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from longtail.checks import has_weight, numbers
from longtail.errors import LongtailError
from longtail.functional import difficulty_probabilities
from longtail.samplers.base import as_tensor
from longtail.samplers.two_level import TwoLevelSampler

__all__ = ["ClassWeightedSampler", "HasWeight"]


class HasWeight(Protocol):
    """Anything that carries class weights, e.g. `ClassDifficulty`."""

    @property
    def weight(self) -> Tensor: ...


class ClassWeightedSampler(TwoLevelSampler):
    """Draws a class with probability ``w_c / sum(w)``, then one of its samples uniformly; with replacement.

    With a `ClassDifficulty` as the weight this is CDB-S, the paper's sampling by class difficulty. A sample of class c
    is drawn with probability ``w_c / (n_c * sum(w))``: equal weights balance the classes, whatever their sizes. Classes
    without samples take no part, whatever their weight; if all others weigh 0, they are drawn alike.

    The weights are read from their source whenever an iteration starts and never kept: what `ClassDifficulty.step` sets
    holds from the next epoch on. The order is a function of seed, epoch and weights alone, so all ranks share it. See
    `TwoLevelSampler` for memory and speed.

    Args:
        labels: Class index of every sample, ``[N]``: tensor, array or list. Or a list of the classes of every sample,
            which is then drawn by any of them; one without a class is not drawn.
        weight: Class weights >= 0, ``[C]``, or an object whose ``weight`` they are (`ClassDifficulty`).
        num_samples: Indices in an epoch over all ranks; default N.
        seed: Seed of the draws; the same on every rank.
        num_replicas: Number of processes that share the order; see `EpochSampler`.
        rank: This process, in ``[0, num_replicas)``.

    Raises:
        LongtailError: labels or numbers out of range; when built and whenever an iteration starts: weights that are not
            ``[C]`` finite numbers >= 0.
    """

    def __init__(
        self,
        labels: Tensor | Sequence[int] | Sequence[Sequence[int]],
        weight: Tensor | Sequence[float] | HasWeight,
        *,
        num_samples: int | None = None,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(
            labels,
            num_classes=len(_read(weight)),
            num_samples=num_samples,
            seed=seed,
            num_replicas=num_replicas,
            rank=rank,
        )
        self.weight = weight
        self.probabilities()  # a mistake is told now, not in the first epoch

    def probabilities(self) -> Tensor:
        weight, count = _read(self.weight), self.index.count
        if len(weight) != len(count):
            raise LongtailError(f"the sampler was built for {len(count)} class weights and now finds {len(weight)}")
        return difficulty_probabilities(weight, count)


def _read(source: Any) -> Tensor:
    """The class weights ``[C]`` as they are now."""
    weight = source.weight if has_weight(source) else numbers(source, "class weights", dtype=None)
    weight = as_tensor("weight", weight)
    if weight.dim() != 1 or not len(weight) or weight.is_complex():
        raise LongtailError(f"weight must hold one number per class, [C], not {weight.dtype} {list(weight.shape)}")
    return weight
