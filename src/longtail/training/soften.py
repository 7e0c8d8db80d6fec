"""Targets that are not one class: label smoothing, and images that are mixed of two."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from longtail.config import RunConfig
from longtail.data.augment import MIXTURES
from longtail.errors import LongtailError
from longtail.losses import smooth_labels
from longtail.methods import Parts

__all__ = ["soften"]


def soften(config: RunConfig, parts: Parts) -> Parts:
    """The parts of a method with the label smoothing of a run; refuses what they cannot honour.

    Args:
        config: A resolved configuration.
        parts: Of its method; the criteria are changed in place.

    Raises:
        LongtailError: label smoothing with a loss that has no smoothed target; it or mixed images with a training step
            of the method's own.
    """
    options = {"--label-smoothing": config.label_smoothing}
    options |= {f"--augment {name}": True for name in config.augment or () if name in MIXTURES}
    of_stages = [stage.parts for stage in parts.stages]
    for option, asked in options.items():
        if asked and (parts.step is not None or any(own.get("step") is not None for own in of_stages)):
            raise LongtailError(f"{option}: {config.method} trains by a step of its own, which cannot honour it")
    if not config.label_smoothing:
        return parts

    def smoothed(criterion: Any) -> Any:
        try:
            return smooth_labels(criterion, config.label_smoothing or 0.0)
        except LongtailError as error:
            raise LongtailError(f"--label-smoothing with --method {config.method}: {error}") from None

    def of(own: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: smoothed(part) if name == "criterion" else part for name, part in own.items()}

    stages = tuple(dataclasses.replace(stage, parts=of(stage.parts)) for stage in parts.stages)
    return dataclasses.replace(parts, criterion=smoothed(parts.criterion), stages=stages)
