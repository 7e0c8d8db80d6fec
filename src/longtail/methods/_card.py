"""The card of a method: its docstring, the lines that use it, what was measured, and where to read on.

`sections` puts it together; `for_terminal` and `for_page` lay it out. Formulas are LaTeX in ``:math:`...```.
"""

from __future__ import annotations

import csv
import dataclasses
import re
import textwrap
from importlib import resources
from typing import Literal

from longtail.methods._lines import commands, in_a_detector, in_a_loop
from longtail.methods.base import Method

__all__ = ["Section", "for_page", "for_terminal", "links", "measured", "plain", "sections"]

GIVEN = {
    "model": "`model`",
    "model.fc": "its classifier `model.fc`",
    "optimizer": "`optimizer`",
    "epochs": "`epochs`",
    "train": "the data set `train`",
    "loader": "`loader` of the training data",
    "held_out_loader": "`held_out_loader`",
    "class_counts": "`class_counts` (training samples of each class)",
    "labels": "`labels` (of the training samples, a tensor)",
    "labels_per_image": "`labels_per_image` (the classes, from 0, in each training image)",
}
"""The names that the lines take for granted, in words."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a card.

    Args:
        title: Its heading; "" for the summary.
        kind: ``text``, ``list`` of hyperparameters, ``python``, ``shell``, or ``table`` of measurements.
        body: The text or the code; of a table nothing.
        rows: Of the table.
        before: A sentence before the code or the table.
    """

    title: str
    kind: Literal["text", "list", "python", "shell", "table"]
    body: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    before: str = ""


def sections(method: Method) -> list[Section]:
    """All of the card, in the order in which it is read."""
    own = _docstring(type(method).card())
    found = [Section("", "text", own.pop("", "")), Section("Formula", "text", own.pop("Formula", ""))]
    found += [Section("When to use", "text", own.pop("When to use", ""))]
    if code := in_a_loop(method):
        found.append(Section("In a loop of your own", "python", code, before=_given(code)))
    if code := in_a_detector(method):
        given = _given(code).replace("`model`", "`model`, a Faster or Mask R-CNN of torchvision", 1)
        found.append(Section("In a detector of torchvision", "python", code, before=given))
    found.append(Section("On the command line", "shell", "\n".join(commands(method)) + "\n"))
    first, others = _hyperparameters(own.pop("Hyperparameters", ""), method.main)
    found.append(Section("Hyperparameters", "list", first))
    found += [Section("Further hyperparameters", "list", others)] if others else []
    reference = own.pop("Reference", "")
    found += [Section(title, "text", body) for title, body in own.items()]
    if rows := measured(method.name):
        found.append(Section("What was measured", "table", rows=(HEADER, *rows), before=MEASURED))
    else:
        found.append(Section("What was measured", "text", "Not measured with these defaults."))
    return [*found, Section("Reference", "text", "\n".join([reference, *links(method)]))]


HEADER = ("data", "measure", "seeds", "this method", "`ce`", "difference", "95 % interval")
MEASURED = (
    "In %, mean ± standard deviation over the seeds, with the defaults; the difference to `ce` is paired by seed."
)


def measured(name: str) -> list[tuple[str, ...]]:
    """The lines of ``measured.csv`` on a method; none where nothing was measured."""
    text = resources.files("longtail.methods").joinpath("measured.csv").read_text(encoding="utf-8")
    keys = ("data", "measure", "n", "ours", "ce", "difference", "interval")
    return [tuple(row[key] for key in keys) for row in csv.DictReader(text.splitlines()) if row["method"] == name]


def links(method: Method) -> list[str]:
    """Addresses of the publications, by the DOI or the arXiv number in their BibTeX, in its order."""
    found = []
    for entry in method.reference.strip().split("\n\n"):
        doi = re.search(r"\bdoi\s*=\s*\{([^}]+)\}", entry)
        arxiv = re.search(r"\beprint\s*=\s*\{([^}]+)\}", entry) or re.search(r"arXiv:(\d+\.\d+)", entry)
        found += [f"https://doi.org/{doi[1]}"] if doi else []
        found += [f"https://arxiv.org/abs/{arxiv[1]}"] if arxiv else []
    return found


def _docstring(card: str) -> dict[str, str]:
    """Body by heading (``Heading:`` with an indented body); "" for what comes before the first."""
    found, heading = {"": ""}, ""
    for line in card.splitlines():
        if match := re.fullmatch(r"([A-Z][\w ]+):", line):
            heading = match[1]
            found[heading] = ""
        else:
            found[heading] += line + "\n"
    return {heading: textwrap.dedent(body).strip() for heading, body in found.items()}


def _hyperparameters(body: str, main: tuple[str, ...]) -> tuple[str, str]:
    """The main ones in the order of ``main``, and the others; all are main ones if none is named."""
    entries = re.split(r"^(?=[a-z]\w*: |[A-Z])", body, flags=re.MULTILINE)
    by_name = {entry.partition(":")[0]: entry for entry in entries if entry}
    if not main:
        return body, ""
    first = [by_name.pop(name) for name in main]
    return "".join(first).rstrip(), "".join(by_name.values()).rstrip()


