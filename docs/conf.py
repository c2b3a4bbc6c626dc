"""Sphinx's settings. The option reference is made from the settings models before each build."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from netserve import __version__

project = "netserve"
author = "The netserve developers"
copyright = "2026, The netserve developers"
release = version = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "options_reference",
    "states_reference",
]
default_role = "code"
autodoc_typehints = "description"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"netserve {__version__}"
