"""The package as a whole: what importing it costs, and what its pages promise."""

import importlib
import inspect
import pkgutil
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import skvae

ROOT = Path(__file__).parents[1]


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


@pytest.mark.parametrize("page", ["README.md", "docs/guide.rst"])
def test_examples_of_a_page_run(page):
    import doctest

    found = doctest.testfile(
        str(ROOT / page), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert found.attempted > 0
    assert found.failed == 0


def given_out():
    """Return the public names, each under what gives it out: skvae, a wing, or a module."""
    names = {"skvae": set(skvae.__all__)}
    wings = [f"skvae.{module.name}" for module in pkgutil.iter_modules(skvae.__path__)]
    waiting = [wing for wing in wings if not wing.removeprefix("skvae.").startswith("_")]
    for path in waiting:
        module = importlib.import_module(path)
        of_its_own = [name for name, _ in inspect.getmembers(module, inspect.isclass)]
        public = set(getattr(module, "__all__", of_its_own))
        inner = {name for name in public if inspect.ismodule(getattr(module, name))}
        waiting += [f"{path}.{name}" for name in inner]
        # What skvae gives out too stands under it, once.
        names[path] = public - inner - names["skvae"]
    return {path: public for path, public in names.items() if public}


def on_the_page():
    """Return the names that docs/api.rst has entries for, each under its module."""
    page = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    _, *sections = re.split(r"\.\. currentmodule:: (\S+)\n", page)
    names = {}
    for module, section in zip(sections[::2], sections[1::2], strict=True):
        assert module not in names, f"{module} has two sections"
        tables = re.findall(r"\.\. autosummary::\n(?: +:.*\n)+\n((?: +\w+\n)+)", section)
        constants = re.findall(r"\.\. py:data:: (\w+)", section)
        names[module] = sorted([*" ".join(tables).split(), *constants])
    return names


def test_api_page_has_each_public_name_once_and_no_other():
    assert on_the_page() == {module: sorted(names) for module, names in given_out().items()}


def test_floors_are_drawn_as_they_are_configured():
    images = ROOT / "docs" / "images"
    drawing = runpy.run_path(str(images / "floors.py"))["drawing"]
    assert (images / "floors.svg").read_text(encoding="utf-8") == drawing()


def test_the_face_of_each_wing_names_its_modules():
    root = Path(skvae.__file__).parent
    for face in root.glob("*/__init__.py"):
        text = face.read_text(encoding="utf-8").split('"""')[1]
        modules = {path.stem for path in face.parent.glob("*.py")} - {"__init__"}
        # A wing of a file for each thing that it gives out needs no list.
        if face.parent.name not in ("displays", "model_selection", "objective"):
            assert [name for name in sorted(modules) if f"`{name}`" not in text] == []
