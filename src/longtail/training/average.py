"""The running average of the weights: what is judged, chosen and saved in place of the weights themselves."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["Average"]


class Average(AveragedModel):
    """An exponential moving average (EMA) of parameters and buffers; its state is that of a module.

    After step t (from 0) the average keeps the share ``min(decay, (1 + t) / (10 + t))`` of itself, so that a short
    training does not end near its first weights.

    Args:
        model: What is averaged, as it is now.
        decay: The share in the long run, in [0, 1).

    Reference:
        The warm-up is that of ``tf.train.ExponentialMovingAverage``.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=functools.partial(_towards, decay), use_buffers=True)

    @contextlib.contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Within this, ``model`` holds the average, and the average what the model held."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def put_into(self, model: nn.Module) -> None:
        """Give ``model`` the average for good."""
        for mine, its in zip(_values(self.module), _values(model), strict=True):
            its.copy_(mine)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for mine, its in zip(_values(self.module), _values(model), strict=True):
            held = its.clone()
            its.copy_(mine)
            mine.copy_(held)


def _values(model: nn.Module) -> Iterator[Tensor]:
    return itertools.chain(model.parameters(), model.buffers())


@torch.no_grad()
def _towards(decay: float, mean: Any, now: Any, steps: Tensor | int) -> None:
    """One step of the average; whole numbers (how many batches BatchNorm saw) are not averaged."""
    done = int(steps)
    share = 1 - min(decay, (1 + done) / (10 + done))
    for mine, new in zip(mean, now, strict=True):
        if mine.is_floating_point() or mine.is_complex():
            mine.lerp_(new, share)
        else:
            mine.copy_(new)
