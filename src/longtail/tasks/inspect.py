"""``longtail inspect``: what a data set holds, and what would be hard in it, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from longtail.atomic import atomic
from longtail.data import ImageData, Split, check_images, inspect_data, make_loader
from longtail.data.clips import check_clips
from longtail.errors import LongtailError
from longtail.functional import per_class_scores

__all__ = ["guess_difficulty", "inspect"]

SIDE = 16
PER_CLASS = 50


def inspect(data: ImageData, *, picture: Path | None = None, verify: bool = False) -> Iterator[str]:
    """Lines that describe a data set; draws its class counts and the guessed difficulty.

    Args:
        data: The data set.
        picture: PNG file to write; None: none.
        verify: Decode every image file or clip.

    Raises:
        LongtailError: with ``verify``, a broken file; or the picture cannot be written.
    """
    found = inspect_data(data)
    yield f"{data.name}: {found['num_classes']} classes, imbalance {found['imbalance']:.1f}"
    for name, split in found["splits"].items():
        counts = split["class_counts"]
        line = f"  {name:<7}{split['images']:>8} {data.item}s, {min(counts)} to {max(counts)} a class"
        if split["absent"]:
            line += f"; none of {_some(split['absent'])}"
        yield line
    shots = found["shots"]
    groups = (f"{g}: {own['classes']} classes ({own['images']} {data.item}s)" for g, own in shots.items())
    yield f"  shots  {', '.join(groups)}"
    yield f"  most    {', '.join(f'{name} ({n})' for name, n in found['largest'])}"
    yield f"  fewest  {', '.join(f'{name} ({n})' for name, n in found['smallest'])}"
    for note in found["notes"]:
        yield f"note: {note}"
    if verify:
        files = [p for s in (data.train, data.val, data.select, data.test) if s and not s.in_memory for p in s.images]
        if data.frames and (faults := list(check_clips((str(p) for p in files), decode=True).values())):
            raise LongtailError(faults[0] + (f" (and {len(faults) - 1} more such files)" if len(faults) > 1 else ""))
        if not data.frames:
            check_images((str(p) for p in files), decode=True, bit_depth=data.bit_depth)
        what = "clips" if data.frames else "image files"
        yield f"all {len(files)} {what} decode" if files else f"the {data.item}s are held in memory: no file to decode"
    accuracy = None
    if data.val is not None and data.num_classes > 1:
        accuracy, confused = guess_difficulty(data)
        hardest = sorted((a, c) for c, a in enumerate(accuracy.tolist()) if a == a)[:5]
        yield (
            f"likely hard (a guess without training: nearest class mean of {SIDE}-pixel thumbnails, "
            f"{100 * float(accuracy.nanmean()):.0f} % right on average):"
        )
        for a, c in hardest:
            other = data.class_names[int(confused[c])]
            yield f"  {data.class_names[c]}: {100 * a:.0f} % right" + (f", mostly taken for {other}" if a < 1 else "")
    few = [
        data.class_names[c] for c, n in enumerate(found["splits"].get("val", {}).get("class_counts", [])) if 0 < n < 10
    ]
    if few:
        yield f"fewer than 10 held-out {data.item}s, so a coarse difficulty: {_some(few)} (momentum smooths it)"
    if picture is not None:
        _draw(data, accuracy, picture)
        yield f"picture: {picture}"


def guess_difficulty(data: ImageData) -> tuple[Tensor, Tensor]:
    """Nearest class mean on tiny standardised thumbnails, judged on the held-out split.

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
    confusion = torch.zeros(data.num_classes, data.num_classes, dtype=torch.int64)
    confusion.index_put_((labels, predicted), torch.ones_like(labels), accumulate=True)
    wrong = confusion.clone().fill_diagonal_(0)
    return per_class_scores(confusion)["recall"], wrong.argmax(1)


def _thumbnails(data: ImageData, split: Split) -> tuple[Tensor, Tensor]:
    """Features ``[N, F]`` and labels of at most `PER_CLASS` images a class, the same ones every time."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    ranked = order[split.labels[order].argsort(stable=True)]
    labels = split.labels[ranked]
    first = torch.searchsorted(labels, labels)
    keep = ranked[torch.arange(len(ranked)) - first < PER_CLASS]
    loader = make_loader(split, data, image_size=SIDE, train=False, channels_last=False)
    features = torch.cat([images.flatten(1) for images, _ in loader(keep.split(256))])
    features = features - features.mean(1, keepdim=True)
    return features / features.norm(dim=1, keepdim=True).clamp_min(1e-6), split.labels[keep]


def _some(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _draw(data: ImageData, accuracy: Tensor | None, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = data.train.class_counts(data.num_classes)
    order = sorted(range(data.num_classes), key=lambda c: -counts[c])
    place, sizes = range(len(order)), [counts[c] for c in order]
    figure = Figure(figsize=(10, 6.5 if accuracy is not None else 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 if accuracy is not None else 1, 1, sharex=True, squeeze=False)[:, 0]
    groups = {"many-shot (more than 100)": "#0072B2", "medium-shot": "#E69F00", "few-shot (fewer than 20)": "#D55E00"}
    for (label, colour), inside in zip(
        groups.items(), (lambda n: n > 100, lambda n: 20 <= n <= 100, lambda n: n < 20), strict=True
    ):
        rows = [i for i in place if inside(sizes[i])]
        if rows:
            axes[0].bar(rows, [sizes[i] for i in rows], width=0.9, color=colour, label=label)
    if max(sizes) >= 20 * max(1, min(sizes)):
        axes[0].set_yscale("log")
    axes[0].set_ylabel(f"training {data.item}s")
    axes[0].set_title(f"{data.name}: {sum(sizes)} training {data.item}s in {len(sizes)} classes")
    axes[0].legend(frameon=False)
    if accuracy is not None:
        axes[1].bar(list(place), [100 * float(accuracy[c].nan_to_num()) for c in order], width=0.9, color="#666666")
        axes[1].set_ylabel("guessed accuracy (%)")
        axes[1].set_title(f"Without training: nearest class mean of {SIDE}-pixel thumbnails, held-out split")
    axes[-1].set_xlabel(f"classes, most training {data.item}s first")
    if len(order) <= 40:
        axes[-1].set_xticks(list(place), [data.class_names[c] for c in order], rotation=90 if len(order) > 12 else 0)
    try:
        atomic(path, lambda p: figure.savefig(p, dpi=110, format="png"))
    except OSError as error:
        raise LongtailError(f"{path} cannot be written ({error.strerror}): choose another --out") from None
