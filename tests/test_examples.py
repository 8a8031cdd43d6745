"""The scripts in examples/ run as they stand.

Those of the gallery, ``plot_*.py``, run where its pages are built, and nowhere else: an error
in one ends the building of the documentation.
"""

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
SCRIPTS = [path for path in EXAMPLES if not path.name.startswith("plot_")]
PAGES = [path for path in EXAMPLES if path.name.startswith("plot_")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example_runs(script, capsys):
    runpy.run_path(str(script), run_name="__main__")
    assert "certified: not constant in x" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_page_of_the_gallery_asks_a_question_and_draws(page):
    code = page.read_text(encoding="utf-8")
    _, title, underline, *_ = code.splitlines()
    assert title.endswith("?")
    assert underline == "=" * len(title)
    assert "Display" in code or "report.plot()" in code or "pyplot" in code
    # What is missing is left out by docs/conf.py, and not by a page itself.
    assert "find_spec" not in code
