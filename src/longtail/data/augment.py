"""What training does to images, by name, and class names that a mirrored image would belie. Free of torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from longtail.errors import LongtailError

__all__ = ["AUGMENTATIONS", "MIXTURES", "POLICIES", "augmented", "check_augmentations", "mirrored_names"]

POLICIES = ("randaugment", "trivialaugment")
"""Operations on colour and shape drawn for each image, on top of the data set's own crop and flip."""
MIXTURES = ("mixup", "cutmix")
"""Images mixed of two, on top of what the data set does by itself."""

AUGMENTATIONS: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "crop": frozenset({"crop"}),
    "flip": frozenset({"flip"}),
    "no-flip": frozenset({"crop", "color", "turn"}),
    "standard": frozenset({"crop", "flip", "color", "turn"}),
    **{name: frozenset({"own", "policy"}) for name in POLICIES},
    **{name: frozenset({"own", "mix"}) for name in MIXTURES},
}
"""Parts of each: random crop, horizontal flip, colour jitter of image files, rotation of clips in files; or what the
data set does by itself (``own``) and one thing more."""

_SIDES = [
    ("left", "right"), ("lefthand", "righthand"), ("clockwise", "counterclockwise"), ("clockwise", "anticlockwise"),
    ("cw", "ccw"), ("east", "west"), ("port", "starboard"), ("links", "rechts"), ("linke", "rechte"),
    ("gauche", "droite"), ("izquierda", "derecha"), ("izquierdo", "derecho"), ("sinistra", "destra"),
    ("sinistro", "destro"),
    ("esquerda", "direita"), ("esquerdo", "direito"), ("vänster", "höger"), ("venstre", "højre"), ("venstre", "høyre"),
    ("lewo", "prawo"), ("lewy", "prawy"), ("vlevo", "vpravo"), ("sol", "sağ"), ("лево", "право"), ("налево", "направо"),
    ("левый", "правый"), ("左", "右"), ("왼쪽", "오른쪽"), ("좌", "우"), ("b", "d"), ("p", "q"), ("l", "r"),
]  # fmt: skip


def check_augmentations(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of augmentations that are done one after the other; none: what suits the data set.

    Raises:
        LongtailError: an unknown name, or names that mean nothing together or in this order.
    """
    if names is None:
        return ()
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in AUGMENTATIONS:
            raise LongtailError(f"unknown augmentation {name!r}: known are {', '.join(AUGMENTATIONS)}")
    if not names:
        raise LongtailError("--augment names nothing: name at least one, or leave it out")
    told = f"--augment {' '.join(names)}"
    if len(set(names)) < len(names):
        raise LongtailError(f"{told}: {next(n for n in names if names.count(n) > 1)} is there twice")
    for kind, what in enumerate(("crop and flip", "the operations on each image")):
        if len(own := [name for name in names if _kind(name) == kind]) > 1:
            raise LongtailError(f"{told}: {' and '.join(own)} both say what {what} are: choose one")
    if (usual := sorted(names, key=_kind)) != list(names):
        raise LongtailError(f"{told}: images are cropped first and mixed last: write {' '.join(usual)}")
    return names


def _kind(name: str) -> int:
    """0: crop and flip; 1: operations on each image; 2: images mixed."""
    return 2 if name in MIXTURES else 1 if name in POLICIES else 0


def augmented(look: Mapping[str, Any], names: str | Sequence[str] | None, *, side: int | None) -> dict[str, Any]:
    """The look of a data set with other augmentations.

    Args:
        look: Fields of `ImageData`.
        names: Of `AUGMENTATIONS`, in the order in which they are done; None: the data set's own.
        side: Pixels of images held in memory, which are padded by an eighth before the crop where the data set has no
            padding of its own; None: files.

    Raises:
        LongtailError: an unknown name, or names that mean nothing together.
    """
    found = dict(look)
    for name in (names := check_augmentations(names)):
        found |= _with(look, name, side)
    mixed = tuple(name for name in names if name in MIXTURES)
    return found | ({"mix": mixed} if mixed else {})


def _with(look: Mapping[str, Any], name: str, side: int | None) -> dict[str, Any]:
    """What one augmentation changes of the look."""
    parts = AUGMENTATIONS[name]
    if "policy" in parts:  # which has colours and rotations of its own
        return {"color_jitter": 0.0, "rotation": 0.0, "policy": name}
    if "mix" in parts:
        return {}
    own: dict[str, Any] = {"flip": "flip" in parts}
    if side is None:
        own["crop_scale"] = look.get("crop_scale") if "crop" in parts else None
    else:
        own["crop_padding"] = (look.get("crop_padding") or max(1, side // 8)) if "crop" in parts else 0
    if "color" not in parts:
        own["color_jitter"] = 0.0
    if "turn" not in parts:
        own["rotation"] = 0.0
    return own


def mirrored_names(class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of classes whose names differ in a side alone: ``turn left`` and ``turn right``, ``b`` and ``d``."""
    words = {name: _words(name) for name in class_names}
    by_words = {tuple(own): name for name, own in words.items()}
    found = []
    for name, own in words.items():
        for one, other in _SIDES:
            swapped = tuple(_swapped(word, one, other) for word in own)
            if swapped != tuple(own) and (partner := by_words.get(swapped)) is not None and partner != name:
                found.append((name, partner))
    return found


def _swapped(word: str, one: str, other: str) -> str:
    """A whole word; in scripts without spaces between words, a part of one."""
    return word.replace(one, other) if one > "\u1000" else other if word == one else word


def _words(name: str) -> list[str]:
    """Words in lower case, ``TurnLeft2`` in three; single capitals stay, for B is no mirrored D."""
    parts = re.findall(r"[A-ZÀ-Þ]?[^\W\d_A-ZÀ-Þ]+|[A-ZÀ-Þ]+|\d+", name)
    return [part if len(part) == 1 else part.lower() for part in parts]
