"""``python .ci/contents.py FOLDER``: the packages that lie there have the right files."""

import sys
import tarfile
import zipfile
from pathlib import Path

(wheel,) = Path(sys.argv[1]).glob("*.whl")
(source,) = Path(sys.argv[1]).glob("*.tar.gz")
in_wheel = set(zipfile.ZipFile(wheel).namelist())
with tarfile.open(source) as archive:
    in_source = {each.name.partition("/")[2] for each in archive if each.isfile()}

# The wheel: the package, what is said of it, and nothing else.
library = {name for name in in_source if name.startswith("skvae/")}
said = {name.partition(".dist-info/")[2] for name in in_wheel - library}
LICENCE = "licenses/docs/LICENSE"
assert {"skvae/py.typed", "skvae/__main__.py"} <= library <= in_wheel, library - in_wheel
assert said == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", LICENCE}, said

# The source distribution: all files of the tree that are no leftovers of a run.
tree = Path(__file__).parents[1]
LEFTOVERS = {"__pycache__", "_build", "gallery", "generated"}
expected = {
    str(path.relative_to(tree))
    for folder in (".ci", "docs", "examples", "skvae", "tests")
    for path in (tree / folder).rglob("*")
    if path.is_file() and not LEFTOVERS & set(path.parts)
} | {"README.md", "pyproject.toml"}
assert in_source - {".gitignore", "PKG-INFO"} == expected, in_source ^ expected
print(f"{len(in_wheel)} files in the wheel, {len(in_source)} in the source distribution")
