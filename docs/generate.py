"""Pages that are written from the code when the documentation is built: method cards and the command line's help."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path

from longtail.commands import COMMANDS
from longtail.methods import Method, get_method, list_methods
from longtail.methods._card import for_page
from longtail.methods._groups import TASKS, groups
from longtail.options import Option, examples_of, options_of, summary_of

__all__ = ["write_api", "write_commands", "write_methods"]


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
    toctree = "\n".join(["```{toctree}", ":hidden:", "", *(m.name for m in methods), "```"])
    table = "\n".join(["| method | name | " + " | ".join(TASKS) + " |", "|---|---|" + ":-:|" * len(TASKS)])
    tables = []
    for need, members in groups().items():
        marks = {m.name: " | ".join("✓" if task in m.tasks else "" for task in TASKS.values()) for m in members}
        rows = [f"| [{m.title}]({m.name}.md) | `{m.name}` | {marks[m.name]} |" for m in members]
        tables.append("\n".join([f"## {need}", "", table, *rows]))
    table = "\n\n".join(tables)
    intro = (
        "In groups by what they need, each method under what is asked most. A card is the docstring of "
        "the method's class; `longtail methods NAME` prints the same."
    )
    pages = {"index": f"# Method cards\n\n{intro}\n\n{table}\n\n{toctree}\n"}
    pages |= {method.name: method_page(method) for method in methods}
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        write(folder / f"{name}.md", text)


def command_page(name: str) -> str:
    """A command's section: what it does, examples, and its options in groups, each with an anchor."""
    command, train = COMMANDS[name], {option.name: option for option in options_of(COMMANDS["train"])}
    options = options_of(command)
    words = [f"longtail {name}", *(option.metavar for option in options if option.group == "positional")]
    parts = [f"## longtail {name}", summary_of(command), f"```{{program}} longtail {name}\n```"]
    lines = "\n".join([" ".join(words) + " [OPTION ...]" * (len(options) >= len(words)), "", *examples_of(command)])
    parts.append(f"```text\n{lines.strip()}\n```")
    shared = [option for option in options if name == "compare" and train.get(option.name) == option]
    if shared:
        parts.append("Beside the following it takes all options of [longtail train](#longtail-train).")
    group = ""
    for option in options:
        if option in shared:
            continue
        if option.group not in (group, "positional"):
            group = option.group
            parts.append(f"### {name}: {group}")
        parts.append(option_entry(option))
    return "\n\n".join(parts) + "\n"


def option_entry(option: Option) -> str:
    """One option with its anchor."""
    default = f" Default: `{option.shown_default}`." if option.shown_default else ""
    if option.group == "positional":
        return f"`{option.metavar}`\n: {option.help}{default}"
    flags = ", ".join(f"{flag} {option.metavar}".strip() for flag in option.flags)
    return f"````{{option}} {flags}\n{option.help}{default}\n````"


def write_commands(folder: Path) -> None:
    """``commands.md``: all commands with their options."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.txt"):  # as they were printed, of former versions
        old.unlink()
    write(folder / "commands.md", "\n".join(map(command_page, COMMANDS)))


API = {
    "Difficulty": ("longtail", ["ClassDifficulty", "labels_of"]),
    "Losses": ("longtail.losses", None),
    "Samplers": ("longtail.samplers", None),
    "Methods": ("longtail.methods", None),
    "Metrics": ("longtail.metrics", None),
    "Functions": ("longtail.functional", None),
    "Data": ("longtail.data", None),
    "Tasks": ("longtail.tasks", None),
    "Training": ("longtail.training.run", None),
    "Configuration": ("longtail.training.config", None),
    "A finished run": ("longtail.training.apply", None),
    "Boxes in models of torchvision": ("longtail.integrations.detection", None),
    "Checks and advice": ("longtail.advice", None),
    "Reports": ("longtail.report", None),
    "Errors": ("longtail", ["LongtailError"]),
}
"""The headings of the API page: a module, and its names; None: its ``__all__``."""


def write_api(folder: Path, pages: Path) -> None:
    """``api.md``: the public names in groups; and a page for each."""
    folder.mkdir(exist_ok=True)
    pages.mkdir(exist_ok=True)
    parts, written = [], set[str]()
    for title, (module, names) in API.items():
        home = importlib.import_module(module)
        own = [name for name in names or home.__all__ if callable(getattr(home, name))]
        for name in own:
            kind = "class" if inspect.isclass(getattr(home, name)) else "function"
            members = "   :members:\n   :show-inheritance:\n" if kind == "class" else ""
            text = f"{name}\n{'=' * len(name)}\n\n.. currentmodule:: {module}\n\n.. auto{kind}:: {name}\n{members}"
            write(pages / f"{module}.{name}.rst", text)
            written.add(f"{module}.{name}")
        of = f"From `{module}`." if names is None else ""
        lines = "\n".join(f"   {module}.{name}" for name in own)
        listed = f"```{{eval-rst}}\n.. autosummary::\n   :toctree: api\n   :nosignatures:\n\n{lines}\n```"
        parts.append("\n\n".join(part for part in (f"## {title}", of, listed) if part))
    write(folder / "api.md", "\n\n".join(parts) + "\n")
    for old in pages.glob("*.rst"):
        if old.stem not in written:
            old.unlink()


def write(path: Path, text: str) -> None:
    """Write only what changed, so that Sphinx rebuilds only what changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
