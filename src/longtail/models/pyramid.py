"""Backbones of detectors: four maps of features, of strides 4, 8, 16 and 32, and a pyramid on them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from longtail.errors import LongtailError
from longtail.models.from_timm import create_timm
from longtail.models.pretrained import PretrainedWeights

__all__ = ["Pyramid", "residual_pyramid", "timm_pyramid"]

_STRIDES = [4, 8, 16, 32]


class Pyramid(nn.Module):
    """A network of timm with a feature pyramid, as torchvision's detectors want it.

    Args:
        body: Gives the four maps by name.
        channels: Of each map, from stride 4 on.
        out_channels: Of the pyramid.
    """

    def __init__(self, body: nn.Module, channels: list[int], out_channels: int) -> None:
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

        super().__init__()
        self.body, self.out_channels = body, out_channels
        # Networks differ in the scale of their maps (EfficientNet's are outputs of linear layers): without a norm the
        # first steps of heads on published weights are far too large.
        norm = partial(nn.GroupNorm, 16)
        self.fpn = FeaturePyramidNetwork(channels, out_channels, LastLevelMaxPool(), norm_layer=norm)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Five maps ``[B, out_channels, H, W]`` by name, from stride 4 to 64."""
        return self.fpn(self.body(images))


class _Stages(nn.Module):
    def __init__(self, network: Any, indices: list[int]) -> None:
        super().__init__()
        self.network, self.indices = network, indices

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.network.forward_intermediates(
            images, indices=self.indices, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return OrderedDict((str(k), features) for k, features in enumerate(maps))


def residual_pyramid(name: str, norm: Any, *, channels: int) -> Any:
    """A residual network of torchvision (or ``resnet10``) with a pyramid on its four stages."""
    import torchvision
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.resnet import BasicBlock, ResNet

    if name == "resnet10":
        network = ResNet(BasicBlock, [1, 1, 1, 1], norm_layer=norm)
    else:
        network = getattr(torchvision.models, name)(weights=None, norm_layer=norm)
    stages = {f"layer{k + 1}": str(k) for k in range(4)}
    return BackboneWithFPN(network, stages, [network.inplanes // 8 * 2**k for k in range(4)], channels)


def timm_pyramid(
    name: str,
    *,
    frozen: bool,
    channels: int,
    weights: str | Path | None = None,
    args: Mapping[str, Any] | None = None,
) -> tuple[Pyramid, PretrainedWeights | None, list[str]]:
    """Any network of timm that has maps of the four strides, with a pyramid on them.

    Args:
        name: ``timm/NAME`` and so on.
        frozen: Batch normalisation keeps its statistics, and the layers up to stride 4 their weights; otherwise
            normalisation is by groups, which small batches can train.
        channels: Of the pyramid.
        weights: ``pretrained``, a file of a classifier of this network, or None.
        args: Of the network's constructor.

    Raises:
        LongtailError: a network without such maps, or weights that do not fit.
    """
    network: Any
    network, info, notes = create_timm(name, num_classes=0, weights=weights, args=args)
    stages = list(getattr(network, "feature_info", None) or [])
    indices = [i for i, stage in enumerate(stages) if stage["reduction"] in _STRIDES][-4:]
    fixed = network.pretrained_cfg.get("fixed_input_size")
    if [stages[i]["reduction"] for i in indices] != _STRIDES or fixed or not hasattr(network, "forward_intermediates"):
        reason = "takes images of one size only" if fixed else "has no maps of strides 4, 8, 16 and 32"
        raise LongtailError(
            f"{name} cannot carry a feature pyramid: it {reason}; take one that does, such as "
            "timm/tf_efficientnet_lite0, timm/resnet50 or timm/convnext_tiny"
        )
    network.prune_intermediate_layers(indices, prune_norm=True, prune_head=True)
    if frozen:
        from timm.layers import freeze_batch_norm_2d  # pyright: ignore[reportPrivateImportUsage]

        network = freeze_batch_norm_2d(network)
        _freeze_until(network, stages[indices[0]]["module"])
    else:
        _norm_by_groups(network)
    body = _Stages(network, indices)
    return Pyramid(body, [stages[i]["num_chs"] for i in indices], channels), info, notes


def _freeze_until(network: nn.Module, module: str) -> None:
    """All layers up to this one keep their weights."""
    names = [name for name, _ in network.named_parameters()]
    last = max(i for i, name in enumerate(names) if name.startswith(f"{module}."))
    for parameter in list(network.parameters())[: last + 1]:
        parameter.requires_grad_(False)


def _norm_by_groups(network: nn.Module) -> None:
    """Normalisation by groups in place of that by batches, followed by what followed it."""
    for name, layer in list(network.named_modules()):
        if not isinstance(layer, nn.BatchNorm2d):
            continue
        groups = next(g for g in (16, 8, 4, 2, 1) if layer.num_features % g == 0)
        after = [part for key in ("drop", "act") if isinstance(part := getattr(layer, key, None), nn.Module)]
        network.set_submodule(name, nn.Sequential(nn.GroupNorm(groups, layer.num_features), *after))
