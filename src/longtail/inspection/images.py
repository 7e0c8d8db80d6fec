"""``longtail inspect``: what a data set holds, and what would be hard in it, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtail.advice import CHECKS, DataFacts, Finding, findings, noted, without
from longtail.data import ImageData, Split, check_images, inspect_data, make_loader
from longtail.data.clips import check_clips
from longtail.data.copies import copy_notes
from longtail.errors import LongtailError
from longtail.functional import per_class_scores
from longtail.functional.counting import confusion_cells
from longtail.inspection.groups import draw_groups
from longtail.inspection.picture import save_picture
from longtail.metrics._confusion import Confusion
from longtail.palette import BLUE, ORANGE, VERMILION
from longtail.shots import FEW, MANY, classes_by_shot

__all__ = ["describe_images", "guess_difficulty", "mirror_twins"]

SIDE = 16
PER_CLASS = 50


def describe_images(
    data: ImageData, *, picture: Path | None = None, verify: bool = False, found: list[Finding] | None = None
) -> Iterator[str]:
    """Lines that describe a data set; draws its class counts and the guessed difficulty.

    Args:
        data: The data set.
        picture: PNG file to write; None: none.
        verify: Decode every image file or clip.
        found: Takes what the checks find.

    Raises:
        LongtailError: with ``verify``, a broken file; or the picture cannot be written.
    """
    about = inspect_data(data)
    yield f"{data.name}: {about['num_classes']} classes, imbalance {about['imbalance']:.1f}"
    for name, split in about["splits"].items():
        counts = split["class_counts"]
        line = f"  {name:<7}{split['images']:>8} {data.item}s, {min(counts)} to {max(counts)} a class"
        if split["absent"]:
            line += f"; none of {_some(split['absent'])}"
        yield line
    shots = about["shots"]
    groups = (f"{g}: {own['classes']} classes ({own['images']} {data.item}s)" for g, own in shots.items())
    yield f"  shots  {', '.join(groups)}"
    yield f"  most    {', '.join(f'{name} ({n})' for name, n in about['largest'])}"
    yield f"  fewest  {', '.join(f'{name} ({n})' for name, n in about['smallest'])}"
    yield from (f"note: {note}" for note in without(data.notes, CHECKS.values()))
    notes = list(data.notes)
    if verify:
        parts = [s for s in (data.train, data.val, data.select, data.test) if s and not s.in_memory]
        files = [str(path) for part in parts for path in part.images]
        if data.frames and (faults := list(check_clips(files, decode=True).values())):
            raise LongtailError(faults[0] + (f" (and {len(faults) - 1} more such files)" if len(faults) > 1 else ""))
        if not data.frames:
            check_images(files, decode=True, bit_depth=data.bit_depth, source=data.train.source)
        notes += _copies(data)
        what = "clips" if data.frames else "image files"
        yield f"all {len(files)} {what} decode" if files else f"the {data.item}s are held in memory: no file to decode"
    if data.flip:
        notes += [noted("LT004", told) for told in _mirrored(data)]
    own = findings("data", _facts(data, about, notes))
    yield from (finding.line for finding in own)
    if found is not None:
        found += own
    accuracy = None
    if data.val is not None and data.num_classes > 1:
        accuracy, confused = guess_difficulty(data)
        hardest = sorted((a, c) for c, a in enumerate(accuracy.tolist()) if a == a)[:5]
        yield (
            f"likely hard (a guess without training: nearest class mean of {_seen(data)}, "
            f"{100 * float(accuracy.nanmean()):.0f} % right on average):"
        )
        for a, c in hardest:
            other = data.class_names[int(confused[c])]
            yield f"  {data.class_names[c]}: {100 * a:.0f} % right" + (f", mostly taken for {other}" if a < 1 else "")
    if picture is not None:
        _draw(data, accuracy, picture)
        yield f"picture: {picture}"
        beside = picture.with_name(f"{picture.stem}-groups{picture.suffix}")
        if not data.train.are_vectors and draw_groups(data, beside):
            yield f"picture of groups: {beside}"
        from longtail.lettering import lettering_note

        for note in lettering_note(data.class_names if data.num_classes <= 40 else ()):
            yield f"note: {note}"


def _facts(data: ImageData, about: dict[str, Any], notes: Sequence[str]) -> DataFacts:
    """What checks look at."""
    return DataFacts(
        name=data.name,
        class_names=data.class_names,
        counts={name: split["class_counts"] for name, split in about["splits"].items()},
        item=data.item,
        groups={f"{group}-shot": own["classes"] for group, own in about["shots"].items()},
        notes=notes,
    )


def _mirrored(data: ImageData) -> list[str]:
    """What is seen of classes that training would take for each other."""
    return [
        f"training mirrors {data.item}s at random, and mirrored {one} looks like {other}, and the other way round "
        f"({share:.0%} are nearest to its mean, unmirrored {plain:.0%})"
        for one, other, share, plain in mirror_twins(data)
    ]


def _copies(data: ImageData) -> list[str]:
    splits = {"train": data.train, "val": data.val, "select": data.select, "test": data.test}
    parts = {
        name: ([str(path) for path in part.images], [str(data.class_names[int(c)]) for c in part.labels])
        for name, part in splits.items()
        if part is not None and part.in_files
    }
    return copy_notes(parts, data.item)


def guess_difficulty(data: ImageData) -> tuple[Tensor, Tensor]:
    """Nearest class mean on tiny standardised thumbnails, or on standardised rows, judged on the held-out split.

    Returns:
        The accuracy of each class, ``[C]`` (NaN without held-out images), and the class that each is most often taken
        for when it is not recognised, int64 ``[C]``.
    """
    assert data.val is not None
    features, labels = _thumbnails(data, data.train)
    sums = torch.zeros(data.num_classes, features.shape[1]).index_add_(0, labels, features)
    means = sums / torch.bincount(labels, minlength=data.num_classes).clamp_min(1).unsqueeze(1)
    features, labels = _thumbnails(data, data.val)
    predicted = torch.cdist(features, means).argmin(1)
    confusion = Confusion(data.num_classes)
    confusion.update(labels, predicted)
    counts, taken = confusion.total(), torch.zeros(data.num_classes, dtype=torch.int64)
    for true, guessed, _ in sorted(confusion_cells(counts).T.tolist(), key=lambda cell: (cell[2], -cell[1])):
        if true != guessed:
            taken[true] = guessed  # the last one is the most frequent
    return per_class_scores(counts)["recall"], taken


def mirror_twins(data: ImageData, *, limit: int = 5) -> list[tuple[str, str, float, float]]:
    """Pairs of classes of which each is the mirror image of the other, by nearest class means of thumbnails.

    An image's own class mean is taken without it. A pair is told if in both directions mirroring moves at least three
    in ten images of one class to the other, and a sign test over the images that it moves to or from it, corrected for
    the number of pairs, rejects chance at 1 %. That mirrored images are merely harder to recognise is not enough.

    Returns:
        Names of the two classes, the share of mirrored images that are nearest to the other class's mean, and the share
        of unmirrored ones; the clearest first.
    """
    parts = [part for part in (data.train, data.val) if part is not None]
    found = [_thumbnails(data, part, mirror=mirror) for mirror in (False, True) for part in parts]
    half = len(parts)
    plain, mirrored = (torch.cat([f for f, _ in side]) for side in (found[:half], found[half:]))
    labels = torch.cat([y for _, y in found[:half]])
    count = torch.bincount(labels, minlength=data.num_classes)
    sums = torch.zeros(data.num_classes, plain.shape[1]).index_add_(0, labels, plain)
    means = sums / count.clamp_min(1).unsqueeze(1)
    others = (count - 1).clamp_min(1).unsqueeze(1)
    own = (sums[labels] - plain) / others[labels]
    alone = count[labels] < 2

    def nearest(features: Tensor) -> Tensor:
        distance = torch.cdist(features, means)
        distance[:, count == 0] = torch.inf
        to_own = (features - own).norm(dim=1).masked_fill(alone, torch.inf)
        return distance.scatter(1, labels.unsqueeze(1), to_own.unsqueeze(1)).argmin(1)

    def table(predicted: Tensor) -> Tensor:
        counts = torch.zeros(data.num_classes, data.num_classes)
        return counts.index_put_((labels, predicted), torch.ones(len(labels)), accumulate=True)

    before, after = nearest(plain), nearest(mirrored)
    share = (table(before) / count.clamp_min(1).unsqueeze(1), table(after) / count.clamp_min(1).unsqueeze(1))
    gain = torch.minimum(share[1] - share[0], (share[1] - share[0]).T).triu(1)
    pairs = max(1, data.num_classes * (data.num_classes - 1) // 2)
    twins = []
    for a, b in (gain >= 0.3).nonzero().tolist():
        inside = (labels == a) | (labels == b)
        other = torch.where(labels == a, b, a)
        to = int((inside & (after == other) & (before != other)).sum())
        back = int((inside & (before == other) & (after != other)).sum())
        chance = sum(math.comb(to + back, k) for k in range(to, to + back + 1)) / 2 ** (to + back)
        if chance < 0.01 / pairs:
            total = int(inside.sum())
            mirror, unmirrored = (float((inside & (p == other)).sum()) / total for p in (after, before))
            twins.append((data.class_names[a], data.class_names[b], mirror, unmirrored))
    return sorted(twins, key=lambda twin: twin[3] - twin[2])[:limit]


def _seen(data: ImageData) -> str:
    """What the guess goes by."""
    return "the standardised rows" if data.train.are_vectors else f"{SIDE}-pixel thumbnails"


def _thumbnails(data: ImageData, split: Split, *, mirror: bool = False) -> tuple[Tensor, Tensor]:
    """Features ``[N, F]`` and labels of at most `PER_CLASS` images per class, the same ones every time."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    ranked = order[split.labels[order].argsort(stable=True)]
    labels = split.labels[ranked]
    first = torch.searchsorted(labels, labels)
    keep = ranked[torch.arange(len(ranked)) - first < PER_CLASS]
    if split.are_vectors:
        assert isinstance(split.images, Tensor) and isinstance(data.train.images, Tensor)
        spread, mean = torch.std_mean(data.train.images, 0, correction=0)
        features = (split.images[keep] - mean) / spread.clamp_min(1e-4 * float(spread.max()))
        return features / features.norm(dim=1, keepdim=True).clamp_min(1e-6), split.labels[keep]
    loader = make_loader(split, data, image_size=SIDE, train=False, channels_last=False)
    batches = (images.flip(-1) if mirror else images for images, _ in loader(keep.split(256)))
    features = torch.cat([images.flatten(1) for images in batches])
    features = features - features.mean(1, keepdim=True)
    return features / features.norm(dim=1, keepdim=True).clamp_min(1e-6), split.labels[keep]


