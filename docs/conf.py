"""The documentation: Markdown, read by MyST."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from egress import __version__

project = "egressproxy"
author = "the egressproxy contributors"
copyright = "2026, the egressproxy contributors"  # noqa: A001
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
# Samples have comments, and JSON that is cut short, which no lexer accepts.
highlight_language = "none"
nitpicky = True

html_theme = "alabaster"
html_theme_options = {"description": "Authorizes every outbound request.", "page_width": "1080px"}
html_show_sourcelink = False
