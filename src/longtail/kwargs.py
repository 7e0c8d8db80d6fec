"""Hyperparameters as the command line gives them: ``key=value`` and ``method:key=value,key=value``."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from longtail.errors import LongtailError

__all__ = ["parse_kwargs", "parse_method", "split_methods"]


def parse_kwargs(items: Sequence[str]) -> dict[str, Any]:
    """``["tau=1.5", "growth=log"]`` to ``{"tau": 1.5, "growth": "log"}``: Python literals, else strings."""
    values: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key.isidentifier() or not text:
            raise LongtailError(f"method hyperparameter {item!r} is not of the form key=value, e.g. tau=1.5")
        if key in values:
            raise LongtailError(f"method hyperparameter {key!r} is given twice")
        try:
            values[key] = {"true": True, "false": False, "none": None}[text.lower()]
        except KeyError:
            try:
                values[key] = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                values[key] = text
    return values


def parse_method(text: str) -> tuple[str, tuple[str, ...]]:
    """``"cdb-w:tau=1.5,max_tau=3"`` to ``("cdb-w", ("tau=1.5", "max_tau=3"))``."""
    name, _, items = text.partition(":")
    return name, tuple(item for item in items.split(",") if item)


def split_methods(texts: Sequence[str]) -> list[str]:
    """``["ce,cdb-w:tau=1,max_tau=3", "cb"]`` to ``["ce", "cdb-w:tau=1,max_tau=3", "cb"]``.

    Between ``key=value`` a comma belongs to the method before it, elsewhere it separates methods.
    """
    methods: list[str] = []
    for text in texts:
        first = True
        for part in filter(None, (part.strip() for part in text.split(","))):
            if re.match(r"[A-Za-z_]\w*=", part) and not first:
                if ":" not in methods[-1]:
                    raise LongtailError(f"{text!r}: hyperparameters follow a colon, {methods[-1]}:{part}")
                methods[-1] += f",{part}"
            else:
                methods.append(part)
            first = False
    return methods
