"""One fit on several processes against one on one, and what a cost model says of both.

python tests/benchmarks/ranks.py --out FOLDER

Each number of processes is started once, and in each round these take turns: the first process
trains by itself; all share the fit; each trains by itself on its part of the rows, with its
part of the batch, and waits for nobody: the floor. A model of a step is fitted to one process
and to sums over ranks by themselves, and says what ranks should take; so is one of what comes
before the first step, and one of a search. What they say of machines that nobody here has is
marked as that.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from timing import Session, parser

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.training import over_ranks
from skvae.training.distributed import shared
from skvae.training.ranks import Share

N_ROWS = 16_384
# Rows and columns that what comes before training is measured on; the last is predicted.
BEFORE = ((65_536, 64), (65_536, 256), (131_072, 64), (131_072, 256))
# Parameters, times folds, of a search; each candidate is fitted in a second or so.
N_CANDIDATES, N_FOLDS = 6, 2
# A predicted GPU, by data sheets and common measurements of others, and none of ours: seconds
# of a step whatever its size, as kernels are launched; of a row and weight, at 50 teraflops;
# of a sum over GPUs in one machine, and over those of several, and of a number of each.
GPU = (2e-3, 6 / 50e12)
SUMS = {8: (5e-5, 8 / 300e9), 64: (1.5e-4, 8 / 50e9)}
# Bytes a second that a machine reads of a file.
DISK = 5e9
# Columns of a table, and rows of a step of the default net on it.
STEPS = ((64, 512), (64, 1024), (64, 2048), (784, 1024))
# Epochs of a training; the first of them pays for memory that the others find.
N_EPOCHS = 4
# Sums over ranks are timed so often, each behind a product that takes about as long as what
# lies between two of them in a step: by itself a sum finds all threads awake.
N_SUMS = 60
PRODUCT = 512


def table(n_columns):
    rng = np.random.default_rng(0)
    centers = 2 * rng.standard_normal((10, n_columns))
    rows = centers[rng.integers(10, size=N_ROWS)] + rng.standard_normal((N_ROWS, n_columns))
    return rows.astype(np.float32)


def seconds_of_a_step(X, teacher, batch_size, distributed):
    vae = TeacherGuidedVAE(
        teacher=FrozenEstimator(teacher),
        batch_size=batch_size,
        max_epochs=N_EPOCHS,
        early_stopping=False,
        precision="fp32",
        device="cpu",
        random_state=0,
        distributed=distributed,
    ).fit(X)
    seconds = statistics.mean(record["seconds"] for record in vae.history_[1:])
    return seconds / -(-len(X) // batch_size)


def seconds_of(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def sums_over(ranks, n_weights):
    """Measure how many seconds the gradients of so many weights take to be added up."""
    ranks.share = Share(2, 0, 1)
    matrix = torch.ones(PRODUCT, PRODUCT)
    found = {}
    for n_entries in (1, n_weights // 4, n_weights, 4 * n_weights):
        gradient, times = torch.ones(n_entries), []
        for _ in range(N_SUMS):
            matrix @ matrix
            times.append(seconds_of(partial(ranks.add_up, [gradient])))
        found[n_entries] = statistics.median(times)
    return found


def work(folder, n_rounds):
    """Measure, as one of the processes; the first one keeps what was found."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with shared("auto") as ranks:
        kept = {"cases": []}
        for n_columns, batch_size in STEPS:
            X = table(n_columns)
            part, n_rows = ranks.share_of(N_ROWS).rows, batch_size // ranks.size
            teacher = GaussianMixtureTeacher(n_components=10, random_state=0).fit(X[:2000])
            vae = TeacherGuidedVAE(
                teacher=FrozenEstimator(teacher),
                max_epochs=1,
                random_state=0,
                distributed=False,
            ).fit(X[:1000])
            n_weights = sum(weight.numel() for weight in vae.net_.module_.parameters())
            found = {"alone": [], "shared": [], "apart": []}
            for _ in range(n_rounds):
                ranks.of_all(None, "a round")
                if ranks.is_first:
                    found["alone"].append(seconds_of_a_step(X, teacher, batch_size, False))
                ranks.of_all(None, "a round")
                found["shared"].append(seconds_of_a_step(X, teacher, batch_size, True))
                ranks.of_all(None, "a round")
                apart = seconds_of_a_step(X[part], teacher, n_rows, False)
                # The last one is whom the others would wait for.
                found["apart"].append(max(ranks.of_all(apart, "the floor")))
            size = {"n_columns": n_columns, "batch_size": batch_size, "n_weights": n_weights}
            kept["cases"].append({**size, **found})
            if n_columns == STEPS[0][0]:
                certified = vae, np.concatenate([X] * 4)
                kept["sums"] = sums_over(ranks, n_weights)
        vae, rows = certified
        certificates = {"alone": [], "shared": []}
        certificate = ConstantCollapseCertificate(latent="sample")
        for _ in range(n_rounds):
            ranks.of_all(None, "a round")
            if ranks.is_first:
                certificates["alone"].append(seconds_of(lambda: certificate.certify(vae, rows)))
            ranks.of_all(None, "a round")
            with over_ranks():
                certificates["shared"].append(
                    seconds_of(lambda: certificate.certify(vae, rows))
                )
        if ranks.is_first:
            kept |= {"certificates": certificates, "n_certified": len(rows)}
            folder.joinpath(f"{ranks.size}.json").write_text(json.dumps(kept))


