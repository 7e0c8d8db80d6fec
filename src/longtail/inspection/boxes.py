"""``longtail inspect`` for boxes: images and instances of every category, frequency groups, and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longtail.advice import CHECKS, DataFacts, Finding, findings, without
from longtail.data.boxes import BoxData, inspect_boxes
from longtail.errors import LongtailError
from longtail.inspection.picture import save_picture
from longtail.palette import BLUE, ORANGE, VERMILION

__all__ = ["describe_boxes"]

_GROUPS = {"f": ("frequent", BLUE), "c": ("common", ORANGE), "r": ("rare", VERMILION)}


def describe_boxes(
    data: BoxData, *, picture: Path | None = None, verify: bool = False, found: list[Finding] | None = None
) -> Iterator[str]:
    """Lines that describe a detection data set; draws the images and instances of its categories.

    Args:
        data: The data set.
        picture: PNG file to write; None: none.
        verify: Decode every image.
        found: Takes what the checks find.

    Raises:
        LongtailError: with ``verify``, a broken image; the picture cannot be written; or, after everything else,
            photographs are missing.
    """
    about = inspect_boxes(data)
    numbers = f"{about['num_classes']} categories, imbalance {about['imbalance']:.1f}"
    yield f"{data.name}: {numbers}, rules of {about['rules']}"
    for name, split in about["splits"].items():
        absent = sum(n == 0 for n in split["image_counts"])
        line = f"  {name:<7}{split['images']:>8} images ({split['empty']} show nothing)"
        line += f", {sum(split['instance_counts'])} objects"
        line += f", {split['masks']} with a mask" if split["masks"] else ""
        yield line + (f"; {absent} categories in no image" if absent else "")
    groups = (
        f"{title}: {own['classes']} categories ({own['images']} images, {own['instances']} objects)"
        for group, (title, _) in _GROUPS.items()
        if (own := about["groups"][group])["classes"]
    )
    yield f"  groups {', '.join(groups)}"
    yield f"  most    {', '.join(f'{name} ({n})' for name, n in about['largest'])}"
    yield f"  fewest  {', '.join(f'{name} ({n})' for name, n in about['smallest'])}"
    yield from (f"note: {note}" for note in without(data.notes, CHECKS.values()))
    own = findings("data", _facts(data, about))
    yield from (finding.line for finding in own)
    if found is not None:
        found += own
    if verify and not data.missing:
        splits = [split for split in (data.train, data.val, data.test) if split]
        for split in splits:
            for row in range(len(split)):
                split.read(row)
        yield f"all {sum(map(len, splits))} images decode"
    if picture is not None:
        _draw(data, about, picture)
        yield f"picture: {picture}"
        from longtail.lettering import lettering_note

        for note in lettering_note(data.class_names if data.num_classes <= 40 else ()):
            yield f"note: {note}"
    if data.missing:
        raise LongtailError(f"{'; '.join(data.missing)}; the counts are those of the lists, nothing can be trained yet")


def _facts(data: BoxData, about: dict[str, Any]) -> DataFacts:
    """What checks look at: images in the place of samples."""
    return DataFacts(
        name=data.name,
        class_names=data.class_names,
        counts={name: split["image_counts"] for name, split in about["splits"].items()},
        item="image",
        groups={title: about["groups"][group]["classes"] for group, (title, _) in _GROUPS.items()},
        boxes=True,
        notes=data.notes,
    )


def _draw(*words: Any) -> None:
    """Draw in letters that the installed fonts have."""
    import matplotlib

    from longtail.lettering import families

    with matplotlib.rc_context({"font.family": list(families()), "text.usetex": False}):
        _draw_in_style(*words)


def _draw_in_style(data: BoxData, found: dict[str, Any], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from longtail.lettering import drawable

    train = found["splits"]["train"]
    order = sorted(range(data.num_classes), key=lambda c: -train["image_counts"][c])
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for group, (title, colour) in _GROUPS.items():
        places = [i for i, c in enumerate(order) if data.train.categories[c]["frequency"] == group]
        if places:
            heights = [train["image_counts"][order[i]] for i in places]
            axes.bar(places, heights, width=0.9, color=colour, label=f"{title}: images")
    instances = [train["instance_counts"][c] for c in order]
    axes.plot(range(len(order)), instances, ".", color="#333333", markersize=4, label="objects")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylabel("in the training images")
    axes.set_xlabel("categories, most training images first")
    axes.set_title(f"{drawable(data.name, data.name)}: {train['images']} training images, {len(order)} categories")
    axes.legend(frameon=False)
    if len(order) <= 40:
        axes.set_xticks(range(len(order)), [drawable(data.class_names[c], f"class {c}") for c in order], rotation=90)
    save_picture(figure, path)
