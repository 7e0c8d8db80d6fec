"""Adapters: a few parameters in a frozen network that learn in its place.

LoRA (Hu et al., ICLR 2022) adds a product of two small matrices to linear layers, and is merged into them at the end:
what is written is the plain network. AdaptFormer (Chen et al., NeurIPS 2022) runs a small bottleneck beside the
perceptron of every block of a transformer, and stays. Both start as nothing: the outputs are those of the network as it
was, bit for bit.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.errors import LongtailError

__all__ = ["ADAPTERS", "AdaptFormer", "add_adapters", "add_adaptformer", "freeze", "merged"]

ADAPTERS = ("lora", "adaptformer")
_NORM_AND_MLP = (("norm2", "mlp"), ("ln_2", "mlp"))
"""What the blocks of timm's and of torchvision's transformers call their second normalisation and their perceptron."""


class AdaptFormer(nn.Module):
    """``scale * up(relu(down(norm(x))))``; ``up`` starts at 0, the scale at 1, and learns.

    Args:
        dim: Width of the network.
        rank: Width of the bottleneck.
    """

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.norm, self.down, self.up = nn.LayerNorm(dim), nn.Linear(dim, rank), nn.Linear(rank, dim)
        self.scale = nn.Parameter(torch.ones(1))
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(F.relu(self.down(self.norm(x)))) * self.scale


class _Beside(nn.Module):
    """In place of a perceptron: the normalisation before it, the perceptron, and an adapter beside both."""

    def __init__(self, norm: nn.Module, mlp: nn.Module, adapter: AdaptFormer) -> None:
        super().__init__()
        self.norm, self.mlp, self.adapter = norm, mlp, adapter

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.norm(x)) + self.adapter(x)


def freeze(model: nn.Module) -> None:
    """Let nothing of a network be trained."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def add_adapters(model: nn.Module, head: nn.Module, *, kind: str, rank: int, images: Tensor) -> None:
    """Put adapters into a network, in place; they alone, and what could be trained before, can be trained then.

    Args:
        model: The network, its frozen parameters frozen.
        head: Its classifier, which gets none.
        kind: One of `ADAPTERS`.
        rank: Width of the bottleneck of each.
        images: Some input, on which the outputs are compared with those before.

    Raises:
        LongtailError: a network without a place for them, a package that is missing, or outputs that changed.
    """
    before = {id(p) for p in model.parameters() if p.requires_grad}
    known = {id(p) for p in model.parameters()}
    expected = _outputs(model, images)
    if kind == "lora":
        _add_lora(model, head, rank)
    else:
        add_adaptformer(model, rank)
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in before or id(parameter) not in known)
    if not torch.equal(_outputs(model, images), expected):
        raise LongtailError(
            f"--adapter {kind} changes what {type(model).__name__} answers before it has learned anything: its blocks "
            "are of another form; use --tune all"
        )


def add_adaptformer(model: nn.Module, rank: int) -> None:
    """Put an `AdaptFormer` beside the perceptron of every block, in place.

    Raises:
        LongtailError: the network has no blocks of a transformer.
    """
    found = False
    for block in list(model.modules()):
        for norm_name, mlp_name in _NORM_AND_MLP:
            norm, mlp = getattr(block, norm_name, None), getattr(block, mlp_name, None)
            if isinstance(norm, nn.LayerNorm) and isinstance(mlp, nn.Module):
                adapter = AdaptFormer(norm.normalized_shape[0], rank).to(norm.weight)
                setattr(block, norm_name, nn.Identity())
                setattr(block, mlp_name, _Beside(norm, mlp, adapter))
                found = True
    if not found:
        raise LongtailError(
            f"--adapter adaptformer is for vision transformers, and {type(model).__name__} has no blocks of one: use "
            "--adapter lora or --tune all"
        )


@contextlib.contextmanager
def merged(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within this, what LoRA has learned is part of the layers; the state of the network, as if it had never had any.

    A network without it is left as it is.
    """
    layers: list[Any] = [module for module in model.modules() if hasattr(module, "lora_A")]
    held = [layer.base_layer.weight.detach().clone() for layer in layers]
    for layer in layers:
        layer.merge()
    try:
        yield {k.replace(".base_layer.", "."): v for k, v in model.state_dict().items() if ".lora_" not in k}
    finally:
        for layer, weight in zip(layers, held, strict=True):
            layer.unmerge()
            with torch.no_grad():
                layer.base_layer.weight.copy_(weight)  # to the bit


def _add_lora(model: nn.Module, head: nn.Module, rank: int) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise LongtailError("--adapter lora needs peft: pip install 'longtail[adapters]'") from None
    spared = {id(module) for module in head.modules()}
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):  # which reads the weights of its layer, past any adapter
            spared |= {id(inner) for inner in module.modules()}
    names = [n for n, m in model.named_modules() if type(m) is nn.Linear and id(m) not in spared]
    if not names:
        raise LongtailError(
            f"--adapter lora is for linear layers, and {type(model).__name__} has none but its classifier: use "
            "--tune head or all"
        )
    targets = "|".join(map(re.escape, names))
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=f"(?:{targets})"), model)


@torch.no_grad()
def _outputs(model: nn.Module, images: Tensor) -> Tensor:
    training = model.training
    outputs = model.eval()(images)
    model.train(training)
    return outputs
