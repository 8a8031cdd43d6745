"""What importing skvae adds to importing torch, scikit-learn and skorch, in fresh interpreters.

python tests/benchmarks/import_time.py --out FOLDER
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from timing import Cost, Session, parser

BASE = "import torch, sklearn, skorch"
# What anyone who calls a mixture, a scaler or a search has imported anyhow.
USED = f"{BASE}, sklearn.mixture, sklearn.pipeline, sklearn.model_selection"
IMPORTS = {
    "torch, sklearn, skorch": BASE,
    "the same, and parts of sklearn": USED,
    "skvae": "import skvae",
}
PROBE = """
import time
wall, cpu = time.perf_counter(), time.process_time()
{statement}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def time_of_import(statement: str) -> Cost:
    """Measure in an interpreter of its own."""
    code = PROBE.format(statement=statement)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    wall, cpu = map(float, found.stdout.split())
    return Cost(wall, cpu)


def main():
    session = Session("import_time", parser(__doc__, rounds=7).parse_args())
    base, used, ours = IMPORTS
    costs = session.compare("seconds", IMPORTS, (base,), time_of_import)
    session.say("")
    for reference in (base, used):
        added = statistics.median(
            getattr(a, session.clock) - getattr(b, session.clock)
            for a, b in zip(costs[ours], costs[reference], strict=True)
        )
        session.say(f"importing skvae adds {added:.2f} s to {reference!r}")
    session.close()


if __name__ == "__main__":
    main()
