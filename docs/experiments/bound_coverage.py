"""How often the lower bounds on the margin err, and how far below the margin they lie.

Every population is a finite list of rows, equally likely, so that its margin is known
exactly; samples are drawn from it with replacement. The reference is the average teacher
of 1,000 other draws, as the average over a training set would be.

The monitor is `SequentialMargin`, watched batch by batch: the codes of rows of two kinds are
N(-0.5, 1) and N(0.5, 1), and the margin of a witness that is too sure of them, mixed with the
reference, is just below zero. Reaching an e-value of 20 is a false alarm.

    python docs/experiments/bound_coverage.py --out docs/experiments/bound_coverage.json

With ``--part monitor`` that part alone is run, and what the file has of the other is kept.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from skvae.information import SequentialMargin, margin, margin_lower_bound

ROWS = 20_000
SIZES = (200, 500, 2_000)
METHODS = ("e-value", "normal")
MIXING = 0.02
SEED = 0
# The log odds that the witness of the monitor gives to a code of one.
TOO_SURE = 2.775
MEAN_CODE = 0.5
BATCH_ROWS = 20
MOST_BATCHES = 60
NOISES = ("drawn anew", "the same in every batch")


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def clusters(rng, shares, noise=0.5):
    """Rows in soft clusters, and a witness that blurs the teacher."""
    n_components = len(shares)
    logits = rng.standard_normal((ROWS, n_components)) + np.log(shares)
    label = rng.choice(n_components, ROWS, p=shares)
    logits[np.arange(ROWS), label] += 4 + np.log(n_components / 10)
    log_T = log_softmax(logits)
    log_q = log_softmax(0.7 * log_T + noise * rng.standard_normal(logits.shape))
    return np.exp(log_T), log_q


def equal(n_components):
    return [1 / n_components] * n_components


def mixed(log_q, reference):
    return np.log((1 - MIXING) * np.exp(log_q) + MIXING * reference)


def typical(rng):
    return clusters(rng, equal(10))


def wrong_on_one_percent(rng):
    T, log_q = clusters(rng, equal(10))
    wrong = slice(ROWS // 100)
    log_q[wrong] = log_softmax(30.0 * np.eye(10)[T[wrong].argmin(axis=1)])
    return T, log_q


def nearly_always_right(rng):
    """Return a teacher without doubt, and a witness that is wrong on one row in 200."""
    label = rng.integers(0, 2, ROWS)
    T = np.eye(2)[label]
    label[: ROWS // 200] = 1 - label[: ROWS // 200]
    return T, log_softmax(8.0 * np.eye(2)[label])


def constant(rng):
    T, _ = clusters(rng, equal(10))
    return T, np.tile(np.log(T.mean(axis=0)), (ROWS, 1))


def useless(rng):
    """Return a witness that varies and has margin zero: on some rows it loses what it gains."""
    T, log_q = clusters(rng, equal(10), noise=1.5)
    average = T.mean(axis=0)
    low, high = 1.0, 100.0
    for _ in range(40):
        scale = (low + high) / 2
        loses = margin(T, mixed(log_softmax(scale * log_q), average)) < 0
        low, high = (low, scale) if loses else (scale, high)
    return T, log_softmax(low * log_q)


def informative_on_two_percent(rng):
    T, log_q = clusters(rng, equal(10))
    log_q[ROWS // 50 :] = np.log(T.mean(axis=0))
    return T, log_q


def unbalanced(rng):
    # The teacher leans further towards the large component than the labels do: 0.97 in all.
    return clusters(rng, [0.93] + [0.07 / 9] * 9)


def two_components(rng):
    return clusters(rng, equal(2))


def hundred_components(rng):
    return clusters(rng, equal(100))


POPULATIONS = {
    "typical": typical,
    "sure and wrong on 1% of rows": wrong_on_one_percent,
    "one-hot, wrong on 0.5% of rows": nearly_always_right,
    "constant witness": constant,
    "useless witness, margin near 0": useless,
    "informative on 2% of rows": informative_on_two_percent,
    "unbalanced, one share 0.97": unbalanced,
    "two components": two_components,
    "hundred components": hundred_components,
}


def run_bounds(repetitions):
    results = []
    for index, (name, make) in enumerate(POPULATIONS.items()):
        rng = np.random.default_rng([SEED, index])
        T, log_q = make(rng)
        n_components = T.shape[1]
        reference = T[rng.integers(0, ROWS, 1_000)].mean(axis=0)
        truth = margin(T, mixed(log_q, reference))
        for n_samples in SIZES:
            started = time.perf_counter()
            bounds = {method: np.empty(repetitions) for method in METHODS}
            for repetition in range(repetitions):
                drawn = rng.integers(0, ROWS, n_samples)
                for method in METHODS:
                    bounds[method][repetition] = margin_lower_bound(
                        T[drawn], log_q[drawn], reference, mixing=MIXING, method=method
                    ).lower_bound
            results.append(
                {
                    "population": name,
                    "n_components": n_components,
                    "margin": truth,
                    "n_samples": n_samples,
                    "error_rate": {m: float(np.mean(bounds[m] > truth)) for m in METHODS},
                    "mean_slack": {m: float(np.mean(truth - bounds[m])) for m in METHODS},
                }
            )
            elapsed = time.perf_counter() - started
            print(f"{name}, {n_samples} rows: {elapsed:.0f} s", flush=True)
    return results


def read_two(codes):
    """Return log probabilities of the two kinds of rows, of which codes above 0 are one."""
    log_odds = TOO_SURE * codes
    return np.stack([-np.logaddexp(0, log_odds), -np.logaddexp(0, -log_odds)], axis=-1)


def margin_of_the_monitored():
    """Return the margin of the mixed witness, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    # By symmetry both kinds of rows score alike.
    score = mixed(read_two(nodes + MEAN_CODE), 0.5)[:, 1]
    return float(weights @ score / weights.sum() + np.log(2))


