"""The main job on real photographs: objects of many sizes, some grey, in classes of a few to 40 images."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from PIL import Image

from longtail.cli import main

CLASSES = 12
OPTIONS = "--seeds 1 --epochs 2 --image-size 24 --model lenet5 --lr 0.01 --device cpu --methods ce cdb-w cdb-s".split()


@pytest.fixture(scope="module")
def photos(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects cut out of photographs, CLASS/FILE, as the annotations of a detection data set give them."""
    folder, coco = tmp_path_factory.mktemp("photos"), test_data / "coco"
    content = json.loads((coco / "instances_train.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    files = {image["id"]: image["file_name"] for image in content["images"]}
    boxes = defaultdict(list)
    for box in content["annotations"]:
        if min(box["bbox"][2:]) >= 16:
            boxes[names[box["category_id"]]].append(box)
    common = sorted(boxes, key=lambda name: -len(boxes[name]))
    chosen = [*common[: CLASSES // 2], *[n for n in common if 4 <= len(boxes[n]) <= 6][: CLASSES // 2 - 1]]
    chosen.append(next(n for n in common if len(boxes[n]) == 2))  # too few images to be split
    for name in chosen:
        (folder / name).mkdir()
        for i, box in enumerate(boxes[name][:40]):
            x, y, w, h = (int(value) for value in box["bbox"])
            with Image.open(coco / "images" / "train" / files[box["image_id"]]) as image:
                crop = image.crop((x, y, x + w, y + h)).convert("L" if i % 5 == 0 else "RGB")
            crop.save(folder / name / f"{box['id']}.{'png' if i % 3 == 0 else 'jpg'}")
    return folder


@pytest.fixture(scope="module")
def split_photos(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as train/val/test/CLASS/FILE; the smallest class is in train only."""
    folder, draw = tmp_path_factory.mktemp("split"), random.Random(0)
    for name in sorted(os.listdir(photos)):
        files = sorted((photos / name).iterdir())
        draw.shuffle(files)
        for i, file in enumerate(files):
            split = "train" if len(files) < 4 or i % 4 < 2 else ("val", "test")[i % 2]
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / split / name)
    return folder


@pytest.mark.parametrize("form", ["unsplit", "split"])
def test_compare_then_label_new_photographs(form, request, tmp_path, capsys):
    folder = request.getfixturevalue("photos" if form == "unsplit" else "split_photos")
    out = tmp_path / "comparison"
    assert main(["compare", f"folder:{folder}", *OPTIONS, "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    for method in ("ce", "cdb-w", "cdb-s"):
        assert method in told.out
        metrics = json.loads((out / method / "seed-0" / "metrics.json").read_text())["test"]
        assert len(metrics["per_class"]) == CLASSES
        assert None in metrics["per_class"]  # the class that has no test image
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "cdb-w" in page and 'src="http' not in page and "person" in page
    with open(out / "results.csv", newline="") as f:
        assert len(list(csv.DictReader(f))) >= 3

    data = json.loads((out / "ce" / "seed-0" / "data.json").read_text())
    counts = data["class_counts"]
    assert data["class_names"] == sorted(p.name for p in (folder / "train" if form == "split" else folder).iterdir())
    assert sum(map(sum, counts.values())) == sum(1 for p in folder.rglob("*.*") if p.is_file())
    small = next(c for c, n in enumerate(counts["test"]) if n == 0)
    assert counts["train"][small] == 2 and counts["val"][small] == 0
    assert any(data["class_names"][small] in note for note in data["notes"])

    new = tmp_path / "new"
    new.mkdir()
    Image.new("RGB", (300, 40), "red").save(new / "wide.jpg")
    Image.new("L", (7, 9), 128).save(new / "tiny grey.png")
    Image.new("RGBA", (60, 60), (0, 90, 0, 20)).save(new / "übergröße.webp")
    capsys.readouterr()
    assert main(["predict", str(out / "cdb-s" / "seed-0"), str(new), "--top", "2"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [Path(line[0]).name for line in lines] == ["tiny grey.png", "wide.jpg", "übergröße.webp"]
    assert all({line[1], line[3]} <= set(data["class_names"]) for line in lines)
    assert main(["evaluate", str(out / "cdb-s" / "seed-0")]) == 0
    assert main(["inspect", f"folder:{folder}", "--verify", "--out", str(tmp_path / "look.png")]) == 0
