"""Near copies in a data set of pictures, by the features of a frozen network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from longtail.config import RunConfig
from longtail.data.base import ImageData, Split
from longtail.data.catalogue import find_entry
from longtail.data.copies import NearCopies
from longtail.errors import LongtailError
from longtail.features.copies import near_copies
from longtail.features.frozen import FrozenNetwork, frozen_network
from longtail.features.kept import Kept, key_of
from longtail.features.store import digests_of
from longtail.models import preprocess_of
from longtail.tasks.start import settle_start, with_look

__all__ = ["NearByFeatures", "near_of_data"]


class NearByFeatures:
    """Called with the given splits of a data set, tells its near copies, see `longtail.data.copies.Near`.

    Args:
        config: Of a run: data set, network, its weights, bit depth.
        network: The frozen network.
        folder: Where features are kept; None: nowhere.
        note: Told what could not be kept.

    Attributes:
        computed: Rows of features that were computed and not found.
    """

    def __init__(
        self, config: RunConfig, network: FrozenNetwork, folder: Path | None, note: Callable[[str], None]
    ) -> None:
        self.config, self.network, self.folder, self.note = config, network, folder, note
        self.computed = 0
        self._last: tuple[NearCopies, Mapping[str, Split], Kept] | None = None

    def __call__(self, splits: Mapping[str, Split]) -> NearCopies:
        data = self._data(splits)
        store = self.network.store(self.folder, data, self.note)
        marks = {name: digests_of(split) for name, split in splits.items()}
        rows = {name: self.network.rows(store, splits[name], own, data) for name, own in marks.items()}
        self.computed += store.computed
        labels = [split.labels for split in splits.values()]
        key = key_of([mark for own in marks.values() for mark in own], *labels)
        kept = Kept(store.folder, key)
        found = near_copies(splits, rows, kept)
        self._last = found, splits, kept
        return found

    def picture(self, data: ImageData) -> Path | None:
        """Of the largest groups that were found, drawn once for all runs; None: there are none, or it is not kept.

        Args:
            data: What the splits became.
        """
        if self._last is None or not self._last[0].groups:
            return None
        from longtail.inspection.groups import draw_near_copies  # loads matplotlib

        found, splits, kept = self._last
        try:
            return kept.file("near-copies.png", lambda path: draw_near_copies(found, splits, data, path))
        except LongtailError as error:  # a picture is not worth a run
            self.note(f"the near copies are not drawn: {error}")
            return None

    def _data(self, splits: Mapping[str, Split]) -> ImageData:
        """The splits as they are brought before the network."""
        train, config = splits["train"], self.config
        entry = find_entry(config.data)
        look = {name: value for name, value in entry.look.items() if name in ("mean", "std", "center_crop")}
        names = [str(c) for c in range(1 + max(max(split.labels.tolist(), default=0) for split in splits.values()))]
        look |= {"bit_depth": config.bit_depth, "frame_cache": config.frame_cache}
        data = ImageData(name=config.data, class_names=names, train=train, val=None, test=train, **look)
        assert config.model
        return with_look(data, preprocess_of(config.model, config.weights))


def near_of_data(
    data: str, *, bit_depth: int | None, folder: Path | None, note: Callable[[str], None]
) -> NearByFeatures:
    """For data that are only looked at: by the network that a run would start from."""
    entry = find_entry(data)
    config, recipe = settle_start(RunConfig(data=data, bit_depth=bit_depth), dict(entry.training), photographs=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = dataclasses.replace(config, model=config.model or recipe["model"])
    assert config.model
    network = frozen_network(config.model, config.weights, recipe["image_size"], device)
    return NearByFeatures(config, network, folder, note)