def _given(code: str) -> str:
    """Which names the code takes for granted, in words."""
    lines = [line for line in code.splitlines() if " import " not in line]
    text = "\n".join(lines)

    def needed(name: str) -> bool:
        where = re.escape(name)
        used = re.search(rf"(?<![\w.]){where}\b(?!=)", text)
        made = re.search(rf"^ *{where} = ", text, re.MULTILINE)
        return used is not None and (made is None or used.start() < made.start() or name == "model.fc")

    return f"Given {', '.join(words for name, words in GIVEN.items() if needed(name))}:"


INDENT = "    "
MATH = re.compile(r":math:`([^`]+)`")
_SYMBOL = re.compile(r":math:`[^`]+`|``[^`]+``|(?<!\w)([A-Za-z]_[A-Za-z])(?!\w)")
"""A symbol with an index in running text; formulas and code are matched to be passed over."""


def for_terminal(method: Method) -> str:
    """The card as plain text; formulas as one would type them."""
    out = [method.name, "=" * len(method.name)]
    for section in sections(method):
        body = textwrap.indent(MATH.sub(lambda m: plain(m[1]), section.body).rstrip(), INDENT if section.title else "")
        out += [f"{section.title}:"] if section.title else []
        before = section.before.replace("`", "")
        out += [textwrap.fill(before, 110, initial_indent=INDENT, subsequent_indent=INDENT), ""] if before else []
        out += [body or _columns(section.rows), ""]
    return "\n".join(out).rstrip()


def _columns(rows: tuple[tuple[str, ...], ...]) -> str:
    rows = tuple(tuple(cell.replace("`", "") for cell in row) for row in rows)
    width = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, width, strict=True)).rstrip() for row in rows)
    return textwrap.indent("\n".join(lines), INDENT)


def for_page(method: Method) -> str:
    """The card as Markdown with dollar signs for formulas; a line that is a formula is displayed."""
    out = []
    for section in sections(method):
        out += [f"## {section.title}", ""] if section.title else []
        out += [section.before, ""] if section.before else []
        if section.title == "Formula":
            body = _SYMBOL.sub(lambda m: f":math:`{m[1]}`" if m[1] else m[0], section.body)
        else:
            body = section.body
        body = re.sub(r"^:math:`([^`]+)`[.,;]?$", r"\n$$\n\1\n$$\n", body.rstrip(), flags=re.MULTILINE)
        body = MATH.sub(lambda m: f"${' '.join(m[1].split())}$", body)
        if section.kind in ("python", "shell"):
            body = f"```{section.kind}\n{body}\n```"
        elif section.kind == "table":
            head, *lines = section.rows
            body = "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *lines))
        elif section.kind == "list":
            body = re.sub(r"^([a-z]\w*): ", r"- `\1`: ", body, flags=re.MULTILINE)
            body = re.sub(r"^(?=[A-Z])", "\n", body, flags=re.MULTILINE)
        elif section.title == "Reference":
            body = re.sub(r"^(https://\S+)$", r"<\1>", body, flags=re.MULTILINE)
        out += [re.sub(r"\n{3,}", "\n\n", body).strip(), ""]
    return "\n".join(out).rstrip() + "\n"


_WORDS = {
    r"\leftarrow": "<-", r"\left": "", r"\right": "", r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\cdot": "*",
    r"\quad": "  ",
    r"\odot": "*", r"\nabla": "grad", r"\in": "in", r"\mid": "|", r"\infty": "inf",
}  # fmt: skip


def plain(latex: str) -> str:
    r"""A formula as one would type it: ``\frac{1}{n_c^\gamma}`` is ``1 / n_c^gamma``."""
    text = " ".join(latex.split())
    text = re.sub(r"\\(?:text|operatorname)\{([^{}]*)\}", r"\1", text)
    before = ""
    while text != before:  # from the inside out
        before = text
        text = re.sub(r"([_^])\{([^{}]*)\}", lambda m: m[1] + _grouped(m[2]), text)
        text = re.sub(
            r"\\log \\frac\{([^{}]*)\}\{([^{}]*)\}", lambda m: f"\\log({_grouped(m[1])} / {_grouped(m[2])})", text
        )
        text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", lambda m: f"{_grouped(m[1])} / {_grouped(m[2])}", text)
        text = re.sub(
            r"\\(sqrt|bar)\{([^{}]*)\}", lambda m: f"sqrt({m[2]})" if m[1] == "sqrt" else f"mean({m[2]})", text
        )
    for opening, closing, bracket in (("lVert", "rVert", "||||"), ("langle", "rangle", "<>")):
        half = len(bracket) // 2
        text = re.sub(rf"\\{opening} *", bracket[:half], text)
        text = re.sub(rf" *\\{closing}\b", bracket[half:], text)
    text = re.sub(r"(?<=[A-Za-z0-9)])\\(?=[A-Za-z])", r" \\", text)
    text = re.sub(r"\\[A-Za-z]+", lambda m: _WORDS.get(m[0], m[0][1:]), text)
    return re.sub(r" +", " ", text).strip()


def _grouped(text: str) -> str:
    """In brackets if it is more than one term."""
    return text if re.fullmatch(r"\\?[\w.]+(?:[_^]\\?\w+)*", text.strip()) else f"({text.strip()})"
