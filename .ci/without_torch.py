"""What an installed skvae must do where there is no torch: compile, and what imports none."""

import compileall
import doctest
import importlib
import pkgutil
import sys
import warnings
from pathlib import Path

import skvae.certificate.probes
import skvae.information

folder = Path(skvae.__file__).parent
assert "site-packages" in folder.parts, folder
warnings.simplefilter("error")
assert compileall.compile_dir(folder, quiet=1, force=True)
modules = [each.name for each in pkgutil.walk_packages(skvae.information.__path__)]
for name in ["certificate.probes", *(f"information.{each}" for each in modules)]:
    found = doctest.testmod(importlib.import_module(f"skvae.{name}"))
    assert found.failed == 0, name
assert "torch" not in sys.modules
version = sys.version.split()[0]
print(f"skvae {skvae.__version__} reads margins off arrays on Python {version}, without torch")
