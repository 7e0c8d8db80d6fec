"""A picture of groups: what is said to belong together, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longtail.data.base import ImageData, Split
from longtail.inspection.picture import save_picture

__all__ = ["draw_groups"]

GROUPS, EACH = 8, 8
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
        _draw(data, [several[round(k * (len(several) - 1) / max(1, number - 1))] for k in range(number)], path)
    return len(several)


def _draw(data: ImageData, groups: Sequence[Sequence[tuple[Split, int]]], path: Path) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from longtail.lettering import drawable, families

    with matplotlib.rc_context({"font.family": list(families()), "text.usetex": False}):
        figure = Figure(figsize=(1.1 * EACH, 1.35 * len(groups)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(groups), EACH, squeeze=False)
        for row, own in zip(axes, groups, strict=True):
            for place, axis in enumerate(row):
                axis.axis("off")
                if place < len(own):
                    part, k = own[place * len(own) // min(EACH, len(own))]
                    pixels = part.read(k, shorter=_SHORTER, bit_depth=data.bit_depth)
                    pixels = pixels[0] if pixels.ndim == 4 else pixels
                    axis.imshow(pixels.permute(1, 2, 0).squeeze(2).numpy(), cmap="gray")
            part, k = own[0]
            name = drawable(data.class_names[int(part.labels[k])], f"class {int(part.labels[k])}")
            row[0].set_title(f"{name}: {len(own)} {data.item}s", fontsize=8, loc="left")
        save_picture(figure, path)
