"""Whatever an annotation file holds, it is read, or refused with one line: nothing else, and nothing large."""

from __future__ import annotations

import copy
import json
import random
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from longtail import LongtailError
from longtail.data import inspect_boxes, load_boxes

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 1.0, 1.5, 1e8, 1e9, -1e9, 1e308, 10**400, 2**31, 2**63),
    *(float("nan"), float("inf"), "", "a", "1", "\ud800", "é", "../1.png", "/", "\\", "\0", "x" * 5000),
    *([], [[]], [None], [1, 2], [1] * 7, [[1, 2, 3, 4, 5, 6]], [[1e9] * 6], [[0, 0, 1e9, 0, 5, 5]], {}, {"a": 1}),
    *({"size": [10, 12], "counts": "0"}, {"size": [1e8, 1e8], "counts": [1e16]}),
)
MUTATIONS = 300


def content(first: int) -> dict[str, Any]:
    ids = range(first, first + 4)
    square, runs = [[2, 2, 6, 2, 6, 6, 2, 6]], {"size": [10, 12], "counts": [22, 4, 6, 4, 6, 4, 6, 4, 64]}
    objects = [(ids[0], 3, square), (ids[0], 3, runs), (ids[1], 5, runs), (ids[2], 9, square), (ids[3], 3, square)]
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": 10, "width": 12}
            | {"neg_category_ids": [3], "not_exhaustive_category_ids": []}
            for i in ids
        ],
        "categories": [
            {"id": 9, "name": "eel", "frequency": "r", "image_count": 3},
            {"id": 3, "name": "cat"},
            {"id": 5, "name": "dog"},
        ],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": [2, 2, 4, 4], "segmentation": shape, "iscrowd": 0}
            for n, (i, c, shape) in enumerate(copy.deepcopy(objects), 1)
        ],
    }


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


def mutated(value: Any, draw: random.Random) -> Any:
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        *above, last = draw.choice(list(places(value)))
        holder = value
        for key in above:
            holder = holder[key]
        kind = draw.random()
        if kind < 0.15:
            del holder[last]
        elif kind < 0.25 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        else:
            holder[last] = copy.deepcopy(draw.choice(VALUES))
    return value


def test_a_damaged_file_is_read_or_refused_with_one_line(tmp_path: Path) -> None:
    for split, first in (("train", 1), ("val", 101)):
        (tmp_path / "images" / split).mkdir(parents=True)
        for number in range(first, first + 4):
            Image.new("RGB", (12, 10)).save(tmp_path / "images" / split / f"{number}.png")
        (tmp_path / f"instances_{split}.json").write_text(json.dumps(content(first)))
    file, draw, refused = tmp_path / "instances_train.json", random.Random(0), 0
    load_boxes(f"coco:{tmp_path}", val_fraction=0.3, masks=True, broken="refuse")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(MUTATIONS):
        text = json.dumps(mutated(content(1), draw))
        file.write_text(text[: draw.randrange(len(text))] if draw.random() < 0.05 else text)
        options: dict[str, Any] = {"look": True} if draw.random() < 0.3 else {"masks": draw.random() < 0.7}
        name, broken = draw.choice(("coco", "lvis")), draw.choice(("skip", "refuse"))
        try:
            data = load_boxes(f"{name}:{tmp_path}", val_fraction=0.3, broken=broken, **options)
        except LongtailError:
            refused += 1
            continue
        json.dumps(inspect_boxes(data))
        for part in (data.train, data.val, data.test):
            for row in range(len(part)):
                boxes = part.target(row)["boxes"]
                assert bool((boxes[:, 2:] > boxes[:, :2]).all())
    assert 0.2 * MUTATIONS < refused < 0.9 * MUTATIONS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes
