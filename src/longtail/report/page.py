"""Puts blocks into the HTML template."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from longtail.report.blocks import Block

__all__ = ["Section", "render"]

Escaped = TypeVar("Escaped", bound=str)
"""jinja's type of text that is escaped already."""

_SHORT = 24  # letters of a word that fits any screen


@dataclasses.dataclass(frozen=True)
class Section:
    """One data set of the page."""

    id: str
    title: str
    headline: tuple[str, ...]
    blocks: tuple[Block, ...]


def render(title: str, subtitle: str, sections: Sequence[Section], problems: Sequence[tuple[str, str]]) -> str:
    """The page as text; ``problems`` are paths with what is wrong there."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["base64"] = lambda png: base64.b64encode(png).decode("ascii")
    environment.filters["signs"] = _signs
    environment.filters["words"] = _words
    template = environment.get_template("page.html.j2")
    return template.render(title=title, subtitle=subtitle, sections=sections, problems=problems)


def _words(text: Escaped) -> Escaped:
    """Escaped text in which options and names of methods are not broken at their hyphens."""
    return type(text)(re.sub(r"--[a-z-]+|\b[a-z0-9]+(?:-[a-z0-9]+)+\b", _whole, str(text)))


def _whole(match: re.Match[str]) -> str:
    return f'<span class="word">{match[0]}</span>' if len(match[0]) <= _SHORT else match[0]


def _signs(text: str) -> str:
    """A hyphen before a number that follows a space, a bracket or nothing is a minus sign."""
    return re.sub(r"(?<![^\s\[(])-(?=\d)", "\N{MINUS SIGN}", text)
