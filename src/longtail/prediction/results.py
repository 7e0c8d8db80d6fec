"""What a detector finds, in COCO's format of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.rle import mask_api

__all__ = ["coco_results"]


def coco_results(output: dict[str, Tensor], image_id: Any, category_ids: Sequence[Any]) -> list[dict[str, Any]]:
    """What a detector found in one image, in COCO's format of results, the best first."""
    boxes = torch.cat([output["boxes"][:, :2], output["boxes"][:, 2:] - output["boxes"][:, :2]], dim=1)
    masks = (output["masks"][:, 0] > 0.5).byte().cpu().numpy() if "masks" in output else [None] * len(boxes)
    results = []
    for box, score, label, mask in zip(
        boxes.tolist(), output["scores"].tolist(), output["labels"].tolist(), masks, strict=True
    ):
        result = {"image_id": image_id, "category_id": category_ids[label - 1], "bbox": box, "score": score}
        if mask is not None:
            result["segmentation"] = mask_api().encode(np.asfortranarray(mask))
        results.append(result)
    return results
