"""Sphinx configuration: ``sphinx-build -W docs docs/_build/html``."""

from importlib.metadata import version as installed_version

project = "freightrisk"
author = "freightrisk developers"
copyright = "2026, freightrisk developers"
release = version = installed_version("freightrisk")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"freightrisk {release}"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc sections already give type, shape, unit and domain
autosummary_generate = False
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
