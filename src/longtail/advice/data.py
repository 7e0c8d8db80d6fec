"""Checks of a data set. They look at counts and names, so that a run folder can be judged as well as the files."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from longtail.advice.base import check, seen_in

__all__ = ["DataFacts"]

_COARSE = 10
"""Held-out samples of a class below which its accuracy has a standard error of 16 points and more."""
_UNEVEN = 1.5
"""Ratio of class sizes in the test split from which accuracy over samples tells of the large classes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What checks of a data set look at.

    Args:
        name: As the user wrote it.
        class_names: ``[C]``.
        counts: Samples of each class by split, ``{"train": [C], ...}``; with boxes the images that show it. A split
            that does not exist is absent.
        item: What one sample is called.
        groups: Number of classes of each shot group.
        boxes: Whether the samples are images with boxes.
        notes: Remarks of the reader; those of `noted` are found again.
    """

    name: str
    class_names: Sequence[str]
    counts: Mapping[str, Sequence[int]]
    item: str = "sample"
    groups: Mapping[str, int] = dataclasses.field(default_factory=dict)
    boxes: bool = False
    notes: Sequence[str] = ()

    def noted(self, code: str) -> str:
        """What the reader noted for a check."""
        return "; ".join(seen_in(self.notes, code))

    def lacking(self, split: str) -> list[str]:
        """Names of the classes without a sample in a split that has some."""
        counts = self.counts.get(split, ())
        return [name for name, n in zip(self.class_names, counts, strict=True) if n == 0] if any(counts) else []


def some(names: Sequence[str], limit: int = 6) -> str:
    """The first of many names."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


@check(
    "LT001",
    "The same file in two splits",
    of="data",
    severity="error",
    why="A sample that was trained on, or that settings were chosen on, is known already: the result is too good.",
    todo="Remove the copies from one of the splits.",
)
def same_file_twice(data: DataFacts) -> str:
    return data.noted("LT001")


@check(
    "LT002",
    "The same picture under two classes",
    of="data",
    severity="error",
    why="One of the labels is wrong, and no model can be right about both.",
    todo="Look at the files and remove the one with the wrong label.",
)
def two_labels(data: DataFacts) -> str:
    return data.noted("LT002")


@check(
    "LT003",
    "One recording in two splits",
    of="data",
    severity="error",
    why="Samples of one recording, animal or patient are nearly copies: the test measures memory.",
    todo="Give splits that keep a group on one side, or none, so that they are cut by group.",
)
def shared_groups(data: DataFacts) -> str:
    return data.noted("LT003")


@check(
    "LT004",
    "Mirroring where left and right are classes",
    of="data",
    why="Half of the training samples of such a class then carry the other's label.",
    todo="Use --augment no-flip.",
)
def mirrored(data: DataFacts) -> str:
    return data.noted("LT004")


@check(
    "LT005",
    "16-bit images that use little of their range",
    of="data",
    why="Read as 16 bits they are nearly black, and little of their contrast is left in the 8 bits that a model sees.",
    todo="Give the depth of the camera, e.g. --bit-depth 12.",
)
def dark_images(data: DataFacts) -> str:
    return data.noted("LT005")


@check(
    "LT006",
    "A class missing from the held-out split",
    of="data",
    why="Its accuracy is 0/0: the difficulty cannot be measured there, and by default its weight stays at 1.",
    todo="Add samples of it, or hold out a larger share with --val-fraction; source=train measures while training.",
)
def unmeasured_classes(data: DataFacts) -> str | None:
    without = data.lacking("val")
    return f"{len(without)} of {len(data.class_names)} classes: {some(without)}" if without else None


