"""The guard: a certificate that is lost without it, and kept with it.

On digits, with a decoder that gains next to nothing from the code. Training goes on from a
certified model with an alignment weight of a tenth of beta, where collapse is the optimum.
Certified on rows that were not in training.

    python docs/experiments/guard.py --n-jobs 2

Writes guard.json, guard.txt and guard.png beside itself.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

from joblib import Parallel, delayed
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.protocol import collapse_prone_variance

SEEDS = range(5)
EPOCHS = 200
GUARDS = (None, 0.5, 1.0)
STARTS = {
    "linear": {"witness": "linear"},
    "simplex": {"witness": "simplex", "prefit_epochs": 20},
}
SETTING = {
    "latent_dim": 10,
    "hidden_layer_sizes": (128,),
    "lr": 2e-3,
    "device": "cpu",
}
WEIGHT = 0.1
CERTIFICATE = ConstantCollapseCertificate(latent="sample")


def one_seed(X, X_test, seed):
    warnings.simplefilter("ignore")
    runs = []
    for witness, start in STARTS.items():
        shared = {
            **SETTING,
            "decoder_variance": collapse_prone_variance(X),
            "random_state": seed,
        }
        teacher = FrozenEstimator(
            GaussianMixtureTeacher(scaling="columns", random_state=seed).fit(X)
        )
        begun = TeacherGuidedVAE(**shared, **start, teacher=teacher, max_epochs=60).fit(X)
        before = CERTIFICATE.certify(begun, X_test)
        for guard in GUARDS:
            vae = TeacherGuidedVAE(
                **shared,
                witness=witness,
                teacher=teacher,
                warm_start=begun,
                alignment_weight=WEIGHT,
                guard=guard,
                max_epochs=EPOCHS,
            ).fit(X)
            after = CERTIFICATE.certify(vae, X_test)
            runs.append(
                {
                    "witness": witness,
                    "guard": guard,
                    "seed": seed,
                    "before": before.to_dict(),
                    "after": after.to_dict(),
                    "margin": [round(record["margin"], 4) for record in vae.history_],
                    "beta": [round(record["beta"], 4) for record in vae.history_],
                }
            )
    return runs


def tables(runs, seconds):
    lines = [
        f"{EPOCHS} epochs from a certified model, alignment_weight = {WEIGHT:g} beta; held-out",
        f"95% bounds at the sample read, least and greatest of {len(SEEDS)} seeds. Margin in",
        "training: the least of any epoch after the tenth, and share of beta in force, the",
        "average over the second half.",
        "",
        f"{'witness':9}{'guard':>7}{'certified':>11}{'bound before':>18}{'bound after':>18}"
        f"{'least margin':>18}{'share of beta':>15}",
    ]
    for witness in STARTS:
        for guard in GUARDS:
            chosen = [run for run in runs if (run["witness"], run["guard"]) == (witness, guard)]
            certified = sum(run["after"]["certified"] for run in chosen)
            shares = [
                sum(half) / len(half) for half in (r["beta"][EPOCHS // 2 :] for r in chosen)
            ]
            spans = [
                f"{min(values):.3f} {max(values):.3f}"
                for values in (
                    [run["before"]["lower_bound_sample"] for run in chosen],
                    [run["after"]["lower_bound_sample"] for run in chosen],
                    [min(run["margin"][10:]) for run in chosen],
                    shares,
                )
            ]
            lines.append(
                f"{witness:9}{guard or '-':>7}{f'{certified}/{len(chosen)}':>11}"
                f"{spans[0]:>18}{spans[1]:>18}{spans[2]:>18}{spans[3]:>15}"
            )
    lines += ["", f"{len(runs)} runs, {seconds:.0f} s"]
    return "\n".join(lines)


def figure(runs, path):
    from matplotlib import pyplot

    fig, panels = pyplot.subplots(2, 2, figsize=(10, 5.5), sharex=True, layout="constrained")
    for column, witness in zip(panels.T, STARTS, strict=True):
        for color, guard in enumerate(GUARDS):
            (run,) = (
                run
                for run in runs
                if (run["witness"], run["guard"], run["seed"]) == (witness, guard, SEEDS[0])
            )
            name = "without guard" if guard is None else f"guard {guard:g}"
            epochs = range(1, EPOCHS + 1)
            column[0].plot(epochs, run["margin"], color=f"C{color}", label=name, linewidth=1)
            column[1].plot(epochs, run["beta"], color=f"C{color}", linewidth=1)
            if guard is not None:
                column[0].axhline(guard, color=f"C{color}", linestyle=":", linewidth=1)
        column[0].axhline(0, color="black", linestyle="--", linewidth=1, zorder=0)
        column[0].set(title=f"{witness} witness")
        column[1].set(xlabel="epoch")
    panels[0, 0].set(ylabel="margin in training (nats)")
    panels[1, 0].set(ylabel="beta in force")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    fig.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    start = time.perf_counter()
    X, X_test = train_test_split(digits(), test_size=0.2, random_state=0)
    seeds = Parallel(n_jobs=arguments.n_jobs)(
        delayed(one_seed)(X, X_test, seed) for seed in SEEDS
    )
    runs = [run for found in seeds for run in found]
    text = tables(runs, time.perf_counter() - start)
    out = Path(__file__).with_suffix("")
    out.with_suffix(".json").write_text(json.dumps(runs) + "\n")
    out.with_suffix(".txt").write_text(text + "\n")
    figure(runs, out.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    main()
