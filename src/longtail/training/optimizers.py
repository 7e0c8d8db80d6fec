"""The optimiser of a run: which parameters learn at which rate, and which of them decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from longtail.config import RunConfig
from longtail.errors import LongtailError

__all__ = ["make_optimizer", "rate_scales"]


def make_optimizer(
    config: RunConfig,
    parameters: Sequence[nn.Parameter],
    scales: Mapping[nn.Parameter, float],
    *,
    undecayed: Sequence[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """A fresh optimiser, whose groups hold ``lr_scale`` where it is not 1.

    SGD decays all parameters. AdamW leaves out those of one dimension (biases, the scales of normalisation layers), as
    is usual for the networks that it is used for, and ``undecayed``.

    Args:
        config: A resolved configuration.
        parameters: All of the model, frozen ones too.
        scales: Of each parameter the factor of the rate that is not 1, see `rate_scales`.
        undecayed: Parameters that the network itself wants without decay (positions, class token).
    """
    assert config.lr and config.weight_decay is not None
    adamw, kept = config.optimizer == "adamw", {id(p) for p in undecayed}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        decays = not adamw or (parameter.ndim > 1 and id(parameter) not in kept)
        groups.setdefault((scales.get(parameter, 1.0), decays), []).append(parameter)
    given: list[dict[str, Any]] = [
        {"params": own} | ({} if scale == 1 else {"lr_scale": scale}) | ({} if decays else {"weight_decay": 0.0})
        for (scale, decays), own in groups.items()
    ]
    if adamw:
        return torch.optim.AdamW(given, config.lr, betas=(config.momentum, 0.999), weight_decay=config.weight_decay)
    return torch.optim.SGD(given, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def rate_scales(
    config: RunConfig, model: nn.Module, head: nn.Module, depths: Mapping[str, int] | None
) -> dict[nn.Parameter, float]:
    """The factors of the learning rate that are not 1.

    The classifier learns at ``lr``, all else at ``backbone_lr``, and less by ``layer_decay`` for each layer that lies
    between it and the output.

    Args:
        config: A resolved configuration.
        model: The network with the method's parts.
        head: Its classifier.
        depths: Of each parameter by name the number of its layer, from the input; None: the network does not tell.

    Raises:
        LongtailError: layers are asked for that the network does not tell.
    """
    assert config.lr
    backbone = 1.0 if config.backbone_lr is None else config.backbone_lr / config.lr
    decay = 1.0 if config.layer_decay is None else config.layer_decay
    if decay != 1 and depths is None:
        raise LongtailError(
            f"--layer-decay: {config.model} does not tell its layers: choose a network timm/NAME, or leave it out"
        )
    own, last = {id(p) for p in head.parameters()}, max((depths or {"": 0}).values())
    scales: dict[nn.Parameter, float] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in own:
            scale = backbone * decay ** (last - (depths or {}).get(name, last))
            scales |= {parameter: scale} if scale != 1 else {}
    return scales
