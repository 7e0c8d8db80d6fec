"""What the lists of a published data set tell, whether its images or clips are there or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from longtail.data.catalogue import CATALOGUE, parse_spec, places_of
from longtail.data.egtea import VERBS, read_egtea_lists
from longtail.data.filelists import labels_of_lists
from longtail.errors import LongtailError
from longtail.shots import classes_by_shot

__all__ = ["counts_of_lists"]


def counts_of_lists(spec: str) -> Iterator[str]:
    """Lines with the class counts of each split, from the lists alone; none if the data set has no lists there.

    Args:
        spec: ``egtea:PATH``, ``imagenet-lt[:PATH]``, ``places-lt[:PATH]`` or ``inat18[:PATH]``; others have no lists.
    """
    name = parse_spec(spec)[0]
    try:
        splits = _labels(spec)
    except (LongtailError, OSError):
        return
    if not any(splits.values()):
        return
    classes = VERBS if name == "egtea" else 1 + max(max(labels, default=0) for labels in splits.values())
    item = "clip" if name == "egtea" else "image"
    total = sum(map(len, splits.values()))
    yield f"{spec}: {classes} classes, {total} {item}s, by its lists"
    for split, labels in splits.items():
        counts = [0] * classes
        for label in labels:
            counts[label] += 1
        absent = counts.count(0)
        yield (
            f"  {split:<7}{len(labels):>8} {item}s, {min(counts)} to {max(counts)} a class"
            + (f"; none of {absent} classes" if absent else "")
        )
        if split == "train":
            groups = classes_by_shot(counts).items()
            shots = (f"{group}: {len(own)} classes ({sum(counts[c] for c in own)} {item}s)" for group, own in groups)
            yield f"  shots  {', '.join(shots)}; imbalance {max(counts) / max(1, min(counts)):.1f}"


def _labels(spec: str) -> dict[str, list[int]]:
    name, place = parse_spec(spec)
    path = Path(place).expanduser() if place else None
    if name == "egtea" and path is not None:
        return {split: [verb for _, verb in lines] for split, lines in read_egtea_lists(path)[0].items()}
    arguments = CATALOGUE[name].arguments if name in CATALOGUE else {}
    if "pattern" in arguments:
        for home in places_of(name, path):
            if found := labels_of_lists(home, pattern=arguments["pattern"], folders=arguments["folders"]):
                return found
    return {}
