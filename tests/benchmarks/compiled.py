"""Seconds an epoch with compiled steps and without, and what compiling takes, on digits.

    python tests/benchmarks/compiled.py --out FOLDER

Each fit has an interpreter of its own, in which torch finds nothing that was compiled before:
the first epoch is longer than the others by what compiling takes. Needs a compiler for C++.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

from timing import Cost, Session, parser

FIT = """
import json, sys, warnings
import torch
from skvae import TeacherGuidedVAE
from skvae.datasets import digits

warnings.simplefilter("ignore")
torch.set_num_threads(1)
settings = json.loads(sys.argv[1])
settings = {"early_stopping": False, "batch_size": 128, **settings}
vae = TeacherGuidedVAE(
    device="cpu", precision="fp32", decoder_variance=0.1, random_state=0, **settings
)
print(json.dumps([epoch["seconds"] for epoch in vae.fit(digits()).history_]))
"""
EPOCHS = 20


def cost_of(settings):
    """Measure the median epoch after the first, and what the first takes beyond it."""
    done = subprocess.run(
        [sys.executable, "-c", FIT, json.dumps({**settings, "max_epochs": EPOCHS})],
        env={**os.environ, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    first, *others = json.loads(done.stdout)
    epoch = statistics.median(others)
    return Cost(epoch, epoch, first - epoch, first - epoch)


def main():
    command = parser(__doc__)
    command.add_argument("--batch-sizes", nargs="+", type=int, default=(64, 256))
    options = command.parse_args()
    session = Session("compiled", options, clock="wall")
    session.say("seconds an epoch; fixed: what the first epoch takes beyond another")
    for batch_size in options.batch_sizes:
        session.compare(
            f"digits, batch {batch_size}",
            {
                "as it is": {"batch_size": batch_size},
                "compiled": {"batch_size": batch_size, "compile": True},
            },
            ("as it is",),
            cost_of,
        )
    session.close()


if __name__ == "__main__":
    main()
