"""How well `rows_needed` tells, from a few rows, how many a lower bound above zero takes.

The populations are those of `bound_coverage.py`, finite lists of rows. How many rows are in
truth needed is found by trying: the number at which four samples of five have a bound above
zero. Then samples of a quarter of that number, of half, of as many and of four times as many
are given to `rows_needed`.

    python docs/experiments/rows_needed.py --out docs/experiments/rows_needed.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from bound_coverage import MIXING, POPULATIONS, ROWS, mixed

from skvae.information import margin, margin_lower_bound, rows_needed

SEED = 0
# Of the truth.
SHARES = (0.25, 0.5, 1, 4)
POWER = 0.8
# No number of rows would do, or nobody would wait for it.
LEFT_OUT = ("constant witness", "useless witness, margin near 0")


def share_certified(T, log_q, reference, n_samples, repetitions, rng):
    certified = 0
    for _ in range(repetitions):
        drawn = rng.integers(0, ROWS, n_samples)
        bound = margin_lower_bound(T[drawn], log_q[drawn], reference, mixing=MIXING)
        certified += bound.lower_bound > 0
    return certified / repetitions


def found_by_trying(T, log_q, reference, repetitions, rng):
    """Bisect, on a scale of ratios, to within two percent."""
    low, high = 4, 8
    while share_certified(T, log_q, reference, high, repetitions, rng) < POWER:
        low, high = high, 2 * high
    while high / low > 1.02 and high - low > 1:
        middle = round((low * high) ** 0.5)
        enough = share_certified(T, log_q, reference, middle, repetitions, rng) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


def run(repetitions):
    results = []
    for index, (name, make) in enumerate(POPULATIONS.items()):
        if name in LEFT_OUT:
            continue
        rng = np.random.default_rng([SEED, index])
        T, log_q = make(rng)
        reference = T[rng.integers(0, ROWS, 1_000)].mean(axis=0)
        truth = found_by_trying(T, log_q, reference, repetitions, rng)
        for share in SHARES:
            n_samples = max(2, round(share * truth))
            told = []
            for _ in range(repetitions):
                drawn = rng.integers(0, ROWS, n_samples)
                needed = rows_needed(T[drawn], log_q[drawn], reference, mixing=MIXING)
                told.append(np.inf if needed is None else needed)
            ratios = np.array(told) / truth
            results.append(
                {
                    "population": name,
                    "margin": margin(T, mixed(log_q, reference)),
                    "rows_needed": truth,
                    "n_samples": n_samples,
                    "share": share,
                    "none": float(np.mean(np.isinf(ratios))),
                    "within_a_factor_of_two": float(np.mean((ratios >= 0.5) & (ratios <= 2))),
                    "quantiles": np.quantile(
                        ratios, [0.1, 0.5, 0.9], method="inverted_cdf"
                    ).tolist(),
                }
            )
            print(results[-1], flush=True)
    return results


def table(record):
    lines = [
        "Rows that a 95% lower bound above zero takes in four samples of five: found by",
        "trying, and told from a sample. Told: 10%, 50% and 90% quantile over "
        f"{record['repetitions']} samples,",
        "as a multiple of what is found; within 2: share between half and twice; none: share",
        "of samples whose margin is not above zero, which tell no number.",
        "",
        f"{'population':32}{'margin':>8}{'found':>7}{'rows':>7}{'told 10%':>10}{'50%':>7}"
        f"{'90%':>7}{'within 2':>10}{'none':>7}",
    ]
    for row in record["results"]:
        low, middle, high = row["quantiles"]
        lines.append(
            f"{row['population']:32}{row['margin']:8.4f}{row['rows_needed']:7}"
            f"{row['n_samples']:7}{low:10.2f}{middle:7.2f}{high:7.2f}"
            f"{row['within_a_factor_of_two']:10.0%}{row['none']:7.0%}"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--out", type=Path, help="JSON file; the table goes beside it as .txt")
    arguments = parser.parse_args()
    record = {"repetitions": arguments.repetitions, "seed": SEED}
    record["results"] = run(arguments.repetitions)
    printed = table(record)
    print("\n" + printed)
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
        arguments.out.with_suffix(".txt").write_text(printed + "\n")


if __name__ == "__main__":
    main()
