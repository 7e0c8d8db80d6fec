"""What a data set holds, in numbers: for ``longtail inspect`` and for the run folder."""

from __future__ import annotations

from typing import Any

from longtail.data.base import ImageData
from longtail.shots import FEW, MANY, classes_by_shot

__all__ = ["inspect_data"]


def inspect_data(data: ImageData, *, many: int = MANY, few: int = FEW, limit: int = 5) -> dict[str, Any]:
    """Class counts, imbalance and shot groups.

    Args:
        data: The data set.
        many: A class with more training images is many-shot.
        few: A class with fewer training images is few-shot; the rest are medium-shot.
        limit: Length of the lists of largest and smallest classes.

    Returns:
        Plain JSON values: ``name``, ``num_classes``, ``class_names``, ``image_size`` (None for files), ``channels``;
        ``splits``: for each split that exists ``images``, ``class_counts`` and ``absent`` (names of classes without an
        image); ``imbalance`` of the training split; ``shots``: for ``many``, ``medium``, ``few`` the number of
        ``classes`` and training ``images``; ``largest`` and ``smallest``: ``[name, count]`` pairs; ``notes``.
    """
    counts = data.train.class_counts(data.num_classes)
    order = sorted(range(data.num_classes), key=lambda c: -counts[c])
    ranked = [[data.class_names[c], counts[c]] for c in order]
    groups = classes_by_shot(counts, many=many, few=few)
    splits = {}
    for name, split in (("train", data.train), ("val", data.val), ("select", data.select), ("test", data.test)):
        if split is not None:
            own = split.class_counts(data.num_classes)
            absent = [data.class_names[c] for c, n in enumerate(own) if n == 0]
            splits[name] = {"images": len(split), "class_counts": own, "absent": absent}
    return {
        "name": data.name,
        "num_classes": data.num_classes,
        "class_names": list(data.class_names),
        "image_size": data.image_size,
        "channels": data.channels,
        "splits": splits,
        "imbalance": max(counts) / max(min(counts), 1),
        "shots": {group: {"classes": len(own), "images": sum(counts[c] for c in own)} for group, own in groups.items()},
        "largest": ranked[:limit],
        "smallest": ranked[::-1][:limit],
        "notes": list(data.notes),
    }
