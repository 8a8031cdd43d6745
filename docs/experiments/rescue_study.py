"""Rescue, studied: how long it takes from collapses of several depths, and what pulls.

On digits. A model that was certified is trained on without alignment, under a decoder that
gains next to nothing from the code, and copied when its rate has fallen to 1, 0.1, 0.01 and
0.0005 nats. Each copy is rescued epoch by epoch, of 12 steps each: how many until the 95%
bound at the sample read, on rows that no model was trained on, is above 0?

    python docs/experiments/rescue_study.py --n-jobs 2

Writes rescue_study.json, .txt and .png beside itself.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
import warnings
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    TeacherGuidedVAE,
    rescue,
)
from skvae.datasets import digits
from skvae.information.simplex import escape_force
from skvae.protocol import collapse_prone_variance

SEEDS = range(5)
DEPTHS = (1.0, 0.1, 0.01, 0.0005)
# Witness of the rescue, and whether it starts on the boundary again. A simplex witness has
# learned nothing that it could forget.
WITNESSES = (("linear", False), ("linear", True), ("simplex", False))
RATIOS = (10.0, 2.0)
GUARDS = (None, 0.5)
MAX_EPOCHS = 150
# A quarter of the rate of training: otherwise most rescues are over within one epoch.
RESCUE_LR = 5e-4
SCALE = 2.0
SETTING = {
    "latent_dim": 10,
    "hidden_layer_sizes": (128,),
    "lr": 2e-3,
    "device": "cpu",
    "witness_scale": SCALE,
}
CERTIFICATE = ConstantCollapseCertificate(latent="sample", confidence=0.95)


def rate(vae, X):
    return float(vae.posterior_kl(X).sum(axis=1).mean(dtype=np.float64))


def descend(X, witness, seed):
    """Return a copy of the model at each depth, least deep first."""
    vae = TeacherGuidedVAE(
        **SETTING,
        witness=witness,
        teacher=FrozenEstimator(
            GaussianMixtureTeacher(scaling="columns", random_state=seed).fit(X)
        ),
        decoder_variance=collapse_prone_variance(X),
        max_epochs=60,
        random_state=seed,
    ).fit(X)
    vae.set_params(alignment_weight=0.0)
    copies = {}
    for depth in DEPTHS:
        while rate(vae, X) > depth:
            vae.partial_fit(X)
        copies[depth] = copy.deepcopy(vae)
    return copies


def force_of(T, log_q):
    """Root mean square over rows of the force on a code, through a simplex witness."""
    force = escape_force(T, log_q, SCALE)
    return float(np.sqrt(np.square(force).sum(axis=1).mean()))


def forces(vae, X):
    """Force on the collapsed codes, what theory says of it, and that of a constant teacher."""
    T = vae.teacher_proba(X)
    average = T.mean(axis=0)
    log_q = vae.witness_log_proba(X)
    K = T.shape[1]
    theory = SCALE * np.sqrt(K / (K - 1) * np.square(T - average).sum(axis=1).mean())
    constant = np.tile(average, (len(T), 1))
    return {
        "force": force_of(T, log_q),
        "theory": float(theory),
        "constant_teacher": force_of(constant, np.log(constant)),
    }


def climb(donor, X, X_test, depth, witness, reset, ratio, guard, seed):
    """Rescue one copy; return the bound after each epoch."""
    bounds = [CERTIFICATE.score(donor, X_test)]
    vae = rescue(
        donor,
        X,
        reset_witness=reset,
        witness=witness,
        guard=guard,
        alignment_weight=ratio,
        lr=RESCUE_LR,
        max_epochs=1,
    ).estimator
    while True:
        bounds.append(CERTIFICATE.score(vae, X_test))
        # One epoch above the boundary is the answer; a few more show that it stays there.
        if len(bounds) > MAX_EPOCHS or min(bounds[-10:]) > 0:
            break
        vae.partial_fit(X)
    above = [epoch for epoch, bound in enumerate(bounds) if bound > 0]
    return {
        "depth": depth,
        "witness": witness,
        "reset": reset,
        "ratio": ratio,
        "guard": guard,
        "seed": seed,
        "rate": rate(donor, X_test),
        "epochs": next((epoch for epoch in above if epoch > 0), None),
        "bounds": [round(bound, 4) for bound in bounds],
    }


def study(X, X_test, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copies = {witness: descend(X, witness, seed) for witness in ("linear", "simplex")}
        runs = [
            climb(copies[witness][depth], X, X_test, depth, witness, reset, ratio, guard, seed)
            for depth in DEPTHS
            for witness, reset in WITNESSES
            for ratio in RATIOS
            for guard in GUARDS
        ]
    pulls = [
        {"seed": seed, "depth": depth, **forces(vae, X_test)}
        for depth, vae in copies["simplex"].items()
    ]
    return runs, pulls


def label(witness, reset):
    return f"{witness}, back on the boundary" if reset else witness


def tables(runs, pulls, seconds):
    lines = [
        "Epochs until the held-out 95% bound at the sample read is above 0:",
        f"least, median and greatest of {len(SEEDS)} seeds; - is none in {MAX_EPOCHS} epochs",
        "",
        f"{'witness':30}{'weight':>8}{'guard':>7}"
        + "".join(f"{f'rate {depth:g}':>16}" for depth in DEPTHS),
    ]
    for witness, reset in WITNESSES:
        for ratio in RATIOS:
            for guard in GUARDS:
                cells = []
                for depth in DEPTHS:
                    found = [
                        MAX_EPOCHS + 1 if run["epochs"] is None else run["epochs"]
                        for run in runs
                        if (run["witness"], run["reset"]) == (witness, reset)
                        and (run["ratio"], run["guard"]) == (ratio, guard)
                        and run["depth"] == depth
                    ]
                    three = (min(found), int(np.median(found)), max(found))
                    shown = ("-" if value > MAX_EPOCHS else str(value) for value in three)
                    cells.append(f"{' '.join(f'{text:>4}' for text in shown):>16}")
                lines.append(
                    f"{label(witness, reset):30}{f'{ratio:g} beta':>8}{guard or '-':>7}"
                    + "".join(cells)
                )
    lines += [
        "",
        "Force on a held-out code through a simplex witness: nats per unit, root mean square",
        "of the rows, least and greatest of the seeds; theory is the force on a constant code,",
        "scale sqrt(K / (K - 1) E|T - Tbar|^2)",
        "",
        f"{'rate at most':>14}{'force':>18}{'theory':>18}{'constant teacher':>20}",
    ]
    for depth in DEPTHS:
        chosen = [pull for pull in pulls if pull["depth"] == depth]
        spans = [
            f"{min(p[key] for p in chosen):.4f} {max(p[key] for p in chosen):.4f}"
            for key in ("force", "theory", "constant_teacher")
        ]
        lines.append(f"{depth:14g}{spans[0]:>18}{spans[1]:>18}{spans[2]:>20}")
    lines += ["", f"{len(runs)} rescues, {seconds:.0f} s"]
    return "\n".join(lines)


def figure(runs, path):
    from matplotlib import pyplot

    fig, panels = pyplot.subplots(
        1, 3, figsize=(11, 3.6), sharex=True, sharey=True, layout="constrained"
    )
    deepest = (DEPTHS[-1], RATIOS[0])
    runs = [run for run in runs if (run["depth"], run["ratio"]) == deepest]
    for panel, (witness, reset) in zip(panels, WITNESSES, strict=True):
        for guard, color in zip(GUARDS, ("C0", "C1"), strict=True):
            for index, run in enumerate(
                run
                for run in runs
                if (run["witness"], run["reset"], run["guard"]) == (witness, reset, guard)
            ):
                name = "without guard" if guard is None else f"guard {guard:g}"
                panel.plot(run["bounds"], color=color, label=None if index else name)
        panel.axhline(0, color="black", linestyle="--", linewidth=1, zorder=0)
        panel.set(title=label(witness, reset), xlabel="epoch of the rescue")
        panel.legend(frameon=False)
    panels[0].set_ylabel("held-out 95% bound (nats)")
    fig.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    start = time.perf_counter()
    X, X_test = train_test_split(digits(), test_size=0.2, random_state=0)
    studies = Parallel(n_jobs=arguments.n_jobs)(
        delayed(study)(X, X_test, seed) for seed in SEEDS
    )
    runs = [run for found, _ in studies for run in found]
    pulls = [pull for _, found in studies for pull in found]
    text = tables(runs, pulls, time.perf_counter() - start)
    out = Path(__file__).with_suffix("")
    out.with_suffix(".json").write_text(json.dumps({"runs": runs, "forces": pulls}) + "\n")
    out.with_suffix(".txt").write_text(text + "\n")
    figure(runs, out.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    main()
