"""One arm trained and measured: what a record of the protocol holds."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import _safe_indexing, gen_batches
from sklearn.utils.validation import _num_samples

from skvae._common.parameters import unfrozen
from skvae._common.threads import one_thread_if
from skvae.certificate.scorer import ConstantCollapseCertificate
from skvae.exceptions import InterruptedFitWarning, UncertifiedWarning
from skvae.information import best_constant_student, teacher_information
from skvae.protocol.results_folder import ResultsFolder, plain
from skvae.protocol.splits import Split
from skvae.rows.sparse import matrix_of
from skvae.teachers.fits import teacher_distributions
from skvae.training.batches import is_large
from skvae.vae.estimator import TeacherGuidedVAE
from skvae.vae.warm_start import with_fresh_witness

__all__ = ["Run", "needs_teacher", "train_group", "under_teacher"]

# Rows, drawn at random, that the linear probe of the labels is fitted to.
LABELLED_ROWS = 10_000
# Fewest held-out rows that a probe can be fitted and scored in turn on.
PROBE_ROWS = 10
# Rows that are reconstructed at a time.
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Run:
    """One row of the results.

    Attributes
    ----------
    arm : str
        Name of the arm.
    seed : int
        Of the initial weights, the batches and the noise.
    teacher : int
        Number of the teacher, from 0, among those that this seed meets.
    teacher_kind : str
        Where it comes from: "per-seed", "search", "fixed", "searched" or "given".
    parameters : dict
        Constructor parameters of the model, but for teacher and seed.
    start : dict or None
        Those of the model that it starts from, where there is one.
    name : str
        Tells it from all other runs, those of other set-ups included.
    """

    arm: str
    seed: int
    teacher: int
    teacher_kind: str
    parameters: Mapping[str, Any]
    start: Mapping[str, Any] | None
    name: str


def needs_teacher(parameters: Mapping[str, Any]) -> bool:
    """Whether another teacher would have left another encoder and decoder.

    Without alignment a trained witness stays where it starts, and nothing of the teacher
    reaches the other weights; with early stopping the held-out rows have a part too.
    """
    model = TeacherGuidedVAE(**parameters)
    return bool(model.alignment_weight or model.witness == "simplex" or model.early_stopping)


def train_group(
    runs: Sequence[Run],
    teachers: Mapping[int, Any],
    split: Split,
    folder: ResultsFolder | None,
) -> list[dict[str, Any]]:
    """Train one model, and from it all that is wanted: one record a run.

    All runs have one seed, and one set of parameters that they have or start from. Where
    these need no teacher, the model is trained once and certified under each.

    Parameters
    ----------
    runs : sequence of Run
        What is wanted.
    teachers : mapping of int to fitted teacher
        Those of this seed.
    split : Split
        Rows and labels.
    folder : ResultsFolder or None
        Where each record is written as soon as it is there.

    Returns
    -------
    records : list of dict
        In the order of the runs.
    """
    records = []
    first = runs[0]
    root_parameters = first.parameters if first.start is None else first.start
    root_teacher = teachers[first.teacher if needs_teacher(root_parameters) else min(teachers)]
    # One thread whatever the size: so no bit depends on how many processes share the cores.
    with one_thread_if(True):
        root, seconds = _fit(root_parameters, root_teacher, first.seed, split)
        of_root: dict[str, Any] = {}
        for run in runs:
            teacher = teachers[run.teacher]
            if run.start is not None:
                model, took = _fit(run.parameters, teacher, run.seed, split, start=root)
                measures = _measure(model, split)
            else:
                own = teacher is root_teacher
                model = root if own else under_teacher(root, teacher, split.X_train)
                took = seconds
                measures = of_root = of_root or _measure(root, split)
            record = plain(
                {
                    "arm": run.arm,
                    "seed": run.seed,
                    "teacher": run.teacher,
                    "teacher_kind": run.teacher_kind,
                    "teacher_parameters": _searched_parameters(teacher),
                    "parameters": run.parameters,
                    "report": _certify(model, split.X_test),
                    **measures,
                    "history": model.history_,
                    "seconds": took,
                }
            )
            if folder is not None:
                folder.write(run.name, record)
            records.append(record)
    return records


def under_teacher(model: TeacherGuidedVAE, teacher: Any, X: Any) -> TeacherGuidedVAE:
    """Return a model that no teacher has shaped as a fit with another one would have left it.

    The encoder and the decoder are the same; the witness is the best constant student of
    the other teacher, on the training rows.

    Parameters
    ----------
    model : TeacherGuidedVAE
        Fitted with parameters for which `needs_teacher` is false; left untouched.
    teacher : fitted estimator with predict_proba
        The other teacher.
    X : ndarray or frame of shape (n_samples, n_features)
        The rows that the model was trained on.

    Returns
    -------
    other : TeacherGuidedVAE
        Has the teacher, its average and information, and a history whose ``alignment`` and
        ``margin`` are those of a constant witness.
    """
    dtype = np.float32 if is_large(model._check_shape(X)) else np.float64
    T = teacher_distributions(teacher, X, _num_samples(X), dtype)
    information, average_teacher = teacher_information(T), best_constant_student(T)
    fitted = model._fitted
    other = copy.copy(model)
    other._adopt(
        replace(
            fitted,
            teacher=teacher,
            teacher_fingerprint=getattr(unfrozen(teacher), "fingerprint_", None),
            teacher_information=information,
            average_teacher=average_teacher,
            margin=0.0,
            held_out=None,
            net=with_fresh_witness(fitted.net, average_teacher),
            history=[
                {**epoch, "alignment": information, "margin": 0.0} for epoch in fitted.history
            ],
        )
    )
    return other


def _fit(
    parameters: Mapping[str, Any],
    teacher: Any,
    seed: int,
    split: Split,
    start: TeacherGuidedVAE | bool = False,
) -> tuple[TeacherGuidedVAE, float]:
    model = TeacherGuidedVAE(**parameters, teacher=teacher, warm_start=start, random_state=seed)
    started = time.perf_counter()
    with warnings.catch_warnings():
        # The table says it; and an arm cut short is no result.
        warnings.simplefilter("ignore", UncertifiedWarning)
        warnings.simplefilter("error", InterruptedFitWarning)
        model.fit(split.X_train)
    return model, time.perf_counter() - started


def _certify(model: TeacherGuidedVAE, X_test: Any) -> dict[str, Any]:
    certificate = ConstantCollapseCertificate(
        latent="sample", probe=_num_samples(X_test) >= PROBE_ROWS
    )
    return certificate.certify(model, X_test).to_dict()


def _measure(model: TeacherGuidedVAE, split: Split) -> dict[str, Any]:
    """Measure what no teacher has a part in."""
    error, relative_error = _reconstruction_error(model, split)
    return {
        "elbo": model.score(split.X_test),
        "reconstruction_error": error,
        "relative_reconstruction_error": relative_error,
        "accuracy": _label_accuracy(model, split),
    }


def _reconstruction_error(model: TeacherGuidedVAE, split: Split) -> tuple[float, float | None]:
    """Mean squared error an entry, and its ratio to that of the training rows' mean."""
    training = matrix_of(model._check_shape(split.X_train))
    # Of a sparse matrix the mean is a matrix too.
    mean = np.asarray(training.mean(axis=0, dtype=np.float64)).ravel()
    n_rows = _num_samples(split.X_test)
    squares = squares_about_mean = 0.0
    for block in gen_batches(n_rows, BLOCK_ROWS):
        X = _safe_indexing(split.X_test, block)
        rows = model._check_shape(X)[:].astype(np.float64, copy=False)
        decoded = model.inverse_transform(model.transform(X))
        squares += float(np.square(rows - decoded).sum())
        squares_about_mean += float(np.square(rows - mean).sum())
    relative = squares / squares_about_mean if squares_about_mean else None
    return squares / (n_rows * mean.size), relative


def _label_accuracy(model: TeacherGuidedVAE, split: Split) -> float | None:
    """Share of held-out labels that a linear classifier reads off the codes."""
    if split.y_train is None or split.y_test is None:
        return None
    n_train = _num_samples(split.X_train)
    chosen = np.random.default_rng(0).permutation(n_train)[:LABELLED_ROWS]
    chosen.sort()
    labels = split.y_train[chosen]
    if len(np.unique(labels)) < 2:
        return None
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        # Codes without any penalty may be far apart; a probe that is nearly fitted will do.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(model.transform(_safe_indexing(split.X_train, chosen)), labels)
    return float(probe.score(model.transform(split.X_test), split.y_test))


def _searched_parameters(teacher: Any) -> dict[str, Any]:
    """Return what a search has chosen; nothing of a teacher that was not searched."""
    return getattr(teacher.estimator, "best_params_", {})
