"""How Sphinx builds the site, from the pages as they lie in the repository: ``make site``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts")]

project = "Lipschitz continuity of neural networks"
author = "The contributors of the Lipschitz workflow"
project_copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "pipeline.pages.site",
]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "docs/site/*.rst"]
exclude_patterns = [
    ".*",
    "build",
    "results",
    "figures",
    "logs",
    "scripts",
    "site",
    "tests",
    "envs",
    "benchmarks",
]

myst_heading_anchors = 4  # as on GitHub
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = project
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # it would be fetched, which browsers refuse from the disk
html_favicon = None
pygments_style = "friendly"
pygments_dark_style = "github-dark"
