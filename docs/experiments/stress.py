"""Stress: a KL weight that collapses every plain VAE, and the witnesses that hold against it.

Two questions, on digits and on Fashion-MNIST (10,000 training rows):

1. With a decoder that gains next to nothing from the code and beta = 1, 2, 4, 8, which
   models are certified on held-out rows, at both reads?
2. Over the alignment weight as a multiple of beta: where does the certificate set in? Once
   with that decoder (1.5 times the largest eigenvalue of the data's covariance) and once
   with one that is deaf to the code (150 times).

    python docs/experiments/stress.py --fashion-mnist FOLDER --n-jobs 2

FOLDER holds the IDX files of Fashion-MNIST. Writes stress.json and stress.txt beside itself.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
import warnings
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.protocol import collapse_prone_variance
from skvae.protocol.arms import VARIANCE_RATIO

SEEDS = range(5)
BETAS = (1.0, 2.0, 4.0, 8.0)
RATIO = 10.0
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
DECODERS = {"collapse-prone": VARIANCE_RATIO, "deaf": 150.0}
SETTING = {
    "latent_dim": 10,
    "hidden_layer_sizes": (128,),
    "lr": 2e-3,
    "batch_size": 128,
    "early_stopping": False,
    "device": "cpu",
}
EPOCHS = {"digits": 100, "fashion-mnist": 30}
PREFIT = {"digits": 20, "fashion-mnist": 5}
TRAIN_ROWS, TEST_ROWS = 10_000, 2_000
ARMS = ("plain", "linear", "linear after prefit", "simplex with prefit")


def fashion_mnist(folder):
    """Return the first rows of the training and of the test images, in [0, 1]."""
    images = []
    for name, n_rows in (("train", TRAIN_ROWS), ("t10k", TEST_ROWS)):
        (path,) = Path(folder).glob(f"{name}-images-idx3-ubyte*")
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16)
        images.append(pixels.reshape(-1, 784)[:n_rows].astype(np.float32) / 255)
    return images


def train(arm, X, epochs, prefit, **parameters):
    plain = TeacherGuidedVAE(**SETTING, max_epochs=epochs, **parameters)
    if arm == "plain":
        return plain.set_params(alignment_weight=0.0).fit(X)
    if arm == "linear":
        return plain.fit(X)
    plain.set_params(witness="simplex", prefit_epochs=prefit)
    if arm == "simplex with prefit":
        return plain.fit(X)
    start = plain.set_params(max_epochs=1).fit(X)
    return TeacherGuidedVAE(**SETTING, max_epochs=epochs, warm_start=start, **parameters).fit(X)


def frozen_teacher(X, seed):
    return FrozenEstimator(GaussianMixtureTeacher(scaling="columns", random_state=seed).fit(X))


def local_threshold(teacher, X):
    """Return the ratio to beta at which the collapsed model turns from stable to a saddle."""
    T = teacher.predict_proba(X)
    average = T.mean(axis=0)
    deviation = (T - average) / np.sqrt(average)
    return 1 / float(np.linalg.eigvalsh(deviation.T @ deviation / len(T))[-1])


def one_run(data, X, X_test, teacher, decoder, beta, ratio, arm, seed):
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vae = train(
            arm,
            X,
            EPOCHS[data],
            PREFIT[data],
            teacher=teacher,
            beta=beta,
            alignment_weight=ratio * beta,
            decoder_variance=collapse_prone_variance(X) * DECODERS[decoder] / VARIANCE_RATIO,
            random_state=seed,
        )
    certificate = ConstantCollapseCertificate(latent="sample", probe=arm == "plain")
    report = certificate.certify(vae, X_test)
    return {
        "data": data,
        "decoder": decoder,
        "beta": beta,
        "ratio": 0.0 if arm == "plain" else ratio,
        "arm": arm,
        "seed": seed,
        "designed_margin": getattr(vae, "designed_margin_", None),
        "training_margin": vae.history_[-1]["margin"],
        "seconds": round(time.perf_counter() - start, 2),
        **{
            key: value
            for key, value in report.to_dict().items()
            if key not in ("kl_per_dimension", "probe")
        },
        "probe_bound": report.probe and report.probe.lower_bound_sample,
    }


def jobs(data):
    for seed in SEEDS:
        for beta in BETAS:
            for arm in ARMS:
                yield data, "collapse-prone", beta, RATIO, arm, seed
        for decoder in DECODERS:
            for ratio in RATIOS:
                for arm in ("linear", "simplex with prefit"):
                    if (decoder, ratio) != ("collapse-prone", RATIO):
                        yield data, decoder, 1.0, ratio, arm, seed


COLUMNS = {
    "at mean": "lower_bound_mean",
    "at sample": "lower_bound_sample",
    "designed": "designed_margin",
    "reached": "training_margin",
    "rate": "rate",
}
# A probe judges the plain VAE, which has no trained witness.
WITH_PROBE = {**COLUMNS, "by probe": "probe_bound"}


def heading(over, columns):
    return f"{'arm':20}{over:>5}{'certified':>11}" + "".join(f"{name:>14}" for name in columns)


def line(chosen, arm, value, columns):
    def span(key):
        values = [run[key] for run in chosen if run[key] is not None]
        return f"{min(values):7.3f}{max(values):7.3f}" if values else f"{'-':>14}"

    both = sum(min(run["lower_bound_mean"], run["lower_bound_sample"]) > 0 for run in chosen)
    spans = "".join(span(key) for key in columns.values())
    return f"{arm:20}{value:5g}{f'{both}/{len(chosen)}':>11}{spans}"


def tables(runs, thresholds):
    """Return the text of all tables; each line sums up the seeds."""
    lines = []
    for data in EPOCHS:
        of_data = [run for run in runs if run["data"] == data]
        if not of_data:
            continue
        information = [run["teacher_information"] for run in of_data]
        local = thresholds[data]
        lines += [
            f"{data}: I_T {min(information):.3f} to {max(information):.3f} nats on "
            f"{of_data[0]['n_samples']} held-out rows; least and greatest of "
            f"{len(SEEDS)} seeds.",
            "Under a deaf decoder the collapsed model with a linear witness is stable up to",
            f"a ratio of {min(local):.3f} to {max(local):.3f}. At mean, at sample: 95% bounds.",
            "",
            f"alignment_weight = {RATIO:g} beta, collapse-prone decoder",
            heading("beta", WITH_PROBE),
        ]
        for arm in ARMS:
            for beta in BETAS:
                chosen = [
                    run
                    for run in of_data
                    if (run["arm"], run["beta"], run["decoder"])
                    == (arm, beta, "collapse-prone")
                    and run["ratio"] in (0.0, RATIO)
                ]
                lines.append(line(chosen, arm, beta, WITH_PROBE))
        for decoder in DECODERS:
            lines += ["", f"beta = 1, {decoder} decoder", heading("ratio", COLUMNS)]
            for arm in ("linear", "simplex with prefit"):
                for ratio in RATIOS:
                    chosen = [
                        run
                        for run in of_data
                        if (run["arm"], run["beta"], run["decoder"], run["ratio"])
                        == (arm, 1.0, decoder, ratio)
                    ]
                    lines.append(line(chosen, arm, ratio, COLUMNS))
        lines.append("")
    seconds = sum(run["seconds"] for run in runs)
    lines.append(f"{len(runs)} runs, {seconds:.0f} s of one core")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fashion-mnist", metavar="FOLDER", help="folder of its IDX files")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    splits = {"digits": train_test_split(digits(), test_size=0.2, random_state=0)}
    if arguments.fashion_mnist:
        splits["fashion-mnist"] = fashion_mnist(arguments.fashion_mnist)
    teachers = {
        (data, seed): frozen_teacher(X, seed)
        for data, (X, _) in splits.items()
        for seed in SEEDS
    }
    tasks = [
        delayed(one_run)(data, *splits[data], teachers[data, seed], *rest, seed)
        for name in splits
        for data, *rest, seed in jobs(name)
    ]
    thresholds = {
        data: [local_threshold(teachers[data, seed], X) for seed in SEEDS]
        for data, (X, _) in splits.items()
    }
    runs = Parallel(n_jobs=arguments.n_jobs, verbose=1)(tasks)
    text = tables(runs, thresholds)
    out = Path(__file__).with_suffix("")
    found = {"local_thresholds": thresholds, "runs": runs}
    out.with_suffix(".json").write_text(json.dumps(found, indent=0) + "\n")
    out.with_suffix(".txt").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