def run_monitor(repetitions):
    rng = np.random.default_rng([SEED, *b"monitor"])
    results = []
    for noise_of_batches in NOISES:
        alarms = 0
        for _ in range(repetitions):
            monitor = SequentialMargin([0.5, 0.5], mixing=MIXING)
            same = rng.standard_normal(BATCH_ROWS)
            for _ in range(MOST_BATCHES):
                kind = rng.integers(0, 2, BATCH_ROWS)
                noise = rng.standard_normal(BATCH_ROWS)
                if noise_of_batches != "drawn anew":
                    noise = same
                codes = MEAN_CODE * (2 * kind - 1) + noise
                monitor.update(np.eye(2)[kind], read_two(codes))
                if monitor.log_e_value >= np.log(20):
                    alarms += 1
                    break
        results.append({"noise": noise_of_batches, "false_alarms": alarms / repetitions})
    return results


def table_of_bounds(record):
    results, repetitions = record["results"], record["repetitions"]
    lines = [
        f"95% lower bounds on the margin of the mixed witness, in nats; {repetitions} samples.",
        "Error: share of bounds above the population's margin; slack: mean distance below it.",
        "",
        f"{'':32}{'':>5}{'':>9}{'':>7}{'e-value':>17}{'normal (approx.)':>18}",
        f"{'population':32}{'K':>5}{'margin':>9}{'rows':>7}{'error':>9}{'slack':>8}"
        f"{'error':>10}{'slack':>8}",
    ]
    for row in results:
        error, slack = row["error_rate"], row["mean_slack"]
        lines.append(
            f"{row['population']:32}{row['n_components']:5}{row['margin']:9.4f}"
            f"{row['n_samples']:7}{error['e-value']:9.1%}{slack['e-value']:8.4f}"
            f"{error['normal']:10.1%}{slack['normal']:8.4f}"
        )
    return "\n".join(lines)


def table_of_monitor(record):
    lines = [
        f"A monitor of batches of {BATCH_ROWS} rows, at most {MOST_BATCHES} of them, which "
        "stops at an e-value of 20.",
        f"Margin of the mixed witness {margin_of_the_monitored():.4f} nats; "
        f"{record['repetitions']} repetitions.",
        "",
        f"{'noise of the codes':32}{'false alarms':>14}",
    ]
    lines += [f"{row['noise']:32}{row['false_alarms']:14.1%}" for row in record["results"]]
    return "\n".join(lines)


# What is run, how often if nothing is said, and how it is printed.
PARTS = {
    "bounds": (run_bounds, 1_000, table_of_bounds),
    "monitor": (run_monitor, 200, table_of_monitor),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, help="one part alone, in place of both")
    parser.add_argument("--repetitions", type=int, help="default: 1000 samples, 200 monitors")
    parser.add_argument("--out", type=Path, help="JSON file; the tables go beside it as .txt")
    arguments = parser.parse_args()
    record = {}
    if arguments.part and arguments.out and arguments.out.exists():
        record = json.loads(arguments.out.read_text())
    for part in [arguments.part] if arguments.part else PARTS:
        run, usual, _ = PARTS[part]
        repetitions = arguments.repetitions or usual
        results = run(repetitions)
        record[part] = {"repetitions": repetitions, "seed": SEED, "results": results}
    tables = [PARTS[part][2](record[part]) for part in PARTS if part in record]
    printed = "\n\n".join(tables)
    print("\n" + printed)
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
        arguments.out.with_suffix(".txt").write_text(printed + "\n")


if __name__ == "__main__":
    main()