def _some(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _draw(*words: Any) -> None:
    """Draw in letters that the installed fonts have."""
    import matplotlib

    from longtail.lettering import families

    with matplotlib.rc_context({"font.family": list(families()), "text.usetex": False}):
        _draw_in_style(*words)


def _draw_in_style(data: ImageData, accuracy: Tensor | None, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from longtail.lettering import drawable

    counts = data.train.class_counts(data.num_classes)
    order = sorted(range(data.num_classes), key=lambda c: -counts[c])
    place, sizes = range(len(order)), [counts[c] for c in order]
    figure = Figure(figsize=(10, 6.5 if accuracy is not None else 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 if accuracy is not None else 1, 1, sharex=True, squeeze=False)[:, 0]
    looks = {
        "many": (f"many-shot (more than {MANY})", BLUE),
        "medium": ("medium-shot", ORANGE),
        "few": (f"few-shot (fewer than {FEW})", VERMILION),
    }
    for group, rows in classes_by_shot(sizes).items():
        label, colour = looks[group]
        if rows:
            axes[0].bar(rows, [sizes[i] for i in rows], width=0.9, color=colour, label=label)
    if max(sizes) >= 20 * max(1, min(sizes)):
        axes[0].set_yscale("log")
    axes[0].set_ylabel(f"training {data.item}s")
    axes[0].set_title(f"{drawable(data.name, data.name)}: {sum(sizes)} training {data.item}s in {len(sizes)} classes")
    axes[0].legend(frameon=False)
    if accuracy is not None:
        axes[1].bar(list(place), [100 * float(accuracy[c].nan_to_num()) for c in order], width=0.9, color="#666666")
        axes[1].set_ylabel("guessed accuracy (%)")
        axes[1].set_title(f"Without training: nearest class mean of {_seen(data)}, held-out split")
    axes[-1].set_xlabel(f"classes, most training {data.item}s first")
    if len(order) <= 40:
        axes[-1].set_xticks(
            list(place),
            [drawable(data.class_names[c], f"class {c}") for c in order],
            rotation=90 if len(order) > 12 else 0,
        )
    save_picture(figure, path)
