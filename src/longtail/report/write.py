"""From a folder of runs to ``report.html`` and the CSV files beside it."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from longtail.advice import Finding, as_json, json_of
from longtail.errors import LongtailError
from longtail.report.advice import advise
from longtail.report.compared import Comparison, compare, headline
from longtail.report.find import find_runs
from longtail.report.runs import BrokenRun, Run
from longtail.report.tables import (
    Table,
    csv_text,
    difference_table,
    method_table,
    paired_rows,
    result_rows,
    summary_rows,
)

if TYPE_CHECKING:
    from longtail.report.page import Section

__all__ = ["Report", "write_report"]


@dataclasses.dataclass(frozen=True)
class Report:
    """What `write_report` wrote, and the same findings for a terminal.

    Args:
        html: The page.
        results: CSV, a row per run.
        summary: CSV, a row per method.
        paired: CSV, a row per method and measure: paired differences to the baseline.
        checks: JSON, a list of what the checks found, each with the data set's title as ``data``.
        figures: The PNG files.
        headline: Who won and by how much, one sentence a line.
        findings: What the checks found, the worst of each data set first.
        tables: Methods, and differences to the baseline where there are pairs, for each data set.
        problems: Runs that are unfinished or broken: path and reason.
    """

    html: Path
    results: Path
    summary: Path
    paired: Path
    checks: Path
    figures: tuple[Path, ...]
    headline: tuple[str, ...]
    findings: tuple[Finding, ...]
    tables: tuple[Table, ...]
    problems: tuple[tuple[str, str], ...]


def write_report(folder: str | os.PathLike[str], *, baseline: str | None = None) -> Report:
    """Compare all finished runs in and below a folder.

    Args:
        folder: A run folder, a comparison folder (``LABEL/seed-<k>`` below it), or any folder above such folders.
        baseline: Label of the method that the others are compared with; None: ``ce`` where there is one.

    Returns:
        Paths and findings. Every file is replaced as a whole; a failure leaves the old ones.

    Raises:
        LongtailError: no such folder, no finished run in it, no such baseline, or the files cannot be written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LongtailError(f"{folder} is not a folder: give the --out folder of train or compare")
    runs, broken = find_runs(folder)
    runs, unfit = _usable(runs)
    broken += unfit
    if not runs:
        found = f" ({broken[0].path}: {broken[0].reason})" if broken else ""
        raise LongtailError(f"no finished run in {folder}{found}: train one with longtail train or longtail compare")
    comparisons = compare(runs, baseline=baseline)
    files = {
        "results.csv": csv_text(result_rows(comparisons), ("method", "seed"), ("epochs", "seconds", "data", "run")),
        "summary.csv": csv_text(summary_rows(comparisons), ("method", "n"), ("data",)),
        "paired.csv": csv_text(
            paired_rows(comparisons), ("method", "baseline", "metric", "n", "mean", "std", "low", "high"), ("data",)
        ),
    }
    found = [(c.title, advise(c)) for c in comparisons]
    files["checks.json"] = json_of([row for title, own in found for row in as_json(own, data=title)])
    sections, pictures = _sections(comparisons)
    problems = tuple(
        [(b.path, b.reason) for b in broken]
        + [(run.relative, problem) for run in runs for problem in dict.fromkeys(run.problems)]
    )
    files["report.html"] = _page(folder, comparisons, sections, problems)
    contents = {name: text.encode("utf-8") for name, text in files.items()}
    _write(folder, {**{f"figures/{name}": png for name, png in pictures.items()}, **contents})
    tables = [t for c in comparisons for t in (method_table(c, c.brief), difference_table(c, c.brief)) if t is not None]
    return Report(
        html=folder / "report.html",
        results=folder / "results.csv",
        summary=folder / "summary.csv",
        paired=folder / "paired.csv",
        checks=folder / "checks.json",
        figures=tuple(folder / "figures" / name for name in pictures),
        findings=tuple(finding for _, own in found for finding in own),
        headline=tuple(line for section in sections for line in _with_title(section, len(sections))),
        tables=tuple(tables),
        problems=problems,
    )


def _usable(runs: Sequence[Run]) -> tuple[list[Run], list[BrokenRun]]:
    """The runs with which everything can be computed, and the others: one does not stop the report of all."""
    good, bad = [], []
    for run in runs:
        try:
            (alone,) = compare([run])
            _ = headline(alone), method_table(alone, alone.shown), result_rows([alone]), summary_rows([alone])
            _ = run.per_class, run.difficulty, run.answers, run.split_digests, run.confusion([0])
            _ = run.examples, run.near_copies
            _ = [alone.best.series(column) for column in ("train_loss", "lr", "tau", "bias", alone.validation)]
            good.append(run)
        except LongtailError as error:
            bad.append(BrokenRun(run.relative, str(error)))
        except Exception as error:  # its files hold what nobody expects
            reason = f"its files do not fit together ({type(error).__name__}: {str(error)[:200]})"
            bad.append(BrokenRun(run.relative, reason))
    return good, bad


def _with_title(section: Section, number: int) -> Sequence[str]:
    return section.headline if number == 1 else [f"{section.title}: {section.headline[0]}", *section.headline[1:]]


def _sections(comparisons: Sequence[Comparison]) -> tuple[list[Section], dict[str, bytes]]:
    try:
        from longtail.lettering import lettering_note
        from longtail.report.blocks import BLOCKS
        from longtail.report.page import Section
        from longtail.report.style import looks, uniform_style
    except ImportError as error:
        raise LongtailError(f"a report needs {error.name}: pip install 'longtail[train]'") from None

    labels = sorted({group.label for c in comparisons for group in c.groups})
    all_looks = looks(labels, next((c.baseline.label for c in comparisons if c.baseline and len(c.groups) > 1), None))
    sections, pictures = [], {}
    with uniform_style():
        for i, c in enumerate(comparisons):
            blocks = [block for make in BLOCKS if (block := make(c, all_looks)) is not None]
            prefix = f"{_slug(c.title)}-" if len(comparisons) > 1 else ""
            for picture in (p for block in blocks for p in block.pictures):
                name = _slug(prefix + picture.name)
                while f"{name}.png" in pictures:
                    name += "_"
                pictures[f"{name}.png"] = picture.png
            sections.append(
                Section(f"data-{i + 1}", c.title, (*headline(c), *lettering_note(c.data.class_names)), tuple(blocks))
            )
    return sections, pictures


def _page(
    folder: Path, comparisons: Sequence[Comparison], sections: Sequence[Section], problems: Sequence[tuple[str, str]]
) -> str:
    from longtail.report.page import render

    name = folder.resolve().name.encode("utf-8", errors="replace").decode("utf-8") or "runs"
    runs = sum(len(group.runs) for c in comparisons for group in c.groups)
    methods = len({group.label for c in comparisons for group in c.groups})
    counted = [(runs, "finished run"), (methods, "method"), (len(comparisons), "data set")]
    subtitle = ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counted) + "."
    return render(f"longtail report: {name}", subtitle, sections, problems)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.=-]+", "-", text).strip("-.") or "figure"


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    """Write all files beside their places, then move each into its place; the page comes last."""
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
        (temporary / "figures").mkdir()
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
        (folder / "figures").mkdir(exist_ok=True)
        for name in contents:
            os.replace(temporary / name, folder / name)
    except OSError as error:
        raise LongtailError(f"cannot write the report into {folder}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