def measured(n_ranks, n_rounds):
    """Start so many processes, and return what they found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(n_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common |= {"TORCHELASTIC_RUN_ID": "benchmark", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--work", folder, str(n_rounds)],
                env={**os.environ, **common, "RANK": str(rank)},
            )
            for rank in range(n_ranks)
        ]
        try:
            for process in processes:
                if process.wait():
                    raise RuntimeError(f"a process ended with {process.returncode}")
        finally:
            for process in processes:
                process.kill()
        return json.loads(Path(folder, f"{n_ranks}.json").read_text())


def line_through(points):
    """Return value at 0 and slope of the least squares through pairs, by relative errors."""
    x, y = np.array(points, dtype=float).T
    weighed = np.stack([np.ones_like(x), x], axis=1) / y[:, None]
    return np.linalg.lstsq(weighed, np.ones_like(y), rcond=None)[0]


def report(session, n_ranks, found):
    crowding = max(1, n_ranks / os.cpu_count())
    latency, a_number = line_through([(int(n), each) for n, each in found["sums"].items()])
    cases = found["cases"]
    alone = [
        (case["n_weights"] * case["batch_size"], statistics.median(case["alone"]))
        for case in cases
    ]
    begins, a_weight_and_row = line_through(alone)
    session.say("")
    session.say(
        f"{n_ranks} ranks, the default net: ms of a step, and times the rows a second of one"
    )
    session.say(
        f"{'columns':>7}{'batch':>6}{'one':>7}{'ranks':>7}{'floor':>7}{'model':>7}"
        f"{'ranks over one':>22}{'floor over one':>22}"
    )
    for case, (size, _) in zip(cases, alone, strict=True):
        predicted = (begins + a_weight_and_row * size / n_ranks) * crowding
        # The margin of the batch, and the gradients.
        predicted += 2 * latency + a_number * case["n_weights"]
        fields = [statistics.median(case[name]) for name in ("alone", "shared", "apart")]
        line = f"{case['n_columns']:>7}{case['batch_size']:>6}"
        line += "".join(f"{1e3 * field:7.2f}" for field in (*fields, predicted))
        for name in ("shared", "apart"):
            ratios = [a / b for a, b in zip(case["alone"], case[name], strict=True)]
            text = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            line += f"{text:>22}"
        session.say(line)
    session.say(
        f"a step of one {1e3 * begins:.2f} ms + {1e12 * a_weight_and_row:.1f} ps a row and "
        f"weight, a sum {1e3 * latency:.2f} ms + {1e9 * a_number:.2f} ns a number"
    )
    times = {name: statistics.median(each) for name, each in found["certificates"].items()}
    session.say(
        f"certificate of {found['n_certified']:,} rows: {times['alone']:.2f} s by one, "
        f"{times['shared']:.2f} s by {n_ranks}"
    )


def say_before(session):
    """Measure what a fit does before its first step, and after its last; predict the last."""
    seconds = []
    for n_rows, n_columns in BEFORE:
        X = np.resize(table(n_columns), (n_rows, n_columns))
        teacher = GaussianMixtureTeacher(n_components=10, random_state=0).fit(X[:2000])
        times = []
        for _ in range(3):
            vae = TeacherGuidedVAE(
                teacher=FrozenEstimator(teacher), batch_size=4096, max_epochs=1, random_state=0
            ).set_params(early_stopping=False, device="cpu")
            start = time.perf_counter()
            vae.fit(X)
            times.append(time.perf_counter() - start - vae.history_[0]["seconds"])
        seconds.append(min(times))
    # Rows, as for the teacher, and their entries, by relative errors; the last is left out.
    sizes = np.array([(n_rows, n_rows * n_columns) for n_rows, n_columns in BEFORE], float)
    known = sizes[:-1] / np.array(seconds)[:-1, None]
    a_row, an_entry = np.linalg.lstsq(known, np.ones(len(known)), rcond=None)[0]
    n_rows, n_columns = BEFORE[-1]
    session.say("")
    session.say(
        f"before and after training {1e6 * a_row:.2f} us a row + {1e9 * an_entry:.1f} ns an "
        f"entry;\n  of {n_rows:,} x {n_columns} {sizes[-1] @ (a_row, an_entry):.2f} s by the "
        f"model, {seconds[-1]:.2f} s measured"
    )
    session.results.append({"before": seconds, "sizes": BEFORE})
    return a_row, an_entry


def say_search(session):
    """Measure a search by one, two and three workers; predict the last two."""
    X = table(64)[:4096]
    teacher = GaussianMixtureTeacher(n_components=10, random_state=0).fit(X[:2000])
    vae = TeacherGuidedVAE(
        teacher=FrozenEstimator(teacher), batch_size=128, max_epochs=10, early_stopping=False
    ).set_params(random_state=0, device="cpu", precision="fp32")
    grid = {"beta": np.linspace(0.5, 1.0, N_CANDIDATES)}
    n_fits, seconds = N_CANDIDATES * N_FOLDS, {}
    for n_workers in (1, 2, 3):
        search = GridSearchCV(vae, grid, cv=N_FOLDS, refit=False, n_jobs=n_workers)
        search.fit(X)
        seconds[n_workers] = seconds_of(lambda search=search: search.fit(X))
    for n_workers in (2, 3):
        n_turns = -(-n_fits // n_workers) * max(1, n_workers / os.cpu_count())
        session.say(
            f"search of {n_fits} fits by {n_workers} workers: "
            f"{seconds[1] / n_fits * n_turns:.2f} s by the model, {seconds[n_workers]:.2f} s "
            f"measured ({seconds[1]:.2f} s by one)"
        )
    session.results.append({"search": seconds})


def say_predictions(session, a_row, an_entry, n_columns=128, n_components=10):
    """Print what the model says of machines that were not measured."""
    net = TeacherGuidedVAE(max_epochs=1, early_stopping=False, random_state=0, batch_size=64)
    X = table(n_columns)[:500]
    n_weights = sum(weight.numel() for weight in net.fit(X).net_.module_.parameters())
    session.say("")
    session.say(
        f"PREDICTION, not measured: default net, {n_columns} columns, {n_weights:,} weights, "
        "s a pass"
    )
    session.say(f"{'rows':>15}{'batch':>9}{'1 GPU':>10}{'8 GPUs':>10}{'64 GPUs':>10}")
    for n_rows in (10_000_000, 1_000_000_000):
        for batch_size in (8192, 65_536):
            n_steps = -(-n_rows // batch_size)
            line = f"{n_rows:>15,}{batch_size:>9,}"
            for n_ranks in (1, 8, 64):
                a_sum, a_number = SUMS.get(n_ranks, (0.0, 0.0))
                seconds = GPU[0] + GPU[1] * n_weights * batch_size / n_ranks
                seconds += 2 * a_sum + a_number * n_weights
                line += f"{n_steps * seconds:10.1f}"
            session.say(line)
    n_rows = 1_000_000_000
    entries = n_rows * n_columns
    session.say("a billion rows besides, 4 bytes an entry, ten components of the teacher:")
    session.say(
        f"  {4 * entries / 1e9:.0f} GB of rows, {4 * entries / DISK:.0f} s a pass to read"
    )
    session.say(f"  {4 * n_rows * n_components / 1e9:.0f} GB of what the teacher says, a rank")
    hours = (a_row * n_rows + an_entry * entries) / 3600
    session.say(f"  {hours:.1f} hours on one thread before and after training, each rank")


def main():
    options = parser(__doc__).parse_args()
    session = Session("ranks", options, clock="wall")
    for n_ranks in (2, 3):
        found = measured(n_ranks, options.rounds)
        report(session, n_ranks, found)
        session.results.append({"n_ranks": n_ranks, **found})
    warnings.simplefilter("ignore")
    costs = say_before(session)
    say_search(session)
    say_predictions(session, *costs)
    session.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
