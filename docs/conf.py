"""Sphinx configuration; the method cards and the options of the commands are written from the code at build time."""

from __future__ import annotations

import sys
from pathlib import Path

import longtail

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from generate import write_api, write_commands, write_methods  # noqa: E402

project = "longtail"
author = "the longtail authors"
copyright = "the longtail authors"
version = release = longtail.__version__

extensions = [
    "mathml",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "_generated"]
default_role = "code"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"longtail {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]

autosummary_generate = False  # the pages of the objects are written by generate.py
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

write_methods(HERE / "methods")
write_commands(HERE / "_generated")
write_api(HERE / "_generated", HERE / "api")
