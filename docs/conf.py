"""Sphinx configuration."""

import skvae

project = "skvae"
author = "the skvae developers"
version = release = skvae.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    # Formulas have to show without a network too.
    "sphinx-mathjax-offline",
    "numpydoc",
]
autosummary_generate = True
# The docstrings have the types, in words.
autodoc_typehints = "none"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
default_role = "code"
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = "skvae"
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}
html_sidebars = {"**": []}


def _leave_out_routing(app, what, name, obj, skip, options):
    """Leave out the `set_*_request` methods that scikit-learn adds to every estimator."""
    return skip or (name.startswith("set_") and name.endswith("_request"))


def setup(app):
    app.connect("autodoc-skip-member", _leave_out_routing)
