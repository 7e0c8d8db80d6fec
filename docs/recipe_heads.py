"""What each recipe of `longtail.paper` begins with: result, time, hardware and command, from ``results/*.csv``."""

from __future__ import annotations

import math
import re
import textwrap

from measured import Results, with_spread

__all__ = ["filled", "head"]

SHOWN = ("ce", "focal", "rfs", "tau=2", "sigmoid", "default", "cdb-s", "cdb-w", "cdb-w-cls", "balanced-softmax")
"""The rows of a table whose numbers stand in its head, where it has them."""
RUNS = {"figure1": ("comparison", "ce"), "figure5": ("figure5", ""), "figure4": ("figure4", "")}
"""The tables whose runs a figure is drawn from, and the row among them; the other figures need no run."""
DRAWN = ("figure2", "figure3")
"""Figures that are drawn from formulas."""
HEAD = re.compile(r"^Result:.*?^Command:.*?(?=^$|^\"\"\")", re.DOTALL | re.MULTILINE)


def filled(source: str, name: str, results: Results) -> str:
    """The source of a recipe's module with its head filled; it must hold one."""
    found = HEAD.search(source)
    if found is None:
        raise SystemExit(f"src/longtail/paper/{name}.py does not begin with Result, Time, Hardware and Command")
    return source[: found.start()] + head(name, results) + source[found.end() :]


def head(name: str, results: Results) -> str:
    """The four entries; a figure's result is its picture, beside the numbers behind it."""
    picture = [f"docs/_static/{name}.png"] if name.startswith("figure") else []
    command = f"longtail reproduce {name}"
    if name in DRAWN:
        return _text(picture, ["seconds; it is drawn from formulas"], ["any"], [f"{command} --out OUT"])
    table, only = RUNS.get(name, (name, ""))
    cells = [
        row for row in results.rows if row["table"] in (table, f"{table}-small") and (not only or row["row"] == only)
    ]
    if name == "figure1":
        cells = [row for row in cells if row["column"] == "cifar100-100" and row["table"] == table]
    if not cells:
        return _text(["not run yet"], ["not measured"], ["not measured"], [f"{command} --out OUT"])
    times, commands = [], []
    for small in (False, True):
        mine = [row for row in cells if row["table"].endswith("-small") == small]
        if not mine:
            continue
        label = ", small scale" if small and len(mine) < len(cells) else ""
        times.append(_time(mine, results) + label)
        columns = f" --columns {' '.join(dict.fromkeys(row['column'] for row in mine))}"
        precision = " --precision bf16" if any("bf16" in row["hardware"] for row in mine) else ""
        scale = " --scale small" if small else ""
        commands.append(f"{command}{'' if picture else columns}{scale}{precision} --out {'SMALL' if label else 'OUT'}")
    hardware = "; ".join(dict.fromkeys(row["hardware"] for row in cells))
    return _text(picture + _results(cells), times, [hardware], commands)


def _time(cells: list[dict[str, str]], results: Results) -> str:
    """Mean and sum of the training times; several measures of a run are one run."""
    runs = {
        run["run"]: float(run["seconds"])
        for row in cells
        for run in results.runs[row["table"], row["column"], row["row"]].values()
    }
    total = math.fsum(runs.values())
    if len(runs) == 1:
        return f"{_duration(total)}, one run"
    return f"{_duration(total / len(runs))} a run, {_duration(total)} for the {len(runs)} runs one after the other"


def _results(cells: list[dict[str, str]]) -> list[str]:
    """A line a column: its main rows as mean ± standard deviation (seeds), and what the paper prints."""
    lines = []
    for table, column in dict.fromkeys((row["table"], row["column"]) for row in cells):
        small = table.endswith("-small")
        told = []
        for row in cells:
            if (row["table"], row["column"]) == (table, column) and row["row"] in SHOWN:
                told.append(f"{row['row']} {with_spread(row)}")
                if row["paper"] and not small:
                    told[-1] += f", paper {row['paper']}"
        lines.append(f"{column}{', small scale' if small else ''}: {'; '.join(told)}")
    return lines


def _text(result: list[str], time: list[str], hardware: list[str], command: list[str]) -> str:
    lines = []
    for title, texts in {"Result": result, "Time": time, "Hardware": hardware, "Command": command}.items():
        first = [f"{title}: {texts[0]}"] if len(texts) == 1 else [f"{title}:", *(f"    {text}" for text in texts)]
        for line in first:
            indent = " " * (len(line) - len(line.lstrip()) + 4)
            lines += textwrap.wrap(line, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{line}\n" for line in lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
