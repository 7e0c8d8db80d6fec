"""A picture of groups: what is said to belong together, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from longtail.data.base import ImageData, Split
from longtail.data.copies import NearCopies
from longtail.inspection.picture import save_picture

__all__ = ["draw_groups", "draw_near_copies"]

GROUPS, EACH = 8, 8
SHOWN = 5
"""Of near copies in a report, which is read on telephones too."""
_SHORTER = 128


def draw_groups(data: ImageData, path: Path) -> int:
    """Draw some groups of pictures, a row each: the largest one, the smallest one of several, and some between.

    Args:
        data: Its splits say their groups.
        path: PNG file to write.

    Returns:
        How many there are of more than one picture; where there is none, nothing is drawn.

    Raises:
        LongtailError: the picture cannot be written, or one of the groups cannot be read.
    """
    parts = [part for part in (data.train, data.val, data.select, data.test) if part is not None]
    members: dict[str, list[tuple[Split, int]]] = {}
    for part in parts:
        for row, group in enumerate(part.groups or ()):
            if group:
                members.setdefault(group, []).append((part, row))
    several = sorted((own for own in members.values() if len(own) > 1), key=len, reverse=True)
    if several:
        number = min(GROUPS, len(several))
        chosen = [several[round(k * (len(several) - 1) / max(1, number - 1))] for k in range(number)]
        _draw([(_title(data, own), own) for own in chosen], path, each=EACH, dpi=110, bit_depth=data.bit_depth)
    return len(several)


def draw_near_copies(found: NearCopies, splits: Mapping[str, Split], data: ImageData, path: Path) -> None:
    """Draw the largest groups of near copies, a row each, as a report shows them on a telephone, too.

    Args:
        found: The groups.
        splits: That they were found in.
        data: The same samples as they are trained on, for the names of the classes.
        path: PNG file to write.

    Raises:
        LongtailError: the picture cannot be written, or one of the groups cannot be read.
    """
    from longtail.lettering import drawable

    members: dict[str, list[tuple[Split, int]]] = {}
    for split in splits.values():
        for row, group in enumerate(found.of(split)):
            if group:
                members.setdefault(group, []).append((split, row))
    parts = [part for part in (data.train, data.val, data.select, data.test) if part is not None]
    label = {str(key): int(c) for part in parts for key, c in zip(part.images, part.labels, strict=True)}
    rows = []
    for own in sorted(members.values(), key=len, reverse=True)[:SHOWN]:
        keys = [str(part.images[row]) for part, row in own]
        known = next((label[key] for key in keys if key in label), None)
        name = "" if known is None else f"{drawable(data.class_names[known], f'class {known}')}: "
        rows.append((f"{name}{len(own)} {data.item}s", own))
    _draw(rows, path, each=SHOWN, dpi=150, bit_depth=data.bit_depth, letters=11)


def _title(data: ImageData, own: Sequence[tuple[Split, int]]) -> str:
    from longtail.lettering import drawable

    part, k = own[0]
    label = int(part.labels[k])
    return f"{drawable(data.class_names[label], f'class {label}')}: {len(own)} {data.item}s"


def _draw(
    groups: Sequence[tuple[str, Sequence[tuple[Split, int]]]],
    path: Path,
    *,
    each: int,
    dpi: int,
    bit_depth: int | None,
    letters: int = 8,
) -> None:
    """Rows of ``each`` pictures below their titles."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from longtail.lettering import families

    with matplotlib.rc_context({"font.family": list(families()), "text.usetex": False}):
        figure = Figure(figsize=(1.1 * each, 1.35 * len(groups)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(groups), each, squeeze=False)
        for row, (title, own) in zip(axes, groups, strict=True):
            for place, axis in enumerate(row):
                axis.axis("off")
                if place < len(own):
                    part, k = own[place * len(own) // min(each, len(own))]
                    pixels = part.read(k, shorter=_SHORTER, bit_depth=bit_depth)
                    pixels = pixels[0] if pixels.ndim == 4 else pixels
                    axis.imshow(pixels.permute(1, 2, 0).squeeze(2).numpy(), cmap="gray")
            row[0].set_title(title, fontsize=letters, loc="left")
        save_picture(figure, path, dpi=dpi)
