"""The table of trainers: lines counted in the examples, and what tests show of each.

A test of ``tests/integrations/test_TRAINER.py`` that carries ``@pytest.mark.shows(column, cell)`` fills a cell, so that
the table says nothing that no test holds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

__all__ = ["COLUMNS", "TRAINERS", "marked_lines", "shown", "trainers_table"]

TRAINERS = {
    "plain": "plain PyTorch, DDP",
    "accelerate": "Accelerate",
    "lightning": "Lightning",
    "transformers": "Hugging Face Trainer",
    "timm": "timm",
}
COLUMNS = ("one process", "two processes", "stopped and resumed", "classes drawn")


def marked_lines(example: Path) -> list[str]:
    """The lines of an example that are there for longtail."""
    return [line for line in example.read_text(encoding="utf-8").splitlines() if "# longtail" in line]


def shown(module: Path) -> Iterator[tuple[str, str, str]]:
    """Column, cell and the test that shows it, of each mark in a module."""
    body = ast.parse(module.read_text(encoding="utf-8")).body
    for node in (node for node in body if isinstance(node, ast.FunctionDef)):
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.shows":
                column, cell = map(ast.literal_eval, mark.args)
                yield column, cell, node.name


def trainers_table(root: Path) -> str:
    lines = [f"| trainer | lines: CDB-W | CDB-S | {' | '.join(COLUMNS)} |", f"|---|---:|---:|{'---|' * len(COLUMNS)}"]
    for trainer, title in TRAINERS.items():
        counts = [len(marked_lines(root / "examples" / trainer / f"{name}.py")) for name in ("cdb_w", "cdb_s")]
        cells: dict[str, str] = {}
        for column, cell, _ in shown(root / "tests" / "integrations" / f"test_{trainer}.py"):
            cells[column] = cell
        row = [f"[{title}]({trainer}.md)", *map(str, counts), *(cells[column] for column in COLUMNS)]
        lines.append(f"| {' | '.join(row)} |")
    return "".join(f"{line}\n" for line in lines)
