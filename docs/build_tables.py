"""Write the measured numbers into README.md and docs/*.md, so that none of them is typed by hand.

A page holds a pair of markers, and this script fills what lies between them from ``results/*.csv``:

    <!-- results: table1 mnist-99 mnist-199 -->  ...  <!-- /results -->     a table of results/paper.csv, its columns
    <!-- results: table1 mnist-99 | ce cdb-w -->  ...  <!-- /results -->    the same with these rows only
                                                                           without any: the command that makes it
    <!-- paired: comparison digits | ce cdb-w | vs cb -->  ...  <!-- /paired -->   rows vs and cb against ce and cdb-w:
                                                          differences paired by seed with 95 % intervals, paper-runs.csv
    <!-- number: table1 mnist-99 cdb-w std -->0.50<!-- /number -->          one number, in running text
    <!-- benchmarks -->  ...  <!-- /benchmarks -->                          results/benchmarks.csv
    <!-- defaults -->  ...  <!-- /defaults -->                              results/defaults.csv
    <!-- options -->  ...  <!-- /options -->                                results/options.csv
    <!-- defer -->  ...  <!-- /defer -->                                    results/defer.csv
    <!-- start -->  ...  <!-- /start -->                                    results/start.csv
    <!-- crossfit: mean | SET ... | OTHER [| ROW; ...] -->  ...  <!-- /crossfit -->    results/crossfit.csv: measures,
                                                          paired by draw with OTHER, with 95 % intervals
    <!-- seeded: FILE | COLUMN=VALUE ... | ROWS | MEASURE ... | OTHER [| NAME; ...] -->  ...  <!-- /seeded -->
                                                          results/FILE.csv with a row per run, see ``seeded.py``
    <!-- checks -->  ...  <!-- /checks -->                                  the list of checks in the code
    <!-- data -->  ...  <!-- /data -->                                      the catalogue of data sets in the code
    <!-- trainers -->  ...  <!-- /trainers -->                              what the tests show of each trainer
    <!-- detr -->  ...  <!-- /detr -->                                      results/detr.csv

A number is ``TABLE COLUMN ROW [below|above|times [COLUMN/]OTHER] [WHAT] [.DIGITS]``. WHAT is ``mean`` (the default),
``std``, ``spread`` (mean ± standard deviation), ``se`` (the standard error), ``last`` (mean of the last epochs),
``val`` (mean on the validation split), ``accuracy`` (100 - mean, of errors), ``n`` or ``paper`` (the mean that the
paper prints). ``below`` is OTHER - ROW and ``above`` ROW - OTHER, paired by seed: their mean, or ``interval``,
``both``, ``least`` and ``most`` (of the seeds). ``times`` is the ratio of the means. OTHER may be ``paper``, its
printed mean.
DIGITS is 2 unless it is said.

Of ``crossfit.csv`` a number is ``crossfit | SET | ROW | MEASURE [| above ROW]``: a mean in %, or a difference with its
interval. Of the other files it is ``FILE | TASK | METHOD OPTIONS [| below or above METHOD OPTIONS] [| .DIGITS]``: the
validation accuracy of the last epoch, or a difference of two.

It fills the head of each recipe in ``src/longtail/paper`` (result, time, hardware, command), and writes
``src/longtail/methods/measured.csv``, the measurements on the method cards.

Usage: ``python docs/build_tables.py`` writes; ``--check`` only says which files are out of date (exit code 1).
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

import recipe_heads  # noqa: E402
from detr_table import detr_table  # noqa: E402
from measured import Results, interval, read, with_spread  # noqa: E402
from method_measurements import measurements  # noqa: E402
from seeded import seeded_table  # noqa: E402
from trainers_table import trainers_table  # noqa: E402

from crossfit import crossfit_number, crossfit_table  # noqa: E402
from longtail.report.statistics import Paired, rounded  # noqa: E402

KINDS = "results|paired|benchmarks|defaults|options|defer|start|crossfit|seeded|checks|data|trainers|detr"
MARKERS = re.compile(rf"(<!-- ({KINDS})(?:: ([^>]*?))? -->)(.*?)(<!-- /\2 -->)", re.DOTALL)
NUMBERS = re.compile(r"(<!-- number: ([^>]*?) -->)(.*?)(<!-- /number -->)", re.DOTALL)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def results_table(results: Results, table: str, columns: list[str], names: list[str]) -> str:
    """One line per method; for each column our mean ± std (number of seeds), beside what the paper prints."""
    rows = [row for row in results.rows if row["table"] == table and (not columns or row["column"] in columns)]
    rows = [row for row in rows if not names or row["row"] in names]
    columns = columns or list(dict.fromkeys(row["column"] for row in rows))
    printed = {row["column"] for row in rows if row["paper"] and not table.endswith("-small")}  # of the full size only
    header = [""]
    for column in columns:
        header += [f"{column}: ours", "paper"] if column in printed else [column]
    body = []
    for name in dict.fromkeys(row["row"] for row in rows):
        line = [f"`{name}`"]
        for column in columns:
            cell = results.cells.get((table, column, name))
            line.append(with_spread(cell) if cell else "–")
            if column in printed:
                line.append(cell["paper"] or "–" if cell else "–")
        body.append(line)
    return markdown(header, body) if body else ""


def paired_table(results: Results, table: str, column: str, others: list[str], names: list[str]) -> str:
    """One line per row, one column per baseline; row - baseline with its 95 % interval, and in how many seeds."""
    body = []
    for name in names:
        line = [f"`{name}`"]
        for other in others:
            found = None if name == other else results.difference((table, column, name), (table, column, other))
            told = "" if found is None else f"{rounded(found.mean, sign=True)} {interval(found)} ({found.n})"
            line.append(told.replace("  ", " ") or "–")
        body.append(line)
    return markdown(["", *(f"against `{other}`" for other in others)], body)


def number(results: Results, text: str) -> str:
    """What a ``number`` marker asks for; raises ValueError where the results do not hold it."""
    words = text.split()
    digits = int(words.pop()[1:]) if re.fullmatch(r"\.\d", words[-1]) else 2
    table, column, row, *rest = words
    cell = results.cells[table, column, row]
    if rest and rest[0] in ("below", "above", "times"):
        relation, place, *what = rest
        if place == "paper":
            distance = float(cell["mean"]) - _printed(cell)
            return rounded(distance if relation == "above" else -distance, digits)
        at, _, name = place.rpartition("/")
        other = (table, at or column, name)
        if relation == "times":
            return rounded(float(cell["mean"]) / float(results.cells[other]["mean"]), digits)
        pair = ((table, column, row), other)
        found = results.difference(*(pair if relation == "above" else pair[::-1]))
        if found is None:
            raise ValueError("no seed in common")
        return _of_difference(results, found, pair, relation, *what, digits=digits)
    (what,) = rest or ["mean"]
    runs = results.runs.get((table, column, row), {}).values()
    if what in ("last", "val"):
        return rounded(
            math.fsum(float(run[{"last": "last_test", "val": "val"}[what]]) for run in runs) / len(runs), digits
        )
    if what == "spread":
        return f"{rounded(float(cell['mean']), digits)} ± {rounded(float(cell['std']), digits)}"
    if what == "se":
        return rounded(float(cell["std"]) / math.sqrt(int(cell["n"])), digits)
    if what == "paper":
        return rounded(_printed(cell), digits)
    if what == "accuracy":
        return rounded(100 - float(cell["mean"]), digits)
    if what in ("mean", "std"):
        return rounded(float(cell[what]), digits)
    if what == "n":
        return cell["n"]
    raise ValueError(f"no {what!r}")


def ablation(folder: Path, text: str) -> str:
    """The same of a file of validation accuracies by task, method and options."""
    parts = [part.strip() for part in text.split("|")]
    digits = int(parts.pop()[1:]) if re.fullmatch(r"\.\d", parts[-1]) else 2
    name, task, row, *rest = parts
    last = {
        (line["task"], f"{line['method']} {line['options']}".strip()): float(line["last"])
        for line in read(folder / f"{name}.csv")
    }
    value = last[task, row]
    if rest:
        relation, _, other = rest[0].partition(" ")
        value = {"above": 1, "below": -1}[relation] * (value - last[task, other])
    return rounded(value, digits)


def _printed(cell: dict[str, str]) -> float:
    """The mean that the paper prints."""
    return float(cell["paper"].partition(" ")[0])


def _of_difference(
    results: Results, found: Paired, pair: tuple, relation: str, what: str = "mean", *, digits: int
) -> str:
    if what in ("interval", "both"):
        between = interval(found, digits)
        return between if what == "interval" else f"{rounded(found.mean, digits)} {between}"
    if what in ("least", "most"):
        ours, theirs = (results.runs[cell] for cell in pair)
        sign = 1 if relation == "above" else -1
        each = [sign * (float(ours[s]["test"]) - float(theirs[s]["test"])) for s in ours if s in theirs]
        return rounded({"least": min, "most": max}[what](each), digits)
    if what != "mean":
        raise ValueError(f"no {what!r}")
    return rounded(found.mean, digits)


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
            line += [with_spread(cell, mean="last", std="last_std"), cell["last_quarter"]] if cell else ["–"] * 2
        body.append(line)
    header = ["", *(title for task in tasks for title in (f"{task}: last epoch", "last quarter"))]
    return markdown(header, body) if body else ""


def checks_table() -> str:
    """One line a check, with a link to its section."""
    import longtail.report.advice  # noqa: F401  # registers the checks of runs
    from longtail.advice import CHECKS

    lines = ["| code | severity | what is seen |", "|---|---|---|"]
    lines += [f"| [{code}](#{code.lower()}) | {own.severity} | {own.title} |" for code, own in sorted(CHECKS.items())]
    return "".join(f"{line}\n" for line in lines)


def data_table() -> str:
    """One line a data set of the catalogue."""
    from longtail.config import RunConfig
    from longtail.data.catalogue import CATALOGUE
    from longtail.training.recipes import resolve

    lines = ["| `DATA` | what it is | `--task` | default network, pixels, epochs |", "|---|---|---|---|"]
    for entry in CATALOGUE.values():
        name = f"{entry.name}:{entry.place}" if entry.place else entry.name
        run = resolve(RunConfig(data=name, task=entry.task))
        network = f"`{run.model}`, {run.image_size or '-'}, {run.epochs}"  # rows of features have no size
        lines.append(f"| `{name}` | {entry.about} | `{entry.task}` | {network} |")
    return "".join(f"{line}\n" for line in lines).replace(":[DIR]", "[:DIR]")


def fill(text: str, root: Path = ROOT) -> str:
    """The page's text with every pair of markers filled."""
    results = Results(root / "results")

    def replace(match: re.Match[str]) -> str:
        opening, kind, arguments, _, closing = match.groups()
        if kind == "benchmarks":
            table = benchmarks_table(read(root / "results" / "benchmarks.csv"))
        elif kind == "checks":
            table = checks_table()
        elif kind == "data":
            table = data_table()
        elif kind == "detr":
            table = detr_table(root / "results" / "detr.csv")
        elif kind == "trainers":
            table = trainers_table(ROOT)
        elif kind == "crossfit":
            table = crossfit_table(arguments, markdown, root / "results" / "crossfit.csv")
        elif kind == "seeded":
            table = seeded_table(arguments, markdown, root / "results")
        elif kind == "results":
            chosen, _, names = arguments.partition("|")
            name, *columns = chosen.split()
            table = results_table(results, name, columns, names.split())
            scale = " --scale small" if name.endswith("-small") else ""
            command = f"longtail reproduce {name.removesuffix('-small')} --columns {' '.join(columns)}{scale}"
            table = table or f"Not run yet: `{command}`.\n"
        elif kind == "paired":
            (table, column), others, names = (part.split() for part in arguments.split("|"))
            table = paired_table(results, table, column, others, names)
        else:
            table = defaults_table(read(root / "results" / f"{kind}.csv"))
        return f"{opening}\n\n{table}\n{closing}" if table else f"{opening}{closing}"

    def inline(match: re.Match[str]) -> str:
        opening, arguments, _, closing = match.groups()
        try:
            if arguments.startswith("crossfit |"):
                found = crossfit_number(arguments, root / "results" / "crossfit.csv")
            else:
                found = ablation(root / "results", arguments) if "|" in arguments else number(results, arguments)
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise SystemExit(f"results/*.csv hold no number {arguments!r} ({error!r})") from error
        return f"{opening}{found}{closing}"

    return NUMBERS.sub(inline, MARKERS.sub(replace, text))


def outputs() -> Iterator[tuple[Path, str]]:
    """Every file that holds measured numbers, and what it should hold."""
    pages = (page for folder in ("docs", "docs/trainers") for page in sorted((ROOT / folder).glob("*.md")))
    for page in [ROOT / "README.md", *pages]:
        yield page, fill(page.read_text(encoding="utf-8"))
    results = Results(ROOT / "results")
    for recipe in sorted((ROOT / "src" / "longtail" / "paper").glob("*.py")):
        if recipe.stem.startswith(("table", "figure", "comparison")):
            yield recipe, recipe_heads.filled(recipe.read_text(encoding="utf-8"), recipe.stem, results)
    yield ROOT / "src" / "longtail" / "methods" / "measured.csv", measurements(results)


def main(arguments: list[str]) -> int:
    stale = []
    for path, text in outputs():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT))
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(path)
    return int("--check" in arguments and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
