"""Networks for clips: 3D-ResNeXt-101 in the layout of its public Kinetics weights, and a small one for CPUs.

Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018: the network that the
paper trains on EGTEA (Section 4.3.2), with cardinality 32 and projections as shortcuts where the size changes (type B).
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ResNeXt3D", "Small3D"]

CARDINALITY = 32


class _Bottleneck(nn.Module):
    """1x1x1, grouped 3x3x3 and 1x1x1 convolutions; the last one doubles the channels."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride, padding=1, groups=CARDINALITY, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, 2 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(2 * width)
        self.downsample = None
        if stride != 1 or inputs != 2 * width:
            projection = nn.Conv3d(inputs, 2 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm3d(2 * width))

    def forward(self, clips: Tensor) -> Tensor:
        features = F.relu(self.bn1(self.conv1(clips)), inplace=True)
        features = F.relu(self.bn2(self.conv2(features)), inplace=True)
        features = self.bn3(self.conv3(features))
        return F.relu(features + (clips if self.downsample is None else self.downsample(clips)), inplace=True)


class ResNeXt3D(nn.Module):
    """3D-ResNeXt-101; its layers have the names of the public ``resnext-101-kinetics`` weights.

    Args:
        num_classes: C; 48.3 M parameters for the 400 classes of Kinetics.
        blocks: Blocks of the four stages.
    """

    def __init__(self, num_classes: int, *, blocks: tuple[int, ...] = (3, 4, 23, 3)) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, (1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        inputs = 64
        for stage, count in enumerate(blocks):
            width = 128 << stage
            first = _Bottleneck(inputs, width, 1 if stage == 0 else 2)
            rest = [_Bottleneck(2 * width, width, 1) for _ in range(count - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *rest))
            inputs = 2 * width
        self.stages = len(blocks)
        self.fc = nn.Linear(inputs, num_classes)
        _initialise(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits ``[B, C]`` of clips ``[B, 3, T, S, S]``."""
        features = F.relu(self.bn1(self.conv1(clips)), inplace=True)
        features = F.max_pool3d(features, 3, 2, padding=1)
        for stage in range(self.stages):
            features = self.get_submodule(f"layer{stage + 1}")(features)
        return self.fc(features.mean((2, 3, 4)))


class Small3D(nn.Module):
    """Four 3x3x3 convolutions with batch normalisation for small clips; 0.21 M parameters.

    Time is kept until the end: what moves, and which way, shows in neighbouring frames.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the frames.
    """

    def __init__(self, num_classes: int, *, in_channels: int = 3) -> None:
        super().__init__()
        widths = (in_channels, 16, 32, 64, 80)
        layers: list[nn.Module] = []
        for stage, (inputs, outputs) in enumerate(pairwise(widths)):
            stride = (1, 2, 2) if stage < 3 else (2, 1, 1)
            layers += [nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(widths[-1], num_classes)
        _initialise(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits ``[B, C]`` of clips ``[B, in_channels, T, S, S]``."""
        return self.fc(self.layers(clips).mean((2, 3, 4)))


def _initialise(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
