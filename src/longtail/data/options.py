"""Which options mean something to which data set: any other is refused, never passed over in silence."""

from __future__ import annotations

__all__ = ["OPTIONS", "OWN_IMBALANCE"]

_CUTS = frozenset({"data_seed", "val_fraction", "select_fraction"})
_GROUPS = frozenset({"group_by"})
_TAIL = frozenset({"imbalance", "imbalance_kind", "augment"})
_PUBLISHED = _CUTS | _TAIL | {"protocol"}
_VIDEO = _TAIL | {"data_seed", "select_fraction", "frames", "broken", "frame_cache", "bit_depth"}
_FILES = _CUTS | _TAIL | {"bit_depth"}

OPTIONS: dict[str, frozenset[str]] = {
    "clips": _VIDEO | _CUTS | _GROUPS,
    "egtea": _VIDEO,  # its lists tell the difficulty split
    "moving-digits": _TAIL | {"data_seed", "select_fraction", "frames"},
    "folder": _FILES | _GROUPS,
    "lists": _FILES | _GROUPS,
    "imagenet-lt": _FILES,
    "places-lt": _FILES,
    "inat18": _FILES,
    "digits": _PUBLISHED,
    **dict.fromkeys(("mnist-4v9", "mnist", "fashion-mnist", "cifar10", "cifar100"), _PUBLISHED | {"download"}),
    "coco": frozenset({"data_seed", "val_fraction", "broken", "bit_depth"}),
    "lvis": frozenset({"data_seed", "val_fraction", "broken", "bit_depth"}),
    "shapes-lt": frozenset({"data_seed"}),
}
"""Names of the fields of ``DataOptions`` by the name of the data set."""
OWN_IMBALANCE = frozenset(name for name, own in OPTIONS.items() if "protocol" in own) | {"moving-digits"}
"""Data sets that are thinned without being asked: ``imbalance_kind`` alone means something to them."""
