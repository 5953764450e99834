"""How the documentation becomes a site: `make docs`.

Sphinx reads the pages where they lie, from the top of the project, so that one link works in the repository and on the
site. The rule that must stay true: a reader's browser loads nothing from another host.
"""

import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
sys.path[:0] = [str(PROJECT / "daemon")]

from handoffd import __version__  # noqa: E402 (the path comes first)

project = "handoffd"
copyright = "the handoffd authors"
release = version = __version__
extensions = ["myst_parser"]
root_doc = "docs/index"
# What a reader is meant to find; fragments of news and templates are for whoever works on the project.
include_patterns = ["README.md", "CHANGELOG.md", "docs/*.md", "docs/adr/*.md", "*/README.md"]
exclude_patterns = ["docs/news/**", "docs/adr/template.md", "build/**", "dist/**", ".venv/**", ".pytest_cache/**"]

# A picture with a width, as a forge understands it.
myst_enable_extensions = ["html_image"]
# Anchors as a forge makes them, so that they are checked here and work there.
myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_title = f"handoffd {release}"
html_static_path = ["static"]
html_css_files = ["handoffd.css"]
html_extra_path = ["top"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
# A block without a language is a drawing or an output.
highlight_language = "text"
pygments_style = "default"
pygments_dark_style = "monokai"

man_pages = [
    ("docs/cli-reference", "handoffd", "carry signed handoffs between agents of different hosts", [], 1),
    ("docs/configuration", "handoffd.yaml", "configuration of handoffd", [], 5),
]
