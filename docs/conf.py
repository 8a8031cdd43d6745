"""Sphinx configuration."""

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

# Before torch comes: examples run side by side, one on each of two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import skvae

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
project = "skvae"
author = "the skvae developers"
version = release = skvae.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    # Formulas have to show without a network too.
    "sphinx-mathjax-offline",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinx.ext.viewcode",
    "arxiv_links",
    "parameter_groups",
]
# Examples that take packages beyond those of the extra "docs": left out where these are not.
NEEDS = {
    "plot_certify_pythae.py": "pythae",
    "plot_certify_scvi.py": "scvi",
    "plot_certify_umap.py": "umap",
    "plot_dask.py": "dask",
    "plot_lightning.py": "lightning",
}
left_out = [name for name, package in NEEDS.items() if find_spec(package) is None]
scripts = [
    path.name
    for path in (Path(__file__).parents[1] / "examples").glob("*.py")
    if not path.name.startswith("plot_")
]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "ignore_pattern": "|".join(map(re.escape, sorted([*left_out, *scripts]))),
    "within_subsection_order": "FileNameSortKey",
    "parallel": 2,
    # Of a display the picture is enough.
    "capture_repr": ("_repr_html_",),
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "copyfile_regex": "",
}
autosummary_generate = True
# The docstrings have the types, in words.
autodoc_typehints = "none"
autodoc_preserve_defaults = True
# The list beside a page is narrow: methods by their names.
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
default_role = "code"
exclude_patterns = ["_build", "_ext", "_templates", "gallery/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = "skvae"
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}
# These stand alone in their part of the site: the list would be empty.
html_sidebars = {"index": [], "faq": []}
html_static_path = ["_static"]
html_css_files = ["skvae.css"]


def _leave_out_routing(app, what, name, obj, skip, options):
    """Leave out the `set_*_request` methods that scikit-learn adds to every estimator."""
    return skip or (name.startswith("set_") and name.endswith("_request"))


def setup(app):
    app.connect("autodoc-skip-member", _leave_out_routing)
