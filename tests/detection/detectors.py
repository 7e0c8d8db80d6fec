"""Small detectors and batches that the detection tests share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

__all__ = ["batch", "tiny_detector"]


def tiny_detector(num_classes: int = 6, *, masks: bool = False, seed: int = 0, **options: Any) -> nn.Module:
    """A whole Faster or Mask R-CNN with one small feature level; ``num_classes`` counts the background."""
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 16, 7, 8, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU())
    backbone.out_channels = 16  # type: ignore[assignment]
    settings: dict[str, Any] = {
        "min_size": 64,
        "max_size": 64,
        "rpn_anchor_generator": AnchorGenerator(((8, 16, 32),), ((0.5, 1.0, 2.0),)),
        "box_roi_pool": MultiScaleRoIAlign(["0"], 3, 2),
        "rpn_pre_nms_top_n_train": 200,
        "rpn_post_nms_top_n_train": 100,
        "rpn_pre_nms_top_n_test": 100,
        "rpn_post_nms_top_n_test": 50,
        "box_batch_size_per_image": 64,
        "image_mean": [0.0] * 3,
        "image_std": [1.0] * 3,
    }
    if not masks:
        return FasterRCNN(backbone, num_classes, **settings | options)
    return MaskRCNN(backbone, num_classes, **settings | {"mask_roi_pool": MultiScaleRoIAlign(["0"], 6, 2)} | options)


def batch(classes: int = 5, *, seed: int = 0) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Three images, the last without an object."""
    generator = torch.Generator().manual_seed(seed)
    images = [torch.rand(3, 64, 64, generator=generator) for _ in range(3)]
    targets = []
    for count in (3, 2, 0):
        corner = torch.rand(count, 2, generator=generator) * 30
        boxes = torch.cat([corner, corner + 10 + torch.rand(count, 2, generator=generator) * 20], dim=1)
        masks = torch.zeros(count, 64, 64, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        labels = torch.randint(1, classes + 1, (count,), generator=generator)
        targets.append({"boxes": boxes, "labels": labels, "masks": masks})
    return images, targets
