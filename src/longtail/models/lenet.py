"""LeNet-5 in the two sizes that go by this name."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longtail.errors import LongtailError

__all__ = ["LeNet5"]

WIDTHS = {"caffe": (20, 50, (500,)), "classic": (6, 16, (120, 84))}


class LeNet5(nn.Module):
    """Two 5x5 convolutions with 2x2 max-pooling and ReLU, then linear layers.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the images.
        image_size: Side of the square images, at least 16. The original pads 28 to 32; here 28 stays 28.
        widths: ``caffe``: 20 and 50 channels, then 500 units (the version that most papers mean; 0.43 M parameters).
            ``classic``: 6 and 16 channels, then 120 and 84 units (LeCun et al., 1998; 0.04 M parameters).
        init: ``kaiming`` (normal, ReLU gain) or ``xavier`` (uniform), both with zero biases, or ``default`` (PyTorch's,
            a uniform draw of a third of Kaiming's variance, with which the paper's learning rate hardly starts).

    Raises:
        LongtailError: unknown ``widths`` or ``init``, or too small an image.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 1,
        image_size: int = 28,
        widths: str = "caffe",
        init: str = "kaiming",
    ) -> None:
        super().__init__()
        if widths not in WIDTHS:
            raise LongtailError(f"unknown widths {widths!r} of lenet5: known are {', '.join(WIDTHS)}")
        side = ((image_size - 4) // 2 - 4) // 2
        if side < 1:
            raise LongtailError(
                f"lenet5 needs images of at least 16 pixels, not {image_size}: give a larger --image-size"
            )
        first, second, hidden = WIDTHS[widths]
        self.conv1 = nn.Conv2d(in_channels, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        sizes = [second * side * side, *hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.fc = nn.Linear(sizes[-1], num_classes)
        _initialise(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, C]`` of images ``[B, in_channels, S, S]``."""
        # ReLU and max commute: pooling first gives the same numbers from a quarter of the work.
        features = F.relu(F.max_pool2d(self.conv1(images), 2))
        features = F.relu(F.max_pool2d(self.conv2(features), 2)).flatten(1)
        for layer in self.hidden:
            features = F.relu(layer(features))
        return self.fc(features)


@torch.no_grad()
def _initialise(model: nn.Module, init: str) -> None:
    if init not in ("default", "kaiming", "xavier"):
        raise LongtailError(f"unknown init {init!r}: known are default, kaiming, xavier")
    for layer in model.modules() if init != "default" else ():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if init == "kaiming":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
