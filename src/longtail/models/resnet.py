"""The residual networks of CIFAR: three stages of 16, 32 and 64 channels, shortcuts without parameters.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, Section 4.2: depth 6n + 2, option A.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from longtail.errors import LongtailError

__all__ = ["CifarResNet"]


class _Block(nn.Module):
    """Two 3x3 convolutions; a shortcut that changes size takes every second pixel and pads channels with zeros."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.pad = (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.bn1(self.conv1(images)), inplace=True)
        features = self.bn2(self.conv2(features))
        if self.stride == 2:
            images = F.pad(images[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(features + images, inplace=True)


class CifarResNet(nn.Module):
    """ResNet-20, 32, 44, 56 or 110 for small images; ResNet-32 has 0.46 M parameters for 10 classes.

    Args:
        depth: 6n + 2.
        num_classes: Number of classes.
        in_channels: Channels of the images.

    Raises:
        LongtailError: a depth that is not 6n + 2.
    """

    def __init__(self, depth: int, num_classes: int, *, in_channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise LongtailError(f"a CIFAR ResNet has depth 6n + 2 (20, 32, 44, 56, 110), not {depth}")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [16] * (blocks + 1) + [32] * blocks + [64] * blocks
        self.blocks = nn.Sequential(*(_Block(a, b) for a, b in pairwise(widths)))
        self.fc = nn.Linear(64, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, C]`` of images ``[B, in_channels, S, S]``."""
        features = F.relu(self.bn1(self.conv1(images)), inplace=True)
        return self.fc(self.blocks(features).mean((2, 3)))
