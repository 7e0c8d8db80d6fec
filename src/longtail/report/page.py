"""Puts blocks into the HTML template."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from longtail.report.blocks import Block

__all__ = ["Section", "render"]


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
    template = environment.get_template("page.html.j2")
    return template.render(title=title, subtitle=subtitle, sections=sections, problems=problems)


def _signs(text: str) -> str:
    """A hyphen before a number that follows a space, a bracket or nothing is a minus sign."""
    return re.sub(r"(?<![^\s\[(])-(?=\d)", "\N{MINUS SIGN}", text)
