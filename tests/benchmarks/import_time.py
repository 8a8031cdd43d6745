"""What importing skvae adds to importing torch, scikit-learn and skorch, in fresh interpreters.

    python tests/benchmarks/import_time.py --out FOLDER

What is added is timed in an interpreter that has imported the rest: the difference of two
interpreters would drown in the spread of torch's own import.
"""

from __future__ import annotations

import subprocess
import sys

from timing import Cost, Session, parser

BASE = "import torch, sklearn, skorch"
# Statements to time, after others that are not.
IMPORTS = {
    "torch, sklearn, skorch": ("", BASE),
    "sklearn.decomposition, .mixture after them": (
        BASE,
        "import sklearn.decomposition, sklearn.mixture",
    ),
    "skvae after them": (BASE, "import skvae"),
}
PROBE = """
import time
{before}
wall, cpu = time.perf_counter(), time.process_time()
{timed}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def time_of_import(statements: tuple[str, str]) -> Cost:
    """Measure in an interpreter of its own."""
    before, timed = statements
    code = PROBE.format(before=before, timed=timed)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    wall, cpu = map(float, found.stdout.split())
    return Cost(wall, cpu)


def main():
    session = Session("import_time", parser(__doc__, rounds=7).parse_args())
    session.compare("import", IMPORTS, (next(iter(IMPORTS)),), time_of_import)
    session.close()


if __name__ == "__main__":
    main()
