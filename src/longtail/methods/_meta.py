"""What the methods that learn weights on held-out samples share: a virtual step, and small networks that learn."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from longtail.difficulty import all_reduce_sum
from longtail.functional import directional_derivatives
from longtail.losses import ClassWeightedLoss
from longtail.methods.base import StepContext

__all__ = ["MetaNet", "VirtualStep", "weighted_loss"]

_per_sample = ClassWeightedLoss(None, reduction="none")


def weighted_loss(context: StepContext, weight: Tensor) -> dict[str, Tensor]:
    """What a step returns: the mean over this process's samples of ``weight [b]`` times cross-entropy, and logits."""
    images, target = context.batch
    logits = context.forward(images)
    return {"loss": (weight * _per_sample(logits, target)).mean(), "logits": logits}


@dataclasses.dataclass(frozen=True)
class VirtualStep:
    """A step of plain gradient descent that is not taken, and what it would do to the loss on held-out samples.

    Neither the model's parameters, gradients and buffers (BatchNorm statistics) nor the random generators are changed.
    Every random draw of a forward pass (dropout) is that of the real one that follows. Gradients are those of the
    global batches: every process must make the same calls.
    """

    context: StepContext

    @functools.cached_property
    def parameters(self) -> dict[str, Tensor]:
        """The parameters in training, as leaves of their own."""
        named = self.context.model.named_parameters()
        return {name: p.detach().requires_grad_() for name, p in named if p.requires_grad}

    @functools.cached_property
    def losses(self) -> Tensor:
        """Cross-entropy of each sample of the batch, ``[b]``."""
        return self._losses(self.parameters, self.context.batch)

    def alignment(self, weight: Tensor | None = None) -> Tensor:
        """``<v, grad l_i>`` of each sample, ``[b]``: how much descending its loss lowers the meta loss, at first order.

        Args:
            weight: Weight of each sample's loss in the virtual step, ``[b]``, in whose mean they enter; v is the
                gradient of the meta loss after it. None: zeros, that is without any step.
        """
        parameters = self.parameters
        if weight is not None:
            gradient = _mean_gradient(weight * self.losses, parameters)
            with torch.no_grad():
                moved = {name: p - self.context.lr * gradient[name] for name, p in parameters.items()}
            parameters = {name: p.requires_grad_() for name, p in moved.items()}
        direction = _mean_gradient(self._losses(parameters, self.context.meta), parameters)
        here = {name: p.detach() for name, p in self.parameters.items()}
        # BatchNorm has no forward mode in mixed precision.
        with torch.autocast(self.context.batch[0].device.type, enabled=False):
            return directional_derivatives(lambda p: self._losses(p, self.context.batch), here, direction)

    def meta_gradient(self, weight: Tensor) -> Tensor:
        """Gradient of the meta loss after the step by the weights, ``[b]``; argument as in `alignment`."""
        count = all_reduce_sum(weight.new_tensor(len(weight)))
        return -self.context.lr / count * self.alignment(weight)

    def _losses(self, parameters: Mapping[str, Tensor], batch: tuple[Tensor, Tensor] | None) -> Tensor:
        assert batch is not None
        images, target = batch
        model = self.context.model
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        with _same_draws(images.device):
            logits = functional_call(model, {**parameters, **buffers}, (images,))
        return _per_sample(logits, target)


def _mean_gradient(losses: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of the mean of the losses of all processes."""
    values = list(parameters.values())
    gradients = torch.autograd.grad(losses.sum(), values, materialize_grads=True)
    flat = torch.cat([*(g.flatten() for g in gradients), losses.new_tensor([len(losses)])])
    *parts, count = all_reduce_sum(flat).split([*(p.numel() for p in values), 1])
    return {name: part.view(p.shape) / count for (name, p), part in zip(parameters.items(), parts, strict=True)}


@contextlib.contextmanager
def _same_draws(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


class MetaNet(nn.Module):
    """A perceptron with outputs in (0, 1) and its own Adam, whose state is part of the state dict.

    Args:
        sizes: Widths of input, hidden layers and output.
        seed: Of the initial weights.
        lr, weight_decay: Adam's.
    """

    def __init__(self, *sizes: int, seed: int, lr: float, weight_decay: float) -> None:
        super().__init__()
        with _same_draws(torch.device("cpu")):
            torch.default_generator.manual_seed(seed)
            layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes)]
        layers[-1][1] = nn.Sigmoid()
        self.layers = nn.Sequential(*layers)
        self.optimizer = torch.optim.Adam(self.parameters(), lr, weight_decay=weight_decay)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.layers(x)

    def learn(self, loss: Tensor, *, reduce: Callable[[Tensor], Tensor] | None = None) -> None:
        """A step on ``loss``, or on the sum of the losses of all processes if ``reduce`` is given."""
        self.optimizer.zero_grad()
        for parameter, gradient in zip(
            self.parameters(), torch.autograd.grad(loss, list(self.parameters())), strict=True
        ):
            parameter.grad = gradient if reduce is None else reduce(gradient)
        self.optimizer.step()

    def get_extra_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(copy.deepcopy(state))