@check(
    "LT007",
    "A few held-out samples per class",
    of="data",
    severity="note",
    why="Accuracy, and so difficulty, moves in coarse steps; the default momentum averages over epochs, which helps.",
    todo="Hold out a larger share with --val-fraction, or let shrinkage=auto leave out what may be chance.",
)
def coarse_difficulty(data: DataFacts) -> str | None:
    present = [(n, name) for name, n in zip(data.class_names, data.counts.get("val", ()), strict=False) if n > 0]
    few = sorted((n, name) for n, name in present if n < _COARSE)
    if not few:
        return None
    median = statistics.median(n for n, _ in few)
    return (
        f"{len(few)} of {len(present)} classes have fewer than {_COARSE} held-out {data.item}s ("
        f"{some([f'{name}: {n}' for n, name in few])}), where one {data.item} is {100 / median:.0f} points of accuracy"
    )


@check(
    "LT008",
    "A class missing from the test split",
    of="data",
    why="No number tells how well it is recognised, and the mean over classes leaves it out.",
    todo="Add test samples of it, or say with your numbers which classes they cover.",
)
def untested_classes(data: DataFacts) -> str | None:
    without = data.lacking("test")
    return f"{len(without)} of {len(data.class_names)} classes: {some(without)}" if without else None


@check(
    "LT009",
    "Hardly any imbalance",
    of="data",
    severity="note",
    why="Where classes are about equally large, re-balancing by their size changes little.",
    todo="Work on data and model first; difficulty weights may help where classes are hard for other reasons.",
)
def not_long_tailed(data: DataFacts) -> str | None:
    present = [n for n in data.counts.get("train", ()) if n > 0]
    if len(present) < 2 or (ratio := max(present) / min(present)) >= 2:
        return None
    return f"the largest training class has {ratio:.3g} times the {data.item}s of the smallest"


@check(
    "LT010",
    "A shot group of one or two classes",
    of="data",
    severity="note",
    why="The number of such a group is that of its one or two classes, and moves with each of their test samples.",
    todo="Read these classes by name in per_class.csv, and draw no conclusion from their group.",
)
def tiny_groups(data: DataFacts) -> str | None:
    small = [f"{name}: {n}" for name, n in data.groups.items() if 0 < n < 3]
    return f"classes in a group: {some(small)}" if small and len(data.class_names) >= 10 else None


@check(
    "LT011",
    "The test distribution is long-tailed too",
    of="data",
    severity="note",
    why="Accuracy over all samples then tells mostly of the large classes, and re-balancing looks like a loss by it.",
    todo="Decide whether samples or classes count the same to you, and read accuracy or macro recall accordingly.",
)
def uneven_test(data: DataFacts) -> str | None:
    present = [n for n in data.counts.get("test", ()) if n > 0]
    if data.boxes or len(present) < 2 or (ratio := max(present) / min(present)) <= _UNEVEN:
        return None
    return f"its largest class has {ratio:.3g} times the {data.item}s of its smallest"


@check(
    "LT012",
    "Near copies",
    of="data",
    severity="note",
    why="Frames of one film, bursts and files that were saved anew carry little more than one of them.",
    todo="Look at the groups; count them, and not their samples, when you judge how much a class has.",
)
def near_copies(data: DataFacts) -> str:
    return data.noted("LT012")


@check(
    "LT013",
    "Near copies in two splits",
    of="data",
    severity="error",
    why="The model has seen what it is judged on but for a detail: the result measures memory and is far too good.",
    todo="Give splits that keep near copies on one side, or none with --group-by auto.",
)
def near_copies_parted(data: DataFacts) -> str:
    return data.noted("LT013")


@check(
    "LT014",
    "Near copies under two classes",
    of="data",
    why="Mostly one of the labels is wrong, or the picture shows both classes and one label is not enough.",
    todo="Look at the files and remove those with the wrong label.",
)
def near_copies_mixed(data: DataFacts) -> str:
    return data.noted("LT014")


@check(
    "LT015",
    "File names look like series",
    of="data",
    why="Pictures of one recording are nearly copies: cut at random, the held-out ones measure memory.",
    todo="Keep each series on one side with --group-by PATTERN, e.g. "
    r"'(.*\d)\D+\d+(?:\.\w+)?$', or say --group-by none.",
)
def series_cut(data: DataFacts) -> str:
    return data.noted("LT015")
