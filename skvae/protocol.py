"""Prevention, collapse, rescue: three arms that differ in one parameter.

All arms of a seed share the split, the teacher and the setting, which is collapse-prone:
a Gaussian decoder so noisy that the code buys no likelihood. *Prevention* trains with
alignment; *collapse* without; *rescue* starts from the collapsed weights, with
alignment. Each is certified on rows that none of it has seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skvae.baselines import BASELINES
from skvae.certificate import ConstantCollapseCertificate
from skvae.exceptions import InterruptedFitWarning, UncertifiedWarning
from skvae.teachers import GaussianMixtureTeacher
from skvae.vae import TeacherGuidedVAE

__all__ = [
    "ARMS",
    "BASELINES",
    "SETTING",
    "broken_promises",
    "collapse_prone_variance",
    "run",
]

ARMS: dict[str, dict[str, Any]] = {
    "prevention": {"alignment_weight": 10.0},
    "collapse": {"alignment_weight": 0.0},
    "rescue": {"alignment_weight": 10.0},
}
SETTING: dict[str, Any] = {
    "latent_dim": 8,
    "hidden_layer_sizes": (128,),
    "beta": 1.0,
    "batch_size": 128,
    "lr": 2e-3,
}
TEST_FRACTION = 0.2
# A linear decoder uses no dimension once its variance exceeds the largest eigenvalue of
# the data's covariance (Lucas et al., NeurIPS 2019); half as much again leaves no doubt.
VARIANCE_RATIO = 1.5
# What the arms promise on held-out rows.
COLLAPSED_RATE = 0.01
PREVENTION_SHARE = 0.5
RESCUE_TOLERANCE = 0.1


def collapse_prone_variance(X: NDArray) -> float:
    """Return a decoder variance at which a code buys no likelihood.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Training rows.

    Returns
    -------
    variance : float
        1.5 times the largest eigenvalue of the covariance of X, in its squared units.

    Raises
    ------
    ValueError
        If all rows are equal, or so far apart that their covariance overflows.

    References
    ----------
    Lucas, Tucker, Grosse and Norouzi, Don't blame the ELBO!, NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.protocol import collapse_prone_variance
    >>> round(collapse_prone_variance(np.array([[-1.0, 0.0], [1.0, 0.0]])), 6)
    1.5
    """
    with np.errstate(over="ignore", invalid="ignore"):
        covariance = np.atleast_2d(np.cov(X, rowvar=False, bias=True))
    if not np.isfinite(covariance).all():
        raise ValueError("The covariance of X is not finite: rescale it, or clip its outliers.")
    largest = float(np.linalg.eigvalsh(covariance)[-1])
    if not largest > 0:
        raise ValueError("All rows of X are equal: there is nothing that a code could keep.")
    return VARIANCE_RATIO * largest


def run(
    X: NDArray,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 100,
    device: str = "auto",
    n_jobs: int = 1,
    on_progress: Callable[[int], Any] = lambda finished: None,
) -> dict[str, Any]:
    """Train and certify every arm with every seed.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows; a fifth of them is held out, the same for every seed.
    seeds : sequence of int, default=(0, 1, 2)
        Each drives a teacher, the initial weights and the noise of its three arms.
    epochs : int, default=100
        Epochs of each arm.
    device : str, default="auto"
        As in `TeacherGuidedVAE`.
    n_jobs : int, default=1
        Processes to train in. The result is the same for any number on one machine's
        CPU, as long as X has fewer than about 4 million entries: then all work that
        could depend on the number of threads is done on one.
    on_progress : callable
        Called with the number of arms just finished.

    Returns
    -------
    result : dict
        ``setting`` and ``arms`` (constructor parameters), ``n_train``, ``n_test``, and
        ``runs``: one record for each seed and arm, with ``arm``, ``seed``, ``report``,
        ``elbo`` (on the held-out rows, nats a row) and ``history``.

    Raises
    ------
    ValueError
        If no teacher can be fitted to X, or all its rows are equal.
    """
    X_train, X_test = train_test_split(X, test_size=TEST_FRACTION, random_state=0)
    setting = {
        **SETTING,
        "decoder_variance": collapse_prone_variance(X_train),
        "max_epochs": epochs,
        "device": device,
    }
    tasks = []
    for seed in seeds:
        teacher = FrozenEstimator(GaussianMixtureTeacher(random_state=seed).fit(X_train))
        model = TeacherGuidedVAE(teacher=teacher, random_state=seed, **setting)
        # Rescue has to wait for collapse; prevention waits for nothing.
        for chain in (("prevention",), ("collapse", "rescue")):
            tasks.append(delayed(_train_chain)(model, chain, X_train, X_test))
    runs = []
    for records in Parallel(n_jobs=n_jobs, return_as="generator")(tasks):
        runs += records
        on_progress(len(records))
    return {
        "setting": setting,
        "arms": ARMS,
        "n_train": len(X_train),
        "n_test": len(X_test),
        "runs": runs,
    }


def broken_promises(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Say where the pattern of prevention, collapse and rescue does not hold.

    Parameters
    ----------
    runs : sequence of dict
        The records of `run`, all three arms of each seed.

    Returns
    -------
    broken : list of str
        One sentence for each promise that a run breaks; empty if the pattern holds.
    """
    broken = []
    margins = ("margin_mean", "margin_sample")
    reports = {(run["arm"], run["seed"]): run["report"] for run in runs}
    for (arm, seed), report in reports.items():

        def expect(holds: bool, promise: str, found: float, arm=arm, seed=seed) -> None:
            if not holds:
                broken.append(f"{arm}, seed {seed}: expected {promise}, got {found:.4f}")

        if arm == "collapse":
            rate, active = report["rate"], report["active_units"]
            expect(rate < COLLAPSED_RATE, f"rate < {COLLAPSED_RATE}", rate)
            expect(active == 0, "no active unit", active)
            for name in margins:
                expect(report[name] <= 0, f"{name} <= 0", report[name])
            expect(not report["certified"], "no certificate", report["lower_bound_sample"])
        elif arm == "prevention":
            expect(report["certified"], "a bound above 0", report["lower_bound_sample"])
            least = PREVENTION_SHARE * report["teacher_information"]
            for name in margins:
                expect(report[name] > least, f"{name} > I_T / 2 = {least:.4f}", report[name])
        else:
            expect(report["certified"], "a bound above 0", report["lower_bound_sample"])
            for name in margins:
                aim = reports["prevention", seed][name]
                near = abs(report[name] - aim) <= RESCUE_TOLERANCE * abs(aim)
                expect(near, f"{name} within 10% of prevention's {aim:.4f}", report[name])
    return broken


def _train_chain(
    model: TeacherGuidedVAE, chain: Sequence[str], X_train: NDArray, X_test: NDArray
) -> list[dict[str, Any]]:
    certificate = ConstantCollapseCertificate(latent="sample")
    records = []
    before: TeacherGuidedVAE | bool = False
    for arm in chain:
        parameters = {**model.get_params(deep=False), **ARMS[arm], "warm_start": before}
        fitted = TeacherGuidedVAE(**parameters)
        with warnings.catch_warnings():
            # The table says it; and an arm cut short is no result.
            warnings.simplefilter("ignore", UncertifiedWarning)
            warnings.simplefilter("error", InterruptedFitWarning)
            fitted.fit(X_train)
        records.append(
            {
                "arm": arm,
                "seed": model.random_state,
                "report": certificate.certify(fitted, X_test).to_dict(),
                "elbo": fitted.score(X_test),
                "history": fitted.history_,
            }
        )
        before = fitted
    return records
