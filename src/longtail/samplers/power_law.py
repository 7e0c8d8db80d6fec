"""Power-law sampling: class probabilities between the natural and the balanced ones; CFS, square-root sampling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from longtail.functional import power_law_probabilities
from longtail.samplers.two_level import TwoLevelSampler

__all__ = ["PowerLawSampler"]


class PowerLawSampler(TwoLevelSampler):
    """Draws class c with probability ``n_c^q / sum_k n_k^q``, then one of its samples uniformly; with replacement.

    ``q = 1`` draws every sample alike (instance-balanced), ``q = 0`` every class alike (class-balanced), ``q = 1/2`` is
    square-root sampling. The paper's class-frequency-based sampling (CFS) comes without a formula and cites word2vec;
    ``q = 1/2`` is our reading of it, which word2vec's sub-sampling of frequent words comes to as well.

    Reference: B. Kang et al., Decoupling representation and classifier for long-tailed recognition, ICLR 2020, Eq. 1.

    Args:
        labels: Class index of every sample, ``[N]``: tensor, array or list.
        exponent: q, a finite number.
        num_samples: Indices in an epoch over all ranks; default N.
        seed, num_replicas, rank: See `EpochSampler`.

    Raises:
        LongtailError: labels or numbers out of range.
    """

    def __init__(
        self,
        labels: Tensor | Sequence[int],
        *,
        exponent: float = 0.5,
        num_samples: int | None = None,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(labels, num_samples=num_samples, seed=seed, num_replicas=num_replicas, rank=rank)
        self.exponent = exponent
        self.probabilities()  # a mistake is told now, not in the first epoch

    def probabilities(self) -> Tensor:
        return power_law_probabilities(self.index.count, exponent=self.exponent)
