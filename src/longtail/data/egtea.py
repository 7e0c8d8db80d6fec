"""EGTEA Gaze+: trimmed clips of 19 kitchen verbs, in the public layout.

Li et al., "In the Eye of Beholder: Joint Learning of Gaze and Actions in First Person Video", ECCV 2018. A list has a
line ``CLIP ACTION VERB NOUN...`` for each clip; a clip's name tells its recording and its camera wearer:
``P21-R04-ContinentalBreakfast-291175-294945-F006979-F007088``.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from longtail.data.base import Split
from longtail.data.photos import is_image
from longtail.data.video import is_video
from longtail.data.walk import Passed, walk
from longtail.errors import LongtailError
from longtail.names import brief
from longtail.textfiles import read_text

__all__ = ["read_egtea", "read_egtea_lists"]

VERBS = 19
_NUMBERS = {str(verb) for verb in range(1, VERBS + 1)}
_KNOWN = {1: "Read", 2: "Open", 3: "Take", 4: "Cut", 6: "Put"}
"""The paper's names of the five most frequent verbs (Section 4.3.3); `verb_idx.txt` of the data set has all."""
_LISTS = {"train": ("train_split.txt",), "val": ("val_split.txt",), "test": ("test_split.txt",)}
_OFFICIAL = {"train": ("train_split1.txt",), "test": ("test_split1.txt",)}
_BELOW = ("", "action_annotation", "raw_annotations", "splits", "lists")
_HELD_OUT = tuple(f"P{n}" for n in range(20, 27))
"""The camera wearers whose training clips are the paper's validation split: the authors' lists are cut this way."""
_CLIPS = ("cropped_clips", "clips", "videos", "frames", "")


def read_egtea_lists(path: Path) -> tuple[dict[str, list[tuple[str, int]]], list[str]]:
    """The authors' three lists, or the official ones of split 1, whose training part is cut as the paper does.

    The paper's validation split is what the camera wearers P20 to P26 recorded: 1927 of 8299 clips.

    Args:
        path: Folder of the data set or of the lists.

    Returns:
        For train, val and test the clips' names with their verbs, 0 to 18; and the names of the verbs.

    Raises:
        LongtailError: no lists, or a line that is none.
    """
    if not path.is_dir():
        raise LongtailError(f"{path} is not a folder: it must hold EGTEA's split lists and clips")
    for wanted in (_LISTS, _OFFICIAL):
        found = {split: _first(path, names) for split, names in wanted.items()}
        if all(found.values()):
            lists = {split: _read(file) for split, file in found.items() if file}
            break
    else:
        raise LongtailError(
            f"{path} has neither train_split1.txt and test_split1.txt of EGTEA nor train_split.txt, val_split.txt and "
            f"test_split.txt (looked in it and in {', '.join(_BELOW[1:])})"
        )
    if "val" not in lists:
        whole = lists["train"]
        lists["val"] = [line for line in whole if line[0].startswith(_HELD_OUT)]
        lists["train"] = [line for line in whole if not line[0].startswith(_HELD_OUT)]
    return {split: lists[split] for split in ("train", "val", "test")}, _verbs(path)


def read_egtea(path: Path, *, frames: int) -> tuple[dict[str, Split], list[str], list[str]]:
    """The clips of the lists, as video files or as folders of frames: ``[cropped_clips/][RECORDING/]CLIP[.mp4]``.

    Raises:
        LongtailError: as `read_egtea_lists`, or a clip is missing.
    """
    lists, names = read_egtea_lists(path)
    there = _clips_in(path)
    missing = [name for lines in lists.values() for name, _ in lines if name not in there]
    if missing:
        total = sum(map(len, lists.values()))
        raise LongtailError(
            f"{len(missing)} of the {total} clips of EGTEA's lists are missing below {path}, first {missing[0]}: "
            "put the trimmed clips, or a folder of frames for each, into cropped_clips"
        )
    splits = {
        split: Split([there[name] for name, _ in lines], torch.tensor([verb for _, verb in lines]), frames)
        for split, lines in lists.items()
        if lines
    }
    if "train" not in splits:
        raise LongtailError(f"{path}: the training list is empty")
    return splits, names, []


def _first(path: Path, names: tuple[str, ...]) -> Path | None:
    return next((f for below in _BELOW for name in names if (f := path / below / name).is_file()), None)


def _read(file: Path) -> list[tuple[str, int]]:
    lines = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) < 3 or words[2].lstrip("0") not in _NUMBERS:
            raise LongtailError(
                f"{file} line {number} is {line.strip()[:80]!r}: it must be a clip, an action, a verb from 1 to "
                f"{VERBS}, and nouns"
            )
        lines.append((words[0], int(words[2]) - 1))
    return lines


def _verbs(path: Path) -> list[str]:
    names = {verb: _KNOWN.get(verb, f"verb {verb}") for verb in range(1, VERBS + 1)}
    file = _first(path, ("verb_idx.txt",))
    for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines() if file else ():
        name, _, verb = line.strip().rpartition(" ")
        if name and verb.lstrip("0") in _NUMBERS:
            names[int(verb)] = name.strip()
    if len(set(names.values())) < VERBS:
        raise LongtailError(f"{file} gives two verbs the same name: {brief(sorted(names.values()), VERBS)}")
    return list(names.values())


def _clips_in(path: Path) -> dict[str, str]:
    """All clips below the folder by their names; of two with the same name the one in the first folder of `_CLIPS`."""
    found: dict[str, str] = {}
    for below in _CLIPS:
        if not (path / below).is_dir():
            continue
        for parent, files in walk(path / below, Passed(), depth=3):
            videos = [name for name in files if is_video(name)]
            for name in videos:
                found.setdefault(os.path.splitext(name)[0], os.path.join(parent, name))
            if not videos and any(map(is_image, files)):
                found.setdefault(os.path.basename(parent), parent)
        if found:
            break
    return found
