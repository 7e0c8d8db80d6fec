"""The figures: arrays in, PNG bytes out. Imports matplotlib, so the page imports this module late."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from longtail.palette import VERMILION
from longtail.report.compared import Comparison, Group
from longtail.report.runs import Difficulty, Run
from longtail.report.statistics import spread
from longtail.report.style import FAINT, Look, drawable, legend, names_of, new_figure, png, short
from longtail.report.tolerant import Floats, Ints

__all__ = ["class_accuracy", "confusion", "difficulty", "learning_curves", "shot_bars", "tau_and_bias", "varies"]

NAMED_CLASSES = 30  # up to here every class has its name on an axis
LINED_CLASSES = 12  # up to here every class has a line of its own
Looks = Mapping[str, Look]


@dataclasses.dataclass(frozen=True)
class _Ranks:
    """The class axis: classes in the order of their training frequency."""

    order: Ints
    names: list[str]
    counts: Ints | None
    least: list[float]
    """Smallest count of each shot group but the last."""

    @classmethod
    def of(cls, c: Comparison) -> _Ranks:
        train = c.data.counts.get("train")
        counts = None if train is None else np.array(train)[c.data.order]
        names = names_of(c.data.class_names, c.data.order.tolist()) if c.data.num_classes <= NAMED_CLASSES else []
        return cls(c.data.order, names, counts, [low for _, low, _ in c.measures.shots[:-1]])

    def __len__(self) -> int:
        return len(self.order)

    def borders(self) -> list[float]:
        """Between which ranks the shot groups change."""
        if self.counts is None:
            return []
        cuts = {int((self.counts >= low).sum()) for low in self.least}
        return [cut + 0.5 for cut in sorted(cuts) if 0 < cut < len(self)]

    def label(self, ax: Axes, *, vertical: bool = False) -> None:
        axis = ax.yaxis if vertical else ax.xaxis
        text = "Class, most frequent first" if self.names else "Class, by frequency rank (1 = most frequent)"
        axis.set_label_text(text)
        if not self.names:
            axis.set_major_locator(MaxNLocator(integer=True))
            return
        axis.set_ticks(np.arange(1, len(self) + 1), self.names)
        if not vertical:
            _turn_if_crowded(ax, self.names)


def _turn_if_crowded(ax: Axes, names: Sequence[str]) -> None:
    if max(map(len, names)) * len(names) > 90:
        for tick in ax.get_xticklabels():
            tick.set(rotation=45, ha="right", rotation_mode="anchor")


def class_accuracy(c: Comparison, looks: Looks) -> bytes:
    """Training samples of each class above, each method's test performance below (the paper's Fig. 1)."""
    ranks, what = _Ranks.of(c), c.measures.per_class
    figure = new_figure(6.4)
    top, ax = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
    _counts(top, ranks)
    x = np.arange(1, len(ranks) + 1, dtype=np.float64)
    shown = sorted(c.groups, key=lambda g: g is c.baseline)
    for i, group in enumerate(shown):
        if np.isfinite(group.mean_per_class).any():
            y = 100 * group.per_class[:, ranks.order]
            if ranks.names:
                shift = (i - (len(shown) - 1) / 2) * min(0.12, 0.7 / len(shown))
                _points_by_class(ax, np.add(x, shift), y, looks[group.label])
            else:
                dots = len(shown) <= 4 or group in (c.best, c.baseline)
                _line_over_classes(ax, x, 100 * group.mean_per_class[ranks.order], looks[group.label], dots=dots)
    for border in ranks.borders():
        for a in (top, ax):
            a.axvline(border, color="#888888", linewidth=1, linestyle=(0, (2, 2)))
    ranks.label(ax)
    ax.set(ylabel=f"Test {what} (%)", ylim=(-3, 103), xlim=(0.4, len(ranks) + 0.6))
    top.set_title(drawable(f"{short(c.title, 60)}: training samples of each class", "training samples of each class"))
    smoothed = "" if ranks.names else f"; line: mean over {_window(len(ranks))} neighbouring classes"
    ax.set_title(f"Test {what} of each class{smoothed}")
    legend(figure, ax)
    return png(figure)


def _counts(ax: Axes, ranks: _Ranks) -> None:
    if ranks.counts is None:
        ax.text(0.5, 0.5, "class counts unknown: no data.json", transform=ax.transAxes, ha="center", va="center")
        return
    x, positive = np.arange(1, len(ranks) + 1), ranks.counts[ranks.counts > 0]
    log = len(positive) > 0 and positive.max() > 20 * positive.min()
    bottom = 0.5 if log else 0
    if len(ranks) <= 200:
        ax.bar(x, np.maximum(ranks.counts - bottom, 0), bottom=bottom, width=0.8, color="#9aa5b1")
    else:
        ax.fill_between(x, bottom, np.maximum(ranks.counts, bottom), step="mid", color="#9aa5b1", linewidth=0)
    if log:
        ax.set_yscale("log")
    ax.set(ylabel="Samples" + (" (log scale)" if log else ""))
    top = float(ranks.counts.max(initial=1))
    ax.set_ylim(bottom, top * (2.5 if log else 1.15))
    if len(ranks) <= LINED_CLASSES:
        for xi, n in zip(x, ranks.counts, strict=True):
            ax.annotate(f"{n}", (xi, max(n, bottom)), ha="center", va="bottom", fontsize=8, annotation_clip=False)


def _points_by_class(ax: Axes, x: Floats, y: Floats, look: Look) -> None:
    """``y [runs, C]``: a marker at the mean, a bar of one standard deviation, a thin line to guide the eye."""
    spreads = [spread(column[np.isfinite(column)].tolist()) for column in y.T]
    mean = np.array([np.nan if s is None else s.mean for s in spreads])
    std = np.array([0.0 if s is None or s.std is None else s.std for s in spreads])
    line = ax.errorbar(x, mean, std, label=look.name, color=look.color, elinewidth=1.2)[0]
    line.set(linestyle=look.dash, marker=look.marker, markersize=6, linewidth=0.8)


def _line_over_classes(ax: Axes, x: Floats, y: Floats, look: Look, *, dots: bool) -> None:
    known = np.isfinite(y)
    if dots:
        ax.plot(x[known], y[known], ".", color=look.color, markersize=4 if len(x) > 300 else 6, alpha=0.35, zorder=1)
    half = _window(len(x)) // 2
    total = np.concatenate(([0.0], np.cumsum(np.where(known, y, 0))))
    number = np.concatenate(([0], np.cumsum(known)))
    low, high = np.maximum(np.arange(len(x)) - half, 0), np.minimum(np.arange(len(x)) + half + 1, len(x))
    n = number[high] - number[low]
    mean = np.where(n > 0, (total[high] - total[low]) / np.maximum(n, 1), np.nan)
    ax.plot(x, mean, color=look.color, linestyle=look.dash, label=look.name, linewidth=2)


def _window(classes: int) -> int:
    return max(5, classes // 15) | 1


def shot_bars(c: Comparison, looks: Looks) -> bytes:
    """One panel per class group, one bar per method: mean over seeds, standard deviation, a dot per seed (Fig. 5)."""
    panels = [(title, key) for key, title in c.measures.groups if any(g.values(c.measures[key]) for g in c.groups)]
    figure = new_figure(1.3 + 0.36 * max(len(c.groups), 3))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    rows = np.arange(len(c.groups))
    for ax, (title, key) in zip(axes, panels, strict=True):
        for row, group in zip(rows, c.groups, strict=True):
            values = [100 * v for v in group.values(c.measures[key]).values()]
            if (s := spread(values)) is None:
                continue
            ax.barh(row, s.mean, height=0.72, color=looks[group.label].color, alpha=0.85)
            if s.std is not None:
                ax.errorbar(s.mean, row, xerr=s.std, color="black", linewidth=1.2)
                ax.plot(values, [row + 0.22] * len(values), ".", color="black", markersize=3.5, clip_on=False)
            ax.text(max(s.mean + (s.std or 0), *values) + 2.5, row, f"{s.mean:.1f}", va="center", fontsize=9)
        ax.set(title=title, xlabel=f"Test {c.measures.per_class} (%)", xlim=(0, 122))
        ax.grid(visible=True, axis="x")
        ax.grid(visible=False, axis="y")
        ax.set_xticks([0, 25, 50, 75, 100])
    axes[0].set_yticks(rows, [looks[g.label].name for g in c.groups])
    axes[0].invert_yaxis()
    return png(figure)


def learning_curves(c: Comparison, looks: Looks) -> bytes | None:
    """Training loss, held-out accuracy and learning rate over epochs, mean over seeds with a band."""
    kind = "Balanced accuracy" if "balanced" in c.validation else "Accuracy"
    panels = (
        ("train_loss", 1, "Training loss", "Loss"),
        (c.validation, 100, f"{kind} on the held-out (difficulty) split", f"{kind} (%)"),
        ("lr", 1, "Learning rate", "Rate"),
    )
    return _over_epochs(c, looks, panels)


def tau_and_bias(c: Comparison, looks: Looks) -> bytes | None:
    """Performance bias over epochs, for the methods that have one, and the exponent tau where it is not constant."""
    tau = ("tau", 1, "Exponent τ of the weights, computed after the epoch", "τ")
    bias = ("bias", 1, "Performance bias after the epoch (of the smoothed performance)", "Bias")
    return _over_epochs(c, looks, (tau, bias) if varies(c, "tau") else (bias,))


def varies(c: Comparison, column: str) -> bool:
    """Whether a column of the histories changes in any run."""
    rows = (row[np.isfinite(row)] for group in c.groups for row in group.series(column)[1])
    return any(len(row) and np.ptp(row) > 1e-6 * max(1.0, abs(row).max()) for row in rows)


def _over_epochs(c: Comparison, looks: Looks, panels: Sequence[tuple[str, float, str, str]]) -> bytes | None:
    drawn = [
        (panel, [(g, *series) for g in c.groups if np.isfinite((series := g.series(panel[0]))[1]).any()])
        for panel in panels
    ]
    drawn = [(panel, lines) for panel, lines in drawn if lines]
    if not drawn:
        return None
    heights = [0.6 if column == "lr" else 1 for (column, *_), _ in drawn]
    figure = new_figure(0.8 + 2.3 * sum(heights))
    axes = figure.subplots(len(drawn), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, ((column, scale, title, unit), lines) in zip(axes, drawn, strict=True):
        for group, epochs, values in sorted(lines, key=lambda line: line[0] is c.baseline):
            _band(ax, epochs, scale * values, looks[group.label])
        ax.set(title=title, ylabel=unit)
        low = min(np.nanmin(values) for _, _, values in lines)
        high = max(np.nanmax(values) for _, _, values in lines)
        if (column == "lr" and low > 0 and high > 5 * low) or (column == "train_loss" and low > 0 and high > 50 * low):
            ax.set_yscale("log")
            ax.set_ylabel(f"{unit} (log scale)")
    for border in _stage_borders(c):
        for ax in axes:
            ax.axvline(border, color="#888888", linewidth=1, linestyle=(0, (2, 2)))
    _epoch_axis(axes[-1])
    widest = max(axes, key=lambda ax: len(ax.get_legend_handles_labels()[1]))
    legend(figure, widest)
    return png(figure)


def _epoch_axis(ax: Axes) -> None:
    ax.set_xlabel("Epoch")
    ax.margins(x=0.015)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def _band(ax: Axes, epochs: Floats, values: Floats, look: Look) -> None:
    """``values [runs, E]``: the mean, and a band from the lowest to the highest run."""
    known = np.isfinite(values).any(0)
    epochs, values = epochs[known], values[:, known]
    mean = np.nanmean(values, axis=0)
    marker = look.marker if len(epochs) == 1 else ""
    ax.plot(epochs, mean, color=look.color, linestyle=look.dash, marker=marker, label=look.name)
    if len(values) > 1:
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        ax.fill_between(epochs, low, high, color=look.color, alpha=0.15, linewidth=0)


def _stage_borders(c: Comparison) -> list[float]:
    borders = set()
    for run in (run for group in c.groups for run in group.runs):
        stages, epochs = run.history.get("stage", ()), run.history.get("epoch", ())
        borders |= {float(epochs[i]) - 0.5 for i in range(1, len(stages)) if stages[i] != stages[i - 1]}
    return sorted(borders)


def difficulty(c: Comparison, run: Run, measured: Difficulty, name: str) -> bytes:
    """Difficulty of each class over epochs, and its weight if the method has weights: one run."""
    ranks = _Ranks.of(c)
    title = f"{name}, seed {run.seed}" if run.seed is not None else name
    raw = measured.measured is not None
    unit = "1 - performance, measured" if raw else "1 - performance, as recorded"
    panels = [("shown", f"{'Measured difficulty' if raw else 'Difficulty'} ({title})", unit)]
    if measured.weighted and measured.acting_weight is not None:
        panels.append(("acting_weight", f"Acting class weight ({title})", "Weight in the epoch (1 = neutral)"))
    elif measured.weighted:
        panels.append(("weight", f"Class weight ({title})", "Weight after the epoch (1 = neutral)"))
    lines = len(ranks) <= LINED_CLASSES
    figure = new_figure(3.6 if lines else 4.6 if len(ranks) > NAMED_CLASSES else 2 + 0.17 * len(ranks))
    axes = figure.subplots(1, len(panels), sharex=True, sharey=not lines, squeeze=False)[0]
    for ax, (field, heading, unit) in zip(axes, panels, strict=True):
        values = getattr(measured, field)[:, ranks.order]
        (_class_lines if lines else _class_map)(figure, ax, measured.epochs, values, ranks, field, unit)
        ax.set_title(heading)
        _epoch_axis(ax)
    if lines:
        legend(figure, axes[0], title="Class (training samples)")
    else:
        ranks.label(axes[0], vertical=True)
    return png(figure)


def _class_lines(
    figure: Figure, ax: Axes, epochs: Floats, values: Floats, ranks: _Ranks, field: str, unit: str
) -> None:
    del figure
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(ranks)))
    counts = [""] * len(ranks) if ranks.counts is None else [f" ({n})" for n in ranks.counts]
    for column, color, name, n in zip(values.T, shades, ranks.names, counts, strict=True):
        ax.plot(epochs, column, color=color, label=name + n, marker="o" if len(epochs) == 1 else "", linewidth=1.5)
    if field == "shown":
        ax.set_ylim(-0.03, 1.03)
    else:
        ax.axhline(1, color="#888888", linewidth=1, linestyle=(0, (2, 2)), zorder=0)
    ax.set_ylabel(unit)


def _class_map(figure: Figure, ax: Axes, epochs: Floats, values: Floats, ranks: _Ranks, field: str, unit: str) -> None:
    middles = (epochs[1:] + epochs[:-1]) / 2
    edges = np.concatenate(([epochs[0] - 0.5], middles, [epochs[-1] + 0.5]))
    top = 1.0
    if field == "shown":
        cmap, norm = matplotlib.colormaps["magma_r"].with_extremes(bad=FAINT), Normalize(0, 1)
    else:
        top = max(float(np.nanquantile(values, 0.998)) if np.isfinite(values).any() else 0, 2.0)
        cmap, norm = matplotlib.colormaps["PuOr_r"].with_extremes(bad=FAINT), TwoSlopeNorm(1, 0, top)
    rows = np.arange(len(ranks) + 1) + 0.5
    mesh = ax.pcolormesh(edges, rows, np.ma.masked_invalid(values.T), cmap=cmap, norm=norm, rasterized=True)
    ax.set_ylim(len(ranks) + 0.5, 0.5)
    ax.grid(visible=False)
    for border in ranks.borders():
        ax.axhline(border, color="black", linewidth=0.8, linestyle=(0, (2, 2)))
    bar = figure.colorbar(mesh, ax=ax, label=unit, extend="neither" if field == "shown" else "max", pad=0.02)
    if field != "shown":
        bar.set_ticks([0, 0.5, 1, *np.linspace(1, top, 4)[1:]])
        bar.ax.yaxis.set_major_formatter("{x:.3g}")


def confusion(c: Comparison, group: Group, true: Sequence[int], predicted: Sequence[int], share: Floats) -> bytes:
    """Of each class ``true`` the share of answers: ``share [len(true), len(predicted) + 1]``, last column: others."""
    names = c.data.class_names
    columns = [*names_of(names, predicted), "any other"] if share[:, -1].any() else names_of(names, predicted)
    values = 100 * share[:, : len(columns)]
    figure = new_figure(2.2 + 0.36 * len(true))
    ax = figure.subplots()
    image = ax.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            right = j < len(predicted) and predicted[j] == true[i]
            if value >= 0.5 or right:
                color = "white" if value > 55 else "black"
                ax.text(j, i, f"{value:.0f}", ha="center", va="center", color=color, fontsize=9)
            if right:
                ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=VERMILION, linewidth=2))
    ax.set_xticks(np.arange(len(columns)), columns)
    _turn_if_crowded(ax, columns)
    ax.set_yticks(np.arange(len(true)), names_of(names, true, 28))
    ax.grid(visible=False)
    what = "All tested classes" if len(names) <= LINED_CLASSES else f"The {len(true)} hardest classes"
    ax.set(
        xlabel="Predicted class", ylabel="True class", title=f"{what}, {drawable(short(group.label), 'best method')}"
    )
    figure.colorbar(image, ax=ax, label="Share of the class's test samples (%)", pad=0.02)
    return png(figure)
