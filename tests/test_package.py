"""The package as a whole: what importing it costs, and what its pages promise."""

import importlib
import inspect
import pkgutil
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from mutants import MUTATIONS

import skvae

ROOT = Path(__file__).parents[1]
LIBRARY = Path(skvae.__file__).parent


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


@pytest.mark.parametrize(
    "page", ["README.md", "docs/columns.rst", "docs/missing.rst", "docs/training.rst"]
)
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


def callables_of(owner, name):
    """Yield the functions that a public name stands for: itself, or what its class defines."""
    public = getattr(owner, name)
    if inspect.isfunction(public):
        yield name, public
    if inspect.isclass(public):
        for method, of_class in vars(public).items():
            function = getattr(of_class, "__func__", getattr(of_class, "fget", of_class))
            spoken = not method.startswith("_") or method in ("__init__", "__call__")
            if spoken and inspect.isfunction(function):
                yield f"{name}.{method}", function


def test_type_checkers_are_told_the_types_of_all_that_is_public():
    untyped = []
    for path, names in given_out().items():
        # The methods of the net are those of skorch, which has no types.
        for name in names - {"VAENet"}:
            for what, function in callables_of(importlib.import_module(path), name):
                told = {*function.__annotations__, "self", "cls"}
                wanted = {*inspect.signature(function).parameters, "return"}
                untyped += [f"{path}.{what}: {each}" for each in sorted(wanted - told)]
    assert untyped == []
    assert (Path(skvae.__file__).parent / "py.typed").is_file()


USER_SCRIPT = ROOT / "tests" / "typing" / "user_script.py"


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_the_script_of_a_user_runs(capsys):
    runpy.run_path(str(USER_SCRIPT), run_name="__main__")
    assert "Constant-collapse certificate" in capsys.readouterr().out


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_oldest_versions_that_are_tried_are_those_that_are_declared():
    extras = PROJECT["project"]["optional-dependencies"]
    # What works on the tree itself is used as it is in constraints.txt.
    wanted = [need for extra in extras.keys() - {"docs", "dev"} for need in extras[extra]]
    needs = PROJECT["project"]["dependencies"] + wanted
    declared = dict(need.split(">=") for need in needs if not need.startswith("skvae["))
    text = (ROOT / ".ci" / "constraints-lowest.txt").read_text(encoding="utf-8")
    tried = dict(re.findall(r"^([\w-]+)==(\S+)$", text, flags=re.MULTILINE))
    # Of torch an older one is built with what a GPU takes, several gigabytes.
    assert tried.keys() == declared.keys()
    assert {**tried, "torch": declared["torch"]} == declared


def test_readme_links_to_files_that_are_there_and_the_page_of_an_index_to_none():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for each in hook["substitutions"]:
        text, found = re.subn(each["pattern"], each["replacement"], text)
        assert found
    assert "](" not in text


def test_citation_is_of_this_version_and_names_the_paper():
    text = (ROOT / "docs" / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", text, flags=re.MULTILINE) == [skvae.__version__]
    assert re.findall(r"^license: (.*)$", text, flags=re.MULTILINE) == [
        PROJECT["project"]["license"]
    ]
    assert "value: arXiv:2605.05813" in text


def test_every_mutation_of_the_claims_finds_its_text_once():
    moved = []
    for mutation in MUTATIONS:
        for path, old, _ in mutation.edits:
            if (LIBRARY / path).read_text(encoding="utf-8").count(old) != 1:
                moved.append((mutation.name, old))
    assert moved == []
