"""What the commands print, and which of several processes prints it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from longtail import activity

__all__ = ["is_main", "note", "report_on", "say", "say_metrics", "warn"]


def is_main() -> bool:
    """Whether this is the first of several processes."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str = "") -> None:
    """Print a line at once."""
    activity.spoke()
    print(text, flush=True)


def note(text: str) -> None:
    """Print a note on standard error."""
    print(f"note: {text}", file=sys.stderr)


def warn(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def say_metrics(metrics: dict[str, Any], title: str) -> None:
    """Print the numbers among the metrics of a split, which are fractions, in %."""
    say(f"{title}:")
    for key, value in metrics.items():
        if isinstance(value, float):
            say(f"  {key:<14} {100 * value:6.2f} %")


def report_on(folder: Path, *, baseline: str | None, quiet: bool = False) -> int:
    """Write the report of a folder and print its tables, or with ``quiet`` only where it is; returns the exit code.

    Raises:
        LongtailError: no finished run in or below the folder, or no such baseline.
    """
    from longtail.report import format_table, write_report

    activity.now(f"reading the runs of {folder} and drawing")
    report = write_report(folder, baseline=baseline)
    if not quiet:
        for table in report.tables:
            say(format_table(table) + "\n")
        for line in report.headline:
            say(line)
        for path, reason in report.problems:
            say(f"left out: {path}: {reason}")
        for told in dict.fromkeys(f"{f.severity} {f.code}: {f.title}" for f in report.findings if f.severity != "note"):
            say(told)
    say(f"report: {report.html}")
    return 0
