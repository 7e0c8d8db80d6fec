"""What the benchmarks share: rows of results, fresh processes, alternation.

It imports no torch, so that the process that starts the others stays small: a child's peak of memory counts from there.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "Row", "alternate", "cores", "fresh_process", "hardware", "peak_mib", "save", "seconds"]

RESULTS = Path(__file__).resolve().parent.parent / "results" / "benchmarks.csv"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of ``results/benchmarks.csv``.

    Args:
        name: What is measured; ends in its unit.
        size: The problem's size, in words.
        ours, other: What was measured; a text where there is no number.
        ratio: ours / other; None without two numbers.
        target: Largest ratio that we are content with; None: for information.
    """

    name: str
    size: str
    ours: float | str
    other: float | str
    ratio: float | None = None
    target: float | None = None

    @classmethod
    def of(cls, name: str, size: str, ours: float, other: float, *, target: float | None = None) -> Row:
        """A row of two numbers."""
        return cls(name, size, ours, other, ours / other, target)

    def cells(self) -> list[str]:
        return [self.name, self.size, *map(_show, (self.ours, self.other, "" if self.ratio is None else self.ratio))]

    def __str__(self) -> str:
        name, size, ours, other, ratio = self.cells()
        line = f"{name}, {size}: ours {ours}, other {other}"
        if self.ratio is None:
            return line
        if self.target is None:
            return f"{line}, ratio {ratio}"
        return f"{line}, ratio {ratio} (target <= {self.target:g}: {'met' if self.ratio <= self.target else 'MISSED'})"


def _show(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware() -> str:
    """The processor, the cores in use and the versions that matter."""
    from importlib.metadata import version

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}; {cores()} cores; Python {platform.python_version()}; torch {version('torch')}"


def fresh_process(script: str, *arguments: object) -> Any:
    """Run a benchmark's script in a new Python process; returns what it printed last, read as JSON."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def seconds(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call, by default by the clock on the wall."""
    start = clock()
    call()
    return clock() - start


def alternate(
    *calls: Callable[[], object], repeats: int, warmup: int = 1, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Median seconds of each call; they take turns, in changing order, so that drift of the machine hits all alike."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(warmup + repeats):
        order = list(range(len(calls)))
        for side in order if turn % 2 else reversed(order):
            took = seconds(calls[side], clock)
            if turn >= warmup:
                times[side].append(took)
    return [statistics.median(taken) for taken in times]


def peak_mib() -> float:
    """Largest memory that this process ever held, in MiB (resident set)."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def save(rows: list[Row], command: str) -> None:
    """Enter the rows in ``results/benchmarks.csv`` in place of older ones of the same name and size."""
    header = ["name", "size", "ours", "other", "ratio", "hardware", "command"]
    lines: dict[tuple[str, str], list[str]] = {}
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            lines = {(line[0], line[1]): line for line in list(csv.reader(file))[1:]}
    machine = hardware()
    for row in rows:
        lines[row.name, row.size] = [*row.cells(), machine, command]
    RESULTS.parent.mkdir(exist_ok=True)
    fresh = RESULTS.with_suffix(".tmp")
    with fresh.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *lines.values()])
    fresh.replace(RESULTS)
