"""How every figure looks: sizes, colours, text that any font can draw. Imports matplotlib, never pyplot."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from longtail.lettering import drawable, families
from longtail.names import distinct_names
from longtail.palette import COLOURS, YELLOW

__all__ = ["FAINT", "Look", "drawable", "legend", "looks", "names_of", "new_figure", "png", "short", "uniform_style"]

WIDTH = 10.5  # inches; the page shows figures at most that wide
FAINT = "#d9d9d9"
_BASELINE = "#4d4d4d"
_COLORS = tuple(colour for colour in COLOURS if colour != YELLOW)  # which is pale on white
_MARKERS = "osD^vP"
_DASHES = ("-", "--", ":", "-.")


class Look:
    """Colour, line and marker of one method, the same in every figure."""

    def __init__(self, label: str, position: int | None) -> None:
        """``position``: counts the methods other than the baseline; None is the baseline."""
        self.name = drawable(short(label), label)
        self.color = _BASELINE if position is None else _COLORS[position % len(_COLORS)]
        self.dash = "-" if position is None else _DASHES[position // len(_COLORS) % len(_DASHES)]
        self.marker = "X" if position is None else _MARKERS[position % len(_MARKERS)]


def looks(labels: Sequence[str], baseline: str | None) -> dict[str, Look]:
    """A look for each label; the baseline is grey."""
    others = [label for label in dict.fromkeys(labels) if label != baseline]
    return {label: Look(label, i) for i, label in enumerate(others)} | (
        {} if baseline is None else {baseline: Look(baseline, None)}
    )


@contextlib.contextmanager
def uniform_style() -> Iterator[None]:
    """matplotlib's own defaults and ours on top, whatever the user's matplotlibrc says; restored afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.family": list(families()),
                "font.size": 10,
                "axes.titlesize": 11,
                "axes.titleweight": "bold",
                "axes.titlelocation": "left",
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.axisbelow": True,
                "axes.grid": True,
                "axes.grid.axis": "y",
                "grid.color": "#e6e6e6",
                "legend.frameon": False,
                "legend.fontsize": 9,
                "lines.linewidth": 1.8,
                "errorbar.capsize": 2.5,
            }
        )
        yield


def new_figure(height: float) -> Figure:
    """An empty figure of the page's width and of ``height`` inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def png(figure: Figure) -> bytes:
    """The figure as a PNG of about 1600 pixels width."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150, facecolor="white")
    return out.getvalue()


def legend(figure: Figure, axes: Axes, *, title: str | None = None) -> None:
    """One legend for the figure, right of all data."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside right upper", title=title, alignment="left")


def short(text: str, length: int = 26) -> str:
    """At most ``length`` letters: the beginning and the end, since names that differ often differ there."""
    if len(text) <= length:
        return text
    end = length // 2 - 1
    return f"{text[: length - end - 1].rstrip()}…{text[-end:].lstrip()}"


def names_of(class_names: Sequence[str], order: Sequence[int], length: int = 20) -> list[str]:
    """Tick labels of the classes ``order``; those that look alike when they are short get their numbers."""
    names = distinct_names([short(name, length) for name in class_names])
    return [drawable(names[c], f"class {c}") for c in order]
