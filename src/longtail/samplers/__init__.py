"""Samplers: torch ``Sampler`` classes for long-tailed data; seeded by epoch, the same order on every rank.

They work in any ``DataLoader(dataset, batch_size, sampler=...)``; call ``sampler.set_epoch(epoch)`` before each epoch,
or let them count.
"""

from longtail.samplers.base import EpochSampler
from longtail.samplers.class_aware import ClassAwareSampler
from longtail.samplers.class_weighted import ClassWeightedSampler
from longtail.samplers.power_law import PowerLawSampler
from longtail.samplers.progressive import ProgressiveSampler
from longtail.samplers.repeat_factor import RepeatFactorSampler, repeat_factors

__all__ = [
    "ClassAwareSampler",
    "ClassWeightedSampler",
    "EpochSampler",
    "PowerLawSampler",
    "ProgressiveSampler",
    "RepeatFactorSampler",
    "repeat_factors",
]
