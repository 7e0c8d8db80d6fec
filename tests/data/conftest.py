"""Real images in the layouts in which people have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def photos(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects cut out of real photographs, a folder per class: a natural long tail, many sizes, every seventh grey."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    coco = test_data / "coco"
    content = json.loads((coco / "instances_train.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    files = {image["id"]: image["file_name"] for image in content["images"]}
    for box in content["annotations"]:
        x, y, w, h = (int(value) for value in box["bbox"])
        if min(w, h) < 12:
            continue
        with Image.open(coco / "images" / "train" / files[box["image_id"]]) as image:
            crop = image.crop((x, y, x + w, y + h)).convert("L" if box["id"] % 7 == 0 else "RGB")
        (folder / names[box["category_id"]]).mkdir(exist_ok=True)
        crop.save(folder / names[box["category_id"]] / f"{box['id']}.jpg")
    return folder
