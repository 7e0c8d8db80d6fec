"""Write the measured numbers into README.md and docs/*.md, so that none of them is typed by hand.

A page holds a pair of markers, and this script fills what lies between them from ``results/*.csv``:

    <!-- results: table1 mnist-99 mnist-199 -->  ...  <!-- /results -->     a table of results/paper.csv, its columns
    <!-- results: table1 mnist-99 | ce cdb-w -->  ...  <!-- /results -->    the same with these rows only
                                                                           without any: the command that makes it
    <!-- benchmarks -->  ...  <!-- /benchmarks -->                          results/benchmarks.csv
    <!-- defaults -->  ...  <!-- /defaults -->                              results/defaults.csv
    <!-- options -->  ...  <!-- /options -->                                results/options.csv
    <!-- defer -->  ...  <!-- /defer -->                                    results/defer.csv
    <!-- start -->  ...  <!-- /start -->                                    results/start.csv

Usage: ``python docs/build_tables.py`` writes; ``--check`` only says which pages are out of date (exit code 1).
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = "results|benchmarks|defaults|options|defer|start"
MARKERS = re.compile(rf"(<!-- ({KINDS})(?:: ([^>]*?))? -->)(.*?)(<!-- /\2 -->)", re.DOTALL)


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; none if the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def ours(row: dict[str, str]) -> str:
    """Mean and standard deviation over seeds, and how many seeds."""
    spread = f" ± {float(row['std']):.2f}" if row["std"] and int(row["n"]) > 1 else ""
    return f"{float(row['mean']):.2f}{spread} ({row['n']})"


def results_table(rows: list[dict[str, str]], table: str, columns: list[str], names: list[str]) -> str:
    """One line a method; for each column our mean ± std (number of seeds), beside what the paper prints if it does."""
    rows = [row for row in rows if row["table"] == table and (not columns or row["column"] in columns)]
    rows = [row for row in rows if not names or row["row"] in names]
    columns = columns or list(dict.fromkeys(row["column"] for row in rows))
    cells = {(row["row"], row["column"]): row for row in rows}
    printed = {row["column"] for row in rows if row["paper"] and not table.endswith("-small")}  # of the full size only
    header = [""]
    for column in columns:
        header += [f"{column}: ours", "paper"] if column in printed else [column]
    body = []
    for name in dict.fromkeys(row["row"] for row in rows):
        line = [f"`{name}`"]
        for column in columns:
            cell = cells.get((name, column))
            line.append(ours(cell) if cell else "–")
            if column in printed:
                line.append(cell["paper"] or "–" if cell else "–")
        body.append(line)
    return markdown(header, body) if body else ""


def benchmarks_table(rows: list[dict[str, str]]) -> str:
    header = ["what", "size", "ours", "compared with", "ratio", "hardware"]
    keys = ["name", "size", "ours", "other", "ratio", "hardware"]
    return markdown(header, [[row[key] for key in keys] for row in rows]) if rows else ""


def defaults_table(rows: list[dict[str, str]]) -> str:
    """One line a configuration; for each task the validation score of the last epoch and of the last quarter."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    cells = {(row["method"], row["options"], row["task"]): row for row in rows}
    body = []
    for method, options in dict.fromkeys((row["method"], row["options"]) for row in rows):
        line = [f"`{' '.join((method, options)).strip()}`"]
        for task in tasks:
            cell = cells.get((method, options, task))
            line += (
                [ours(cell | {"mean": cell["last"], "std": cell["last_std"]}), cell["last_quarter"]]
                if cell
                else ["–"] * 2
            )
        body.append(line)
    header = ["", *(title for task in tasks for title in (f"{task}: last epoch", "last quarter"))]
    return markdown(header, body) if body else ""


def fill(text: str, root: Path = ROOT) -> str:
    """The page's text with every pair of markers filled."""

    def replace(match: re.Match[str]) -> str:
        opening, kind, arguments, _, closing = match.groups()
        if kind == "benchmarks":
            table = benchmarks_table(read(root / "results" / "benchmarks.csv"))
        elif kind == "results":
            chosen, _, names = arguments.partition("|")
            name, *columns = chosen.split()
            table = results_table(read(root / "results" / "paper.csv"), name, columns, names.split())
            scale = " --scale small" if name.endswith("-small") else ""
            command = f"longtail reproduce {name.removesuffix('-small')} --columns {' '.join(columns)}{scale}"
            table = table or f"Not run yet: `{command}`.\n"
        else:
            table = defaults_table(read(root / "results" / f"{kind}.csv"))
        return f"{opening}\n\n{table}\n{closing}" if table else f"{opening}{closing}"

    return MARKERS.sub(replace, text)


def main(arguments: list[str]) -> int:
    stale = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        if (filled := fill(text)) != text:
            stale.append(page.relative_to(ROOT))
            if "--check" not in arguments:
                page.write_text(filled, encoding="utf-8")
    for page in stale:
        print(page)
    return int("--check" in arguments and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
