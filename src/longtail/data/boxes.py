"""Images with boxes and masks: what every reader of detection data returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from longtail.metrics.detection import Rules, frequency_group
from longtail.names import same_classes
from longtail.rle import mask_api

__all__ = ["BoxData", "BoxSplit", "inspect_boxes", "with_categories"]

_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")
"""Of an image in LVIS: categories by their ids."""


@dataclasses.dataclass(frozen=True)
class BoxSplit:
    """Images with any number of objects each, none included.

    Args:
        images: One entry an image: ``id``, ``height``, ``width`` in pixels, for LVIS ``neg_category_ids`` and
            ``not_exhaustive_category_ids``, for files ``path``.
        objects: The annotations of each image, cleaned: ``id``, ``category_id``, ``bbox`` ``[x, y, width, height]``
            inside the image, ``iscrowd``, and where masks are wanted ``segmentation`` as compressed run lengths.
        categories: The categories, by label: ``id``, ``name``, and ``frequency`` ``r``, ``c`` or ``f``.
        read: From the row of an image to its pixels, uint8 ``[3, height, width]``.
    """

    images: Sequence[Mapping[str, Any]]
    objects: Sequence[Sequence[Mapping[str, Any]]]
    categories: Sequence[Mapping[str, Any]]
    read: Callable[[int], Tensor]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Image uint8 ``[3, H, W]`` and its `target`."""
        return self.read(row), self.target(row)

    def target(self, row: int) -> dict[str, Tensor]:
        """What torchvision's detectors train on; crowd regions are left out.

        Returns:
            ``boxes`` float32 ``[n, 4]`` as x1, y1, x2, y2; ``labels`` int64 ``[n]`` from 1; ``image_id``; where there
            are masks, ``masks`` uint8 ``[n, H, W]``.
        """
        image, own = self.images[row], [entry for entry in self.objects[row] if not entry["iscrowd"]]
        label = {category["id"]: c for c, category in enumerate(self.categories, 1)}
        boxes = torch.tensor([entry["bbox"] for entry in own], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        target = {
            "boxes": boxes,
            "labels": torch.tensor([label[entry["category_id"]] for entry in own], dtype=torch.int64),
            "image_id": torch.tensor(row),
        }
        if all("segmentation" in entry for entry in own):
            masks = torch.zeros(len(own), image["height"], image["width"], dtype=torch.uint8)
            for mask, entry in zip(masks, own, strict=True):
                mask.copy_(torch.from_numpy(mask_api().decode(entry["segmentation"])))
            target["masks"] = masks
        return target

    def labels_per_image(self) -> list[list[int]]:
        """Class indices from 0 of each image's objects, crowds left out: what repeat-factor sampling asks for."""
        label = {category["id"]: c for c, category in enumerate(self.categories)}
        return [[label[e["category_id"]] for e in own if not e["iscrowd"]] for own in self.objects]

    def image_counts(self) -> list[int]:
        """Images that hold each class, ``[C]``."""
        return self._counts(set)

    def instance_counts(self) -> list[int]:
        """Instances of each class, ``[C]``, crowds left out."""
        return self._counts(list)

    def _counts(self, kind: Callable[[list[int]], Any]) -> list[int]:
        found = [c for own in self.labels_per_image() for c in kind(own)]
        return torch.bincount(torch.tensor(found, dtype=torch.int64), minlength=len(self.categories)).tolist()

    def subset(self, rows: Sequence[int]) -> BoxSplit:
        """The images ``rows``, in that order."""
        kept = list(rows)
        return BoxSplit(
            [self.images[row] for row in kept],
            [self.objects[row] for row in kept],
            self.categories,
            _Rows(self.read, kept),
        )

    def truth(self) -> dict[str, Any]:
        """The annotations as `longtail.metrics.detection_ap` reads them."""
        objects = (
            entry | {"image_id": image["id"]}
            for image, own in zip(self.images, map(list, self.objects), strict=True)
            for entry in map(dict, own)
        )
        annotations = [entry | {"id": number} for number, entry in enumerate(objects, 1)]
        return {"images": list(self.images), "annotations": annotations, "categories": list(self.categories)}


@dataclasses.dataclass(frozen=True)
class _Rows:
    read: Callable[[int], Tensor]
    rows: Sequence[int]

    def __call__(self, row: int) -> Tensor:
        return self.read(self.rows[row])


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxData:
    """A detection data set, split.

    Args:
        name: As the user wrote it, e.g. ``coco:DIR``.
        train: What is trained on.
        val: The difficulty split, held out of training.
        test: Read once, at the end.
        select: Separate split for the choice of ``model_best``; None: ``val`` decides.
        rules: By which average precision is judged, ``lvis`` or ``coco``.
        flip: Whether a horizontal flip keeps the label (not for digits).
        notes: What the user should know, one line each.
        missing: What must be on disk before anything can be trained, one line each.
    """

    name: str
    train: BoxSplit
    val: BoxSplit
    test: BoxSplit
    select: BoxSplit | None = None
    rules: Rules = "coco"
    flip: bool = True
    notes: Sequence[str] = ()
    missing: Sequence[str] = ()

    @property
    def class_names(self) -> list[str]:
        return [category["name"] for category in self.train.categories]

    @property
    def num_classes(self) -> int:
        """C, without the background."""
        return len(self.train.categories)


def inspect_boxes(data: BoxData, *, limit: int = 5) -> dict[str, Any]:
    """Counts and frequency groups, as plain JSON values.

    Args:
        data: The data set.
        limit: Length of the lists of largest and smallest classes.

    Returns:
        ``name``, ``num_classes``, ``class_names``, ``rules``; ``splits``: for each ``images``, ``empty`` (images that
        show nothing), ``image_counts``, ``instance_counts`` ``[C]``, ``masks`` (objects with one, as far as they were
        read); ``imbalance``: of the training images per class;
        ``groups``: for ``r``, ``c``, ``f`` the number of ``classes`` and their training ``images`` and ``instances``;
        ``largest`` and ``smallest``: ``[name, images]`` pairs; ``notes``.
    """
    splits = {}
    for name in ("train", "val", "test"):
        split: BoxSplit = getattr(data, name)
        splits[name] = {
            "images": len(split),
            "empty": sum(not own for own in split.objects),
            "image_counts": split.image_counts(),
            "instance_counts": split.instance_counts(),
            "masks": sum("segmentation" in entry for own in split.objects for entry in own if not entry["iscrowd"]),
        }
    images, instances = splits["train"]["image_counts"], splits["train"]["instance_counts"]
    order = sorted(range(data.num_classes), key=lambda c: -images[c])
    ranked = [[data.class_names[c], images[c]] for c in order]
    own = [frequency_group(category) for category in data.train.categories]
    members = {group: [c for c in range(data.num_classes) if own[c] == group] for group in "rcf"}
    return {
        "name": data.name,
        "num_classes": data.num_classes,
        "class_names": data.class_names,
        "rules": data.rules,
        "splits": splits,
        "imbalance": max(images) / max(min((n for n in images if n), default=1), 1),
        "groups": {
            group: {
                "classes": len(rows),
                "images": sum(images[c] for c in rows),
                "instances": sum(instances[c] for c in rows),
            }
            for group, rows in members.items()
        },
        "largest": ranked[:limit],
        "smallest": ranked[::-1][:limit],
        "notes": list(data.notes),
    }


def with_categories(part: BoxSplit, name: str, info: Mapping[str, Any]) -> BoxSplit:
    """A split with the categories of a run, known by their names.

    Args:
        part: The split.
        name: Of its data set.
        info: The run's ``data.json``.

    Raises:
        LongtailError: other categories.
    """
    ids, names = info["category_ids"], info["class_names"]
    places = same_classes([c["name"] for c in part.categories], names, where=name, kind="category")
    identity = {c["id"]: ids[place] for c, place in zip(part.categories, places, strict=True)}
    objects = [
        [entry | {"category_id": identity[entry["category_id"]]} for entry in map(dict, o)] for o in part.objects
    ]
    images = [
        image | {key: [identity[c] for c in image[key] if c in identity] for key in _LISTS if key in image}
        for image in map(dict, part.images)
    ]
    categories = [{"id": i, "name": n, "frequency": f} for i, n, f in zip(ids, names, info["frequency"], strict=True)]
    return BoxSplit(images, objects, categories, part.read)
