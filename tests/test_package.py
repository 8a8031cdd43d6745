"""The package as a whole: what importing it costs, and what its pages promise."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import skvae


def test_public_names_are_there_and_documented():
    for name in skvae.__all__:
        assert hasattr(skvae, name)
        if inspect.isclass(getattr(skvae, name)):
            assert inspect.getdoc(getattr(skvae, name))


def test_import_touches_no_gpu_and_brings_no_heavy_extras():
    code = (
        "import sys, torch, sklearn, skorch; before = set(sys.modules); "
        "import skvae, skvae.datasets; skvae.TeacherGuidedVAE(device='cuda'); "
        "assert not torch.cuda.is_initialized(); "
        "heavy = {'matplotlib', 'pandas', 'scipy.stats', 'PIL', 'skimage'}; "
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


PUBLIC_METHODS = [
    pytest.param(method, id=f"{name}.{method_name}")
    for name in skvae.__all__
    for method_name, method in inspect.getmembers(getattr(skvae, name), inspect.isfunction)
    if not method_name.startswith("_") and method.__module__.startswith("skvae")
]


@pytest.mark.parametrize("method", PUBLIC_METHODS)
def test_every_public_method_documents_its_parameters(method):
    documentation = inspect.getdoc(method)
    assert documentation
    for parameter in inspect.signature(method).parameters:
        if parameter not in ("self", "cls"):
            assert f"{parameter} : " in documentation


def test_examples_of_the_readme_run():
    import doctest

    readme = Path(__file__).parents[1] / "README.md"
    found = doctest.testfile(str(readme), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0


def test_design_has_a_line_for_each_module():
    root = Path(__file__).parents[1]
    design = (root / "docs" / "design.rst").read_text(encoding="utf-8")
    modules = {path.stem for path in (root / "skvae").glob("*.py")} - {"__init__", "_version"}
    assert [name for name in sorted(modules) if f"`{name}`" not in design] == []
