"""Which images of a folder are the frames of its clip: one numbered series, and not what lies beside it."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence

__all__ = ["Series", "frame_series", "natural_key"]

_PICTURES = frozenset("img imgs image images im rgb frame frames fr color colour picture pic photo pics photos".split())
_OTHERS = frozenset(
    "flow flows flowx flowy of opt optical x y u v warp depth disp disparity mask masks seg segm label labels annot gt "
    "ir nir thermal infrared normal normals edge edges heat heatmap saliency event events diff pose skeleton thumb "
    "thumbs thumbnail thumbnails preview".split()
)
_JPEG = frozenset((".jpeg", ".jpe", ".jpg"))


@dataclasses.dataclass(frozen=True)
class Series:
    """The images of a folder, told apart by their names.

    Args:
        frames: Names of the frames in the order of their numbers; empty if ``others`` could be the frames as well.
        taken: What their names have in common, ``img_*.jpg``.
        others: Likewise, of the images that are no frames of this clip.
    """

    frames: Sequence[str]
    taken: str
    others: Sequence[str]

    def gaps(self) -> int:
        """How many numbers are missing in an otherwise even numbering; 0 where the names do not count evenly."""
        numbers = [int(found[-1]) for name in self.frames if (found := re.findall(r"\d+", os.path.splitext(name)[0]))]
        steps = Counter(b - a for a, b in itertools.pairwise(numbers))
        if len(numbers) < max(4, len(self.frames)) or not steps:
            return 0
        step, often = steps.most_common(1)[0]
        if step < 1 or often < 0.8 * steps.total() or any(s < 1 or s % step for s in steps):
            return 0
        return sum((s // step - 1) * n for s, n in steps.items())


def natural_key(name: str) -> list[int | str]:
    """Sorts ``frame_2`` before ``frame_10``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def frame_series(names: Sequence[str]) -> Series:
    """Tell the frames among the images of one folder.

    Names that differ in their numbers alone are one series. Of several the one that is called a picture (``img``,
    ``image``, ``frame``, ``rgb``) is taken, else the only one that is not called something else (``flow_x``, ``depth``,
    ``mask``). A picture without a number beside a series (``cover.jpg``) is none of its frames.
    """
    ordered = sorted(names, key=natural_key)
    groups = _groups(ordered, _with_glued_numbers)
    if min(map(len, groups.values()), default=0) < 2:
        groups = _groups(ordered, _letters)
    counted = [key for key in groups if "*" in key]
    alone = all(len(own) == 1 and not _words(key) & _OTHERS for key, own in groups.items())
    if len(groups) < 2 or not counted or alone:
        return Series(ordered, next(iter(groups), ""), ())
    plain = [key for key in counted if not _words(key) & _OTHERS]
    pictures = [key for key in plain if _words(key) & _PICTURES]
    chosen = next((keys[0] for keys in (counted, pictures, plain) if len(keys) == 1), None)
    if chosen is None:
        return Series((), "", list(groups))
    return Series(groups[chosen], chosen, [key for key in groups if key != chosen])


def _groups(names: Sequence[str], form: Callable[[str], str]) -> dict[str, list[str]]:
    """The names by their form; by their ending too, where it alone tells two of them apart."""
    stems = Counter(os.path.splitext(name)[0].lower() for name in names)
    twice = any(n > 1 for n in stems.values())  # 0001.jpg and 0001.png: a picture and something else
    groups: dict[str, list[str]] = {}
    for name in names:
        stem, ending = os.path.splitext(name)
        ending = ending.lower() if twice else ""
        groups.setdefault(form(stem) + (".jpg" if ending in _JPEG else ending), []).append(name)
    return groups


def _letters(stem: str) -> str:
    return re.sub(r"\d+", "*", stem)


def _with_glued_numbers(stem: str) -> str:
    """``cam2_0001`` is ``cam2_*``: the number of a camera belongs to the name. ``frame12.033`` is a time."""
    return re.sub(r"\d+(?:\.\d+)+|(?<![^\W\d_])(?<!\d)\d+|\d+(?=\D*$)", "*", stem)


def _words(key: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", os.path.splitext(key)[0].lower()))
