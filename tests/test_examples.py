"""The scripts in examples/ run as they stand."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


# One of them shows what comes of a weight that is not above beta.
@pytest.mark.filterwarnings("ignore::skvae.exceptions.WeakAlignmentWarning")
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(script, capsys):
    runpy.run_path(str(script), run_name="__main__")
    assert "certified: not constant in x" in capsys.readouterr().out
