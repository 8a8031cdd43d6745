"""The page on models of other libraries: each section runs where its library is installed."""

import doctest
import re
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).parents[1] / "docs" / "interoperation.rst").read_text(encoding="utf-8")
FIRST, *SECTIONS = re.split(r"\n(?=[^\n]+\n-+\n)", PAGE)
WITH_EXAMPLES = [section for section in SECTIONS if ">>>" in section]


def ran(section, known):
    """Run the examples of a section; return the names that there are afterwards."""
    examples = doctest.DocTestParser().get_doctest(section, dict(known), "page", None, 0)
    told = []
    found = doctest.DocTestRunner().run(examples, out=told.append, clear_globs=False)
    assert found.attempted > 0
    assert found.failed == 0, "".join(told)
    return examples.globs


@pytest.fixture(scope="module")
def known():
    return ran(FIRST, {})


@pytest.mark.parametrize(
    "section", WITH_EXAMPLES, ids=[section.splitlines()[0] for section in WITH_EXAMPLES]
)
@pytest.mark.filterwarnings("ignore")
def test_each_library_is_certified_as_the_page_says(section, known):
    for package in re.findall(r"^>>> (?:import|from) (\w+)", section, flags=re.MULTILINE):
        pytest.importorskip(package)
    with torch.random.fork_rng():
        ran(section, known)
