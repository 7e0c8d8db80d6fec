"""Draw the pictures of the gallery and of the home page into ``docs/_static``, from data sets that need no download.

``photographs.png``: what ``longtail inspect`` draws of the digits. ``boxes.png``: images of ``shapes-lt`` with their
objects. ``clips.png``: every other frame of clips of ``moving-digits``. ``tail.png``: samples and weights of the
classes in the example of the README, after its training.

Usage: ``python docs/draw_gallery.py`` after the look of one of them has changed.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torchvision.transforms.functional import to_pil_image

from longtail import long_tail_counts
from longtail.cli import main
from longtail.data import load_boxes, load_data
from longtail.palette import COLOURS
from longtail.prediction.drawing import beside, draw_objects

ROOT = Path(__file__).resolve().parent.parent
SIZE = (640, 400)


def photographs() -> Image.Image:
    with tempfile.TemporaryDirectory() as folder:
        main(["inspect", "digits", "--imbalance", "50", "--out", f"{folder}/picture.png"])
        return Image.open(f"{folder}/picture.png").convert("RGB")


def boxes() -> Image.Image:
    split = load_boxes("shapes-lt").train
    names = {category["id"]: category["name"] for category in split.categories}
    rows = [row for row in range(200) if len(split.objects[row]) >= 4][:6]
    pictures = [
        draw_objects(split.read(row), [{**own, "name": names[own["category_id"]]} for own in split.objects[row]])
        for row in rows
    ]
    return to_pil_image(beside([pictures[:3], pictures[3:]]))


def clips() -> Image.Image:
    data = load_data("moving-digits")
    rows = [int((data.train.labels == c).nonzero()[0]) for c in range(0, 8, 2)]
    frames = [[frame.repeat(3, 1, 1) for frame in data.train.read(row)[::2]] for row in rows]
    return to_pil_image(beside(frames, gap=2)).resize((640, 400), Image.Resampling.NEAREST)


def tail() -> Figure:
    """Samples per class, and what each weighs: the README's first example."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0], names)
    counts, difficulty = long_tail_counts(500, 10, imbalance=100), names["difficulty"]
    figure = Figure(figsize=(6.4, 3.6), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    classes = range(10)
    upper.bar(classes, counts, color=COLOURS[0])
    upper.set(ylabel="training samples")
    lower.bar(classes, difficulty.weight.tolist(), color=COLOURS[3])
    lower.axhline(1, color="grey", linewidth=1)
    lower.set(ylabel="weight", xlabel="class", xticks=list(classes))
    return figure


if __name__ == "__main__":
    torch.manual_seed(0)
    folder = ROOT / "docs" / "_static"
    for name, draw in {"photographs": photographs, "boxes": boxes, "clips": clips}.items():
        picture = draw()
        picture.thumbnail(SIZE)
        picture.quantize(64).save(folder / f"{name}.png", optimize=True)
    tail().savefig(folder / "tail.png", metadata={"Software": None})
