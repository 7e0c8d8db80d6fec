"""The same photographs with the same boxes, written as each label tool writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["LAYOUTS", "NAMES", "Photo", "photos", "write_coco_each", "write_coco_one", "write_labelme"]
__all__ += ["write_voc", "write_yolo"]

NAMES = ("bird", "car", "dog")
Photo = tuple[str, str, tuple[int, int], list[tuple[int, tuple[int, int, int, int]]]]
"""Split, name without ending, width and height, and objects: class and left, top, right, bottom in whole pixels."""


def photos(train: int = 6, val: int = 3) -> list[Photo]:
    """One to three objects each, of all classes, but the last of each split shows nothing."""
    made = []
    for split, count in (("train", train), ("val", val)):
        for k in range(count):
            size = (40 + 8 * (k % 3), 32 + 8 * (k % 2))
            objects = [((k + n) % 3, (2 + n, 3 + k % 4, 12 + 7 * n, 20 + n)) for n in range(1 + k % 3)]
            made.append((split, f"{split}{k}", size, objects if k < count - 1 else []))
    return made


def _shoot(folder: Path, photo: Photo) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    shade = 10 + sum(photo[1].encode()) % 200
    Image.new("RGB", photo[2], (shade, 90, 30)).save(folder / f"{photo[1]}.png")
    return f"{photo[1]}.png"


def _corners(box: Sequence[int]) -> list[int]:
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


def _coco(own: Sequence[Photo], *, heading: bool) -> dict[str, Any]:
    categories = [{"id": c, "name": name, "supercategory": "things"} for c, name in enumerate(NAMES, 1)]
    if heading:
        categories.insert(0, {"id": 0, "name": "things", "supercategory": "none"})
    images = [
        {"id": k, "file_name": f"{name}.png", "width": w, "height": h} for k, (_, name, (w, h), _) in enumerate(own)
    ]
    objects = [(k, c, box) for k, photo in enumerate(own) for c, box in photo[3]]
    annotations = [
        {"id": n, "image_id": k, "category_id": c + 1, "iscrowd": 0, "segmentation": [_corners(box)]}
        | {"bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
        for n, (k, c, box) in enumerate(objects)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco_each(root: Path, own: Sequence[Photo]) -> str:
    """A JSON inside of each split's folder, with a category that only names a group."""
    for split, folder in (("train", root / "train"), ("val", root / "valid")):
        mine = [photo for photo in own if photo[0] == split]
        for photo in mine:
            _shoot(folder, photo)
        (folder / "_annotations.coco.json").write_text(json.dumps(_coco(mine, heading=True)))
    return f"coco:{root}"


def write_coco_one(root: Path, own: Sequence[Photo]) -> str:
    """One JSON for all."""
    for photo in own:
        _shoot(root / "images" / "default", photo)
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_default.json").write_text(json.dumps(_coco(own, heading=False)))
    return f"coco:{root}"


def write_yolo(root: Path, own: Sequence[Photo], *, polygons: bool = True) -> str:
    """A ``data.yaml``, and shares; what shows nothing has no label file."""
    for split, name, (w, h), objects in own:
        _shoot(root / "images" / split, (split, name, (w, h), objects))
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        lines = []
        for c, box in objects:
            left, top, right, bottom = box
            centre = [(left + right) / 2 / w, (top + bottom) / 2 / h, (right - left) / w, (bottom - top) / h]
            values = [v / (h if k % 2 else w) for k, v in enumerate(_corners(box))] if polygons else centre
            lines.append(" ".join([str(c), *(f"{v:.10f}" for v in values)]))
        if objects:
            (root / "labels" / split / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\nnc: 3\nnames: {list(NAMES)}\n")
    return f"yolo:{root}"


def write_voc(root: Path, own: Sequence[Photo]) -> str:
    """Pascal VOC's download: pixels from 1, the last one included."""
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for photo in own:
        _, name, (w, h), objects = photo
        file = _shoot(root / "JPEGImages", photo)
        inside = "".join(
            f"<object><name>{NAMES[c]}</name><difficult>0</difficult><bndbox><xmin>{box[0] + 1}</xmin>"
            f"<ymin>{box[1] + 1}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
            for c, box in objects
        )
        size = f"<size><width>{w}</width><height>{h}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{file}</filename>{size}{inside}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(text)
    for split in ("train", "val"):
        names = [photo[1] for photo in own if photo[0] == split]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return f"voc:{root}"


def write_labelme(root: Path, own: Sequence[Photo]) -> str:
    """A JSON for each image, polygons and every second object a rectangle."""
    for photo in own:
        _, name, (w, h), objects = photo
        shapes = []
        for k, (c, box) in enumerate(objects):
            corners = _corners(box)
            points = [corners[i : i + 2] for i in range(0, 8, 2)]
            shape = {"shape_type": "rectangle", "points": points[::2]} if k % 2 else {"points": points}
            shapes.append({"label": NAMES[c], "shape_type": "polygon", "group_id": None, "flags": {}} | shape)
        content = {"version": "5.0", "imagePath": _shoot(root, photo), "imageData": None, "shapes": shapes}
        (root / f"{name}.json").write_text(json.dumps(content | {"imageHeight": h, "imageWidth": w}))
    return f"labelme:{root}"


LAYOUTS: dict[str, Callable[[Path, Sequence[Photo]], str]] = {
    "a JSON in each split": write_coco_each,
    "one JSON": write_coco_one,
    "yolo": write_yolo,
    "voc": write_voc,
    "labelme": write_labelme,
}
