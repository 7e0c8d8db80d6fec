"""Objects drawn on pictures: for ``longtail predict``, and the examples of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import ImageDraw
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image
from torchvision.utils import draw_segmentation_masks

from longtail.palette import BRIGHT, COLOURS
from longtail.rle import mask_api

__all__ = ["beside", "draw_objects"]

_LEAST = 256  # smaller pictures are enlarged, or their labels could not be read


def draw_objects(pixels: Tensor, objects: Sequence[dict[str, Any]], *, most: int | None = None) -> Tensor:
    """Draw boxes, masks, names and scores on a picture.

    Args:
        pixels: uint8 ``[3, H, W]``.
        objects: COCO's results, each with the ``name`` of its category; those without ``score`` are drawn without.
        most: Largest side of the result in pixels.

    Returns:
        uint8 ``[3, H', W']``, a whole number of times as large if the picture is small.
    """
    factor = max(1, -(-_LEAST // min(pixels.shape[1:])))
    pixels = pixels.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    scale = factor * (1.0 if most is None else min(1.0, most / max(pixels.shape[1:])))
    if scale < factor:
        size = [max(1, round(side * scale / factor)) for side in pixels.shape[1:]]
        pixels = F.interpolate(pixels[None].float(), size, mode="area")[0].round().byte()
    colours = [COLOURS[own["category_id"] % len(COLOURS)] for own in objects]
    if objects and "segmentation" in objects[0]:
        masks = torch.stack([torch.from_numpy(mask_api().decode(own["segmentation"])) for own in objects])
        masks = F.interpolate(masks[None].float(), pixels.shape[1:], mode="nearest")[0].bool()
        pixels = draw_segmentation_masks(pixels, masks, alpha=0.45, colors=colours)
    image = to_pil_image(pixels)
    draw = ImageDraw.Draw(image)
    for own, colour in zip(objects, colours, strict=True):
        x, y, width, height = (scale * value for value in own["bbox"])
        draw.rectangle((x, y, x + width, y + height), outline=colour, width=2)
    for own, colour in reversed(list(zip(objects, colours, strict=True))):  # on top of all boxes, the best last
        label = f"{own['name']} {own['score']:.2f}" if "score" in own else own["name"]
        left, _, right, bottom = draw.textbbox((0, 0), label)
        x = max(0.0, min(scale * own["bbox"][0], image.width - right - 4))
        y = max(0.0, scale * own["bbox"][1] - bottom - 3)  # above the box where there is room
        draw.rectangle((x, y, x + right - left + 4, y + bottom + 2), fill=colour)
        draw.text((x + 2, y), label, fill="black" if colour in BRIGHT else "white")
    return pil_to_tensor(image)


def beside(rows: Sequence[Sequence[Tensor]], *, gap: int = 8) -> Tensor:
    """Pictures ``[3, H, W]`` in a grid on white, each row and column as large as it must be."""
    heights = [max(picture.shape[1] for picture in row) for row in rows]
    widths = [max(picture.shape[2] for picture in column) for column in zip(*rows, strict=True)]
    lines = []
    for row, height in zip(rows, heights, strict=True):
        cells = [
            F.pad(picture, (0, width - picture.shape[2] + gap, 0, height - picture.shape[1] + gap), value=255)
            for picture, width in zip(row, widths, strict=True)
        ]
        lines.append(torch.cat(cells, dim=2))
    return torch.cat(lines, dim=1)[:, :-gap, :-gap]
