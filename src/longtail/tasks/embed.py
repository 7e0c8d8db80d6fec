"""``longtail embed``: the features of a data set's images or clips by a frozen network, as a file for anybody."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from longtail.config import DataOptions, RunConfig
from longtail.data.catalogue import find_entry, known
from longtail.data.load import load_data
from longtail.data.vectors import check_ending, write_features
from longtail.errors import LongtailError
from longtail.features.frozen import frozen_network
from longtail.features.store import digests_of
from longtail.models import preprocess_of
from longtail.tasks.image import ImageTask
from longtail.tasks.near import NearByFeatures
from longtail.tasks.options import check_options
from longtail.tasks.start import settle_start, with_look

__all__ = ["embed"]


def embed(
    config: RunConfig,
    out: Path,
    *,
    features: Literal["last", "levels"] = "levels",
    cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[str]:
    """Write the features of a data set, with its splits, classes, groups and files; yields what to tell.

    Args:
        config: The data set and its options; network, weights and image size, or None for those that photographs start
            from.
        out: The file; its ending says the form.
        features: What the network's classifier read, or the output of every stage as well.
        cache: Folder of features that were computed before; None: nothing is kept.
        device: Where to compute.

    Raises:
        LongtailError: data that are no images, a network or weights that cannot be had, a file that cannot be written.
    """
    check_ending(out)
    entry = find_entry(config.data)
    if entry.task not in ImageTask.reads:
        raise LongtailError(
            f"{config.data} holds no labelled images or clips to embed: known are {', '.join(known(ImageTask.reads))}"
        )
    options = {f.name: getattr(config, f.name) for f in dataclasses.fields(DataOptions)}
    check_options(DataOptions(**options), config.data, entry.task)
    config, recipe = settle_start(
        dataclasses.replace(config, tune="head"), dict(entry.training), clips=entry.task == "video"
    )
    size, model = config.image_size or recipe["image_size"], config.model or recipe["model"]
    config = dataclasses.replace(config, image_size=size, model=model)
    network = frozen_network(model, config.weights, size, str(device))
    told = list(network.notes)
    near = NearByFeatures(config, network, cache, told.append)
    data = load_data(config.data, **config.keywords(ImageTask.options), near=near)
    data = with_look(data, preprocess_of(model, config.weights))
    store = network.store(cache, data, told.append)
    splits = {name: getattr(data, name) for name in ("train", "val", "test", "select")}
    width = network.extract.width if features == "last" else None
    rows = {
        name: network.rows(store, split, digests_of(split), data)[:, :width]
        for name, split in splits.items()
        if split is not None
    }
    write_features(out, data, rows)
    yield from (f"note: {note}" for note in (*told, *data.notes))
    counts = ", ".join(f"{name} {len(x)}" for name, x in rows.items())
    width = rows["train"].shape[1]
    yield f"wrote {out}: {counts} rows of {width} numbers ({features} of {network.name}), {data.num_classes} classes"
    yield f"train on it: longtail train features:{out}"
