"""The tables and figures by name."""

from __future__ import annotations

import importlib
import pkgutil
import re

from longtail.errors import LongtailError
from longtail.paper.base import FigureRecipe, TableRecipe

__all__ = ["find_recipe", "recipe_names"]


def recipe_names() -> list[str]:
    """Names of all tables and figures that can be reproduced, and ``comparison``."""
    package = importlib.import_module("longtail.paper")
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [name for name in modules if re.fullmatch(r"(table|figure)\d+|comparison", name)]


def find_recipe(name: str) -> TableRecipe | FigureRecipe:
    """The ``RECIPE`` of the module of that name."""
    if name not in recipe_names():
        raise LongtailError(f"unknown table or figure {name!r}: known are {', '.join(recipe_names())}")
    return importlib.import_module(f"longtail.paper.{name}").RECIPE
