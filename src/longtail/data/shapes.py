"""``shapes-lt``: a long-tailed detection set that is drawn, so that everything can be tried without a download."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.data.boxes import BoxData, BoxSplit
from longtail.data.counts import long_tail_counts
from longtail.data.loader import draw_key
from longtail.errors import LongtailError
from longtail.metrics.detection import frequency_group
from longtail.rle import mask_api

__all__ = ["CATEGORIES", "read_shapes", "shapes_lt"]

_POLYGONS = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6, "octagon": 8}
_STARS = {"star-4": 4, "star-5": 5, "star-6": 6, "star-8": 8}
_OTHERS = (
    "circle",
    "ring",
    "square-frame",
    "triangle-frame",
    "half-disc",
    "crescent",
    "ellipse",
    "bar",
    "cross",
    "t-piece",
    "corner",
    "arrow",
    "heart",
    "flower",
)
_SHAPES = (*_POLYGONS, *_STARS, *_OTHERS)
CATEGORIES = tuple(
    name  # digits and shapes by turns, so that head and tail hold both
    for k in range(len(_SHAPES))
    for name in ([_SHAPES[k], f"digit-{k // 2}"] if k % 2 == 0 and k // 2 < 10 else [_SHAPES[k]])
)
"""The 33 categories, from the most frequent to the rarest."""
_GRID = 64  # pixels of a shape before it is scaled to its place


def shapes_lt(
    *,
    seed: int = 0,
    masks: bool = True,
    size: int = 128,
    largest: int = 300,
    imbalance: float = 60.0,
    held_out: int = 5,
    tested: int = 10,
) -> BoxData:
    """Digits (scikit-learn's) and geometric shapes on noise, 33 categories from ``largest`` images down to a handful.

    Everything is a function of the arguments. An image holds up to four objects that do not touch, and one in fifty is
    empty; it is drawn when it is first asked for and then kept. Training digits and those of the other splits are
    different ones. The number of training images of a category follows `long_tail_counts`; the difficulty split and the
    test split hold all categories equally often.

    Args:
        seed: Of everything.
        masks: Whether targets hold masks.
        size: Side of the square images in pixels.
        largest: Training images of the most frequent category.
        imbalance: Largest over smallest number of training images.
        held_out: Images of each category in the difficulty split.
        tested: Images of each category in the test split.
    """
    if size < 48 or min(largest, held_out, tested) < 1:
        raise LongtailError("shapes-lt takes images of 48 pixels or more, and an image of each category or more")
    law = long_tail_counts(largest, len(CATEGORIES), imbalance=imbalance)
    plans = {"train": [max(1, n) for n in law], "val": [held_out] * len(law), "test": [tested] * len(law)}
    categories: list[dict[str, Any]] = [
        {"id": c, "name": name, "frequency": frequency_group({"image_count": n})}
        for c, (name, n) in enumerate(zip(CATEGORIES, plans["train"], strict=True), 1)
    ]
    parts = {}
    for number, (split, counts) in enumerate(plans.items()):
        painter = _Painter(
            counts, size=size, seed=draw_key(seed, number), digits="train" if split == "train" else "rest"
        )
        images = [{"id": row, "height": size, "width": size} for row in range(1, len(painter.scenes) + 1)]
        objects = [painter.objects(row, masks) for row in range(len(images))]
        parts[split] = BoxSplit(images, objects, categories, painter)
    return BoxData(name="shapes-lt", flip=False, **parts)


def read_shapes(path: None, *, data_seed: int, masks: bool, look: bool) -> BoxData:
    """`shapes_lt` as the catalogue's readers are called."""
    return shapes_lt(seed=data_seed, masks=masks or look)


class _Painter:
    """Plans all scenes of a split, and paints one when asked for."""

    def __init__(self, counts: Sequence[int], *, size: int, seed: int, digits: str) -> None:
        self.size, self.seed, self.digits = size, seed, digits
        draw = torch.Generator().manual_seed(seed)
        left = torch.tensor(counts)
        self.scenes: list[list[tuple[int, int, int, int]]] = []  # category, x, y and key of each object
        self.sizes: list[list[int]] = []
        while bool(left.any()):
            wanted = (
                0 if int(torch.randint(50, (), generator=draw)) == 0 else 1 + int(torch.randint(4, (), generator=draw))
            )
            wanted = min(wanted, int((left > 0).sum()))
            chosen = torch.multinomial(left.double(), wanted, generator=draw).tolist() if wanted else []
            scene, sides = self._place(chosen, draw)
            for category, *_ in scene:
                left[category] -= 1
            self.scenes.append(scene)
            self.sizes.append(sides)
        self.cache: dict[int, Tensor] = {}

    def _place(self, chosen: Sequence[int], draw: torch.Generator) -> tuple[list[tuple[int, int, int, int]], list[int]]:
        """Places that do not overlap; what finds no place in 20 tries waits for another image."""
        scene: list[tuple[int, int, int, int]] = []
        sides: list[int] = []
        for category in chosen:
            for _ in range(20):
                side = int(torch.randint(self.size // 6, self.size * 2 // 5, (), generator=draw))
                x, y = torch.randint(self.size - side, (2,), generator=draw).tolist()
                free = all(
                    x + side <= x2 or x2 + s2 <= x or y + side <= y2 or y2 + s2 <= y
                    for (_, x2, y2, _), s2 in zip(scene, sides, strict=True)
                )
                if free:
                    scene.append((category, x, y, int(torch.randint(2**31, (), generator=draw))))
                    sides.append(side)
                    break
        return scene, sides

    def _stamp(self, row: int, place: int) -> Tensor:
        """Where the object is in its square, bool ``[side, side]``."""
        (category, _, _, key), side = self.scenes[row][place], self.sizes[row][place]
        draw = torch.Generator().manual_seed(key)
        name, turn = CATEGORIES[category], float(torch.rand((), generator=draw) - 0.5) * 0.7
        if name.startswith("digit-"):
            pictures = _digits(int(name[6:]), self.digits)
            picture = pictures[int(torch.randint(len(pictures), (), generator=draw))]
        else:
            picture = _shape(name)
        return _turned(picture, turn, side) > 0.5

    def objects(self, row: int, masks: bool) -> list[dict[str, Any]]:
        """The annotations of one image."""
        entries = []
        for place, (category, x, y, _) in enumerate(self.scenes[row]):
            whole = torch.zeros(self.size, self.size, dtype=torch.uint8)
            stamp = self._stamp(row, place)
            whole[y : y + len(stamp), x : x + len(stamp)] = stamp
            ys, xs = whole.nonzero(as_tuple=True)
            left, top = int(xs.min()), int(ys.min())
            box = [left, top, int(xs.max()) + 1 - left, int(ys.max()) + 1 - top]
            entry = {"id": place, "category_id": category + 1, "iscrowd": 0, "bbox": [float(v) for v in box]}
            if masks:
                entry["segmentation"] = mask_api().encode(np.asfortranarray(whole.numpy()))
            entries.append(entry)
        return entries

    def __call__(self, row: int) -> Tensor:
        if row not in self.cache:
            self.cache[row] = self._paint(row)
        return self.cache[row]

    def _paint(self, row: int) -> Tensor:
        draw = torch.Generator().manual_seed(draw_key(self.seed, row))
        coarse = torch.rand(1, 3, 5, 5, generator=draw) * 0.7 + 0.15
        image = F.interpolate(coarse, (self.size, self.size), mode="bicubic", align_corners=True)[0]
        image += 0.06 * torch.randn(image.shape, generator=draw)
        for place, (_, x, y, _) in enumerate(self.scenes[row]):
            stamp = self._stamp(row, place)
            window = image[:, y : y + len(stamp), x : x + len(stamp)]
            under = window[:, stamp].mean(1)
            color = torch.rand(3, generator=draw)
            color = torch.where((color - under).abs() < 0.25, (under + 0.45) % 1.0, color)  # seen against the ground
            paint = color.view(3, 1, 1) + 0.05 * torch.randn(window.shape, generator=draw)
            window.copy_(torch.where(stamp, paint, window))
        return (image.clamp(0, 1) * 255).round().byte()


def _turned(picture: Tensor, angle: float, side: int) -> Tensor:
    """``picture`` ``[h, w]`` turned about its centre, at ``side`` pixels, uncut."""
    cos, sin = math.cos(angle) * 1.15, math.sin(angle) * 1.15
    matrix = torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]])
    grid = F.affine_grid(matrix, [1, 1, side, side], align_corners=False)
    return F.grid_sample(picture[None, None], grid, align_corners=False)[0, 0]


