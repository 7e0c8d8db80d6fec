"""Pages that are written from the code when the documentation is built: method cards and the command line's help."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from longtail.methods import Method, get_method, list_methods
from longtail.methods._card import for_page

__all__ = ["write_help", "write_methods"]


def method_page(method: Method) -> str:
    """Title, card, defaults, presets and BibTeX of a method."""
    parts = [f"# {method.title}", f"Identifier: `{method.name}`. Class: `longtail.methods.{type(method).__name__}`."]
    if method.needs_held_out:
        parts.append("Needs a held-out split.")
    parts.append(for_page(method).strip())
    if fields := dataclasses.fields(method):
        rows = [f"| `{field.name}` | `{getattr(method, field.name)!r}` |" for field in fields]
        parts.append("\n".join(["## Defaults", "", "| hyperparameter | default |", "|---|---|", *rows]))
    if presets := method.presets():
        rows = [
            f"| `{name}` | {', '.join(f'`{key}={value!r}`' for key, value in values.items())} |"
            for name, values in presets.items()
        ]
        use = f"`get_method({method.name!r}, preset=...)`, or `--method-kwargs preset=...` on the command line."
        parts.append("\n".join(["## Presets", "", use, "", "| preset | hyperparameters |", "|---|---|", *rows]))
    parts.append(f"## Citation\n\n```bibtex\n{method.reference.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def write_methods(folder: Path) -> None:
    """A page a method, and an index of them."""
    methods = [get_method(name) for name in list_methods()]
    rows = [
        f"| [`{m.name}`]({m.name}.md) | {m.title} | {'a held-out split' if m.needs_held_out else 'no held-out split'} |"
        for m in methods
    ]
    toctree = "\n".join(["```{toctree}", ":hidden:", "", *(m.name for m in methods), "```"])
    table = "\n".join(["| identifier | method | needs |", "|---|---|---|", *rows])
    intro = "Each card is the docstring of the method's class; `longtail methods NAME` prints the same."
    pages = {"index": f"# Method cards\n\n{intro}\n\n{table}\n\n{toctree}\n"}
    pages |= {method.name: method_page(method) for method in methods}
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        write(folder / f"{name}.md", text)


def write_help(folder: Path, commands: Sequence[str]) -> None:
    """What ``longtail COMMAND --help`` prints, a file each; ``longtail.txt`` is that of ``longtail --help``."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    for command in ["", *commands]:
        arguments = [sys.executable, "-m", "longtail", *command.split(), "--help"]
        run = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
        text = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout)
        write(folder / f"{command or 'longtail'}.txt", "\n".join(line.rstrip() for line in text.splitlines()) + "\n")


def write(path: Path, text: str) -> None:
    """Write only what changed, so that Sphinx rebuilds only what changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
