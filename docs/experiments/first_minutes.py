"""From README to the first certificate of one's own CSV: each step, and how long it takes.

    python docs/experiments/first_minutes.py

A virtual environment is made in a temporary folder and skvae installed there from this tree, as
README says. Then a CSV with a text column and missing values is read, a model trained and
certified by the lines that README has for a frame. Reading counts 200 words a minute, down to
the end of README's part on one's own data. Writes first_minutes.txt beside this file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

ROOT = Path(__file__).resolve().parents[2]
WORDS_A_MINUTE = 200
SCRIPT = """
import pandas as pd
from skvae import ConstantCollapseCertificate, TeacherGuidedVAE

rows = pd.read_csv("own.csv")
vae = TeacherGuidedVAE(likelihood="auto", missing="mask", random_state=0).fit(rows[::2])
print(ConstantCollapseCertificate().certify(vae, rows[1::2]))
"""


def write_csv(path):
    """Write 30 columns of numbers, one of text, and a ninth of two of them left out."""
    data = load_breast_cancer(as_frame=True)
    frame = data.data.assign(diagnosis=np.asarray(data.target_names)[data.target])
    frame.loc[::9, ["diagnosis", "mean area"]] = None
    frame.to_csv(path, index=False)


def main():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    n_words = len(readme[: readme.index("## How it works")].split())
    steps = [(f"read {n_words} words of README", 60 * n_words / WORDS_A_MINUTE)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = folder / "venv" / "bin" / "python"
        install = ["-m", "pip", "install", "-q", "-c", str(ROOT / ".ci" / "constraints.txt")]
        write_csv(folder / "own.csv")
        for step, command in (
            ("make a virtual environment", [sys.executable, "-m", "venv", folder / "venv"]),
            ("install skvae and pandas", [python, *install, f"{ROOT}[plot]", "pandas"]),
            ("read the CSV, train and certify", [python, "-c", SCRIPT]),
        ):
            start = time.perf_counter()
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=True
            )
            steps.append((step, time.perf_counter() - start))
    lines = [f"{step:42}{seconds:8.0f} s" for step, seconds in steps]
    lines.append(f"{'in all':42}{sum(seconds for _, seconds in steps):8.0f} s")
    lines += ["", "what the last step printed:", "", *done.stdout.splitlines()]
    Path(__file__).with_suffix(".txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