@functools.cache
def _digits(digit: int, part: str) -> Tensor:
    """Pictures ``[n, 8, 8]`` in [0, 1] of one digit; two of three train, the others test."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    own = torch.from_numpy(images[labels == digit]).float().reshape(-1, 8, 8) / 16
    train = torch.arange(len(own)) % 3 < 2
    return F.pad(own[train if part == "train" else ~train] * 1.4, (1, 1, 1, 1))


@functools.cache
def _shape(name: str) -> Tensor:
    """The shape in [0, 1] on a square grid, within the unit circle."""
    axis = (torch.arange(_GRID) + 0.5) / _GRID * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    r, a = (x**2 + y**2).sqrt(), torch.atan2(x, -y)

    def polygon(n: int, radius: float = 0.95) -> Tensor:
        sector = math.tau / n
        return r * torch.cos((a + math.pi / n) % sector - sector / 2) <= radius * math.cos(math.pi / n)

    def star(n: int) -> Tensor:
        phase = ((a * n / math.tau) % 1 - 0.5).abs() * 2  # 1 at a point, 0 between two
        return r <= 0.42 + 0.53 * phase

    if name in _POLYGONS:
        shape = polygon(_POLYGONS[name])
    elif name in _STARS:
        shape = star(_STARS[name])
    else:
        disc = r <= 0.95
        shape = {
            "circle": disc,
            "ring": disc & (r >= 0.6),
            "square-frame": polygon(4) & ~polygon(4, 0.6),
            "triangle-frame": polygon(3) & ~polygon(3, 0.5),
            "half-disc": disc & (y >= 0),
            "crescent": disc & ((x - 0.45) ** 2 + y**2 >= 0.55),
            "ellipse": (x / 0.95) ** 2 + (y / 0.5) ** 2 <= 1,
            "bar": (x.abs() <= 0.9) & (y.abs() <= 0.22),
            "cross": ((x.abs() <= 0.27) | (y.abs() <= 0.27)) & (r <= 0.95),
            "t-piece": ((x.abs() <= 0.25) & (y.abs() <= 0.85)) | ((x.abs() <= 0.75) & ((y + 0.62).abs() <= 0.23)),
            "corner": ((x + 0.4).abs() <= 0.25) & (y.abs() <= 0.7)
            | ((x - 0.05).abs() <= 0.7) & ((y - 0.47).abs() <= 0.23),
            "arrow": ((x.abs() <= 0.22) & (y >= -0.1) & (y <= 0.9)) | ((y <= 0.05) & (x.abs() <= (y + 0.9) * 0.75)),
            "heart": (1.15 * x) ** 2 + (0.1 - 1.45 * y - 0.65 * (1.15 * x).abs().sqrt()) ** 2 <= 0.8,
            "flower": r <= 0.62 + 0.33 * torch.cos(5 * a),
        }[name]
    return shape.float()
