"""A data set of one's own: stripes in one of four directions, drawn when a row is asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from longtail.data.base import Split
from longtail.data.catalogue import Entry

WAYS = ["across", "down", "falling", "rising"]


def draw(key: str) -> Tensor:
    """The picture of ``split/class/number``, uint8 ``[1, 12, 12]``."""
    split, way, number = key.split("/")
    draws = torch.Generator().manual_seed(hash((split == "test", int(way), int(number))) % 2**31)
    y, x = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    place = [y, x, x - y, x + y][int(way)] + int(torch.randint(4, (), generator=draws))
    noise = torch.randint(60, (1, 12, 12), generator=draws)
    return ((place % 4 < 2) * 180 + noise).byte()


def read_stripes(path: None) -> tuple[dict[str, Split], list[str], list[str]]:
    splits = {}
    for split, counts in {"train": (60, 40, 25, 15), "test": (10,) * 4}.items():
        keys = [f"{split}/{way}/{number}" for way, n in enumerate(counts) for number in range(n)]
        splits[split] = Split(keys, torch.arange(4).repeat_interleave(torch.tensor(counts)), source=draw)
    return splits, WAYS, ["drawn"]


STRIPES = Entry(
    name="stripes",
    about="stripes in one of four directions",
    reader=read_stripes,
    look={"mean": (0.45,), "std": (0.35,), "crop_scale": None},
    training={"model": "lenet5", "image_size": 16, "epochs": 12, "batch_size": 20, "lr": 0.05}
    | {"weight_decay": 5e-4, "schedule": "cosine", "warmup_epochs": 0},
)
