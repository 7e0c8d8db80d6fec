"""A detection data set in miniature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

__all__ = ["write_pictures"]


def write_pictures(folder: Path) -> Path:
    """Squares and bars of two colours, one or two a picture; the val part is a copy of the train part."""
    draw = torch.Generator().manual_seed(0)
    annotations: list[dict[str, Any]] = []
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
    for number in range(1, 9):
        picture = torch.full((32, 40, 3), 40, dtype=torch.uint8)
        for place in range(1 + number % 2):
            x, y = (int(torch.randint(0, n, (), generator=draw)) for n in (9, 16))
            x, category = x + 20 * place, 1 + int(number > 5 and place == 0)
            w, h = (10, 10) if category == 1 else (5, 14)
            picture[y : y + h, x : x + w] = torch.tensor([200, 60 * category, 20], dtype=torch.uint8)
            corners = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": category, "bbox": [x, y, w, h]}
            annotations.append(entry | {"segmentation": corners})
        for split in ("train", "val"):
            Image.fromarray(picture.numpy()).save(folder / "images" / split / f"{number}.png")
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 32, "width": 40} for n in range(1, 9)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "bar"}],
    }
    for split in ("train", "val"):
        (folder / f"instances_{split}.json").write_text(json.dumps(content))
    return folder
