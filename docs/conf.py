"""The site: `make docs`, or `python -m sphinx -W docs build/docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

project = "lucidfn"
author = "the lucidfn authors"
extensions = ["myst_parser", "sphinx.ext.viewcode", "site_of_docs"]
exclude_patterns = ["_ext"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
smartquotes = False  # J' is a transpose

python_maximum_signature_line_length = 88
python_trailing_comma_in_multi_line_signatures = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "lucidfn"
html_static_path = ["_static"]
html_css_files = ["lucidfn.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
