"""Prevention, collapse, rescue and the baselines: arms that differ in parameters alone.

*Prevention*, *collapse* and *rescue* share a setting that is collapse-prone: a Gaussian
decoder so noisy that the code buys no likelihood. *Prevention* trains with alignment;
*collapse* without; *rescue* starts from the collapsed weights, with alignment. The
baselines, and *teacher-guided* beside them, train where reconstruction pays for a code.
All arms of a seed share the split and the teachers. Each is certified on rows that none
of it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_consistent_length

from skvae.protocol.arms import (
    ARMS,
    SETTING,
    STARTS,
    arm_parameters,
    choose_arms,
)
from skvae.protocol.results_folder import (
    ResultsFolder,
    check_names,
    content_hash,
    identity_of,
    plain,
)
from skvae.protocol.runs import Run, Split, needs_teacher, train_group
from skvae.protocol.teacher_panel import TeacherPanel
from skvae.training.devices import resolve_device

__all__ = ["run", "versions"]

TEST_FRACTION = 0.2
# What determines the last digits, beside the parameters.
LIBRARIES = ("skvae", "torch", "scikit-learn", "skorch", "numpy")


def run(
    data: NDArray | tuple[NDArray, NDArray],
    y: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    *,
    arms: Sequence[str] | Mapping[str, Mapping[str, Any]] = tuple(ARMS),
    seeds: Sequence[int] = (0, 1, 2),
    teachers: str | int | Sequence[Any] = "per-seed",
    epochs: int = 100,
    alignment_weight: float = 10.0,
    device: str = "auto",
    setting: Mapping[str, Any] | None = None,
    folder: str | PathLike[str] | None = None,
    n_jobs: int = 1,
    on_progress: Callable[[int], Any] = lambda finished: None,
    on_resume: Callable[[int], Any] = lambda found: None,
) -> dict[str, Any]:
    """Train and certify every arm with every seed and teacher.

    Parameters
    ----------
    data : ndarray of shape (n_samples, n_features), or tuple of two
        Rows, of which a fifth is held out, the same for every seed; or the rows to train on
        and those to hold out.
    y : array-like of shape (n_samples,), tuple of two, or None, default=None
        Labels, as `data`. They train nothing; a linear classifier of the codes is scored by
        them.
    arms : sequence of str, or mapping, default=("prevention", "collapse", "rescue")
        Names in `ARMS`, `TEACHER_GUIDED` and `BASELINES`; a mapping has names of your
        own and constructor parameters of `TeacherGuidedVAE`. The arms in `ARMS` train
        with `collapse_prone_variance`, all others with `informative_variance`, where the
        likelihood has a variance.
    seeds : sequence of int, default=(0, 1, 2)
        Each drives the initial weights, the batches and the noise of its arms.
    teachers : str, int or list of fitted teachers, default="per-seed"
        "per-seed" fits a `GaussianMixtureTeacher` with every seed, "search" runs a
        `TeacherSearch` with every seed. A list, or "fixed:3" (also 3) for three mixtures of
        their own seeds 0 to 2, meets every seed with every teacher; "fixed" is "fixed:1".
        "searched:3" is the same with three searches, each with a seed and a third of the
        training rows of its own.
        "fixed:3+search" is all four: what no teacher shapes is still trained once a seed.
    epochs : int, default=100
        Epochs of each arm; rescue trains as many again.
    alignment_weight : float, default=10.0
        Of the named arms that have an alignment; positive.
    device : str, default="auto"
        As in `TeacherGuidedVAE`.
    setting : mapping or None, default=None
        Constructor parameters for all arms, in place of those in `SETTING`, and of the
        decoder variance of both settings; an arm's own parameters come last. The
        `alignment_weight` of named arms is not set here.
    folder : str, path or None, default=None
        Where each finished run is written, at once and atomically. Runs that are there
        already are not done again; those of other set-ups are left alone. One call at a
        time should use a folder. Functions and classes among the parameters are known by
        their names, and must be defined at the top of a module.
    n_jobs : int, default=1
        Processes to train in, as in joblib. Each run has one thread, so the result is the
        same to the bit for any number on one machine's CPU.
    on_progress : callable
        Called with the number of runs just finished.
    on_resume : callable
        Called once, before training, with the number of runs found in the folder.

    Returns
    -------
    result : dict
        ``setting`` and ``arms`` (constructor parameters), ``teachers``, ``n_train``,
        ``n_test``, ``n_other_files`` (results of other set-ups in the folder), and
        ``runs``: one record for each seed, arm and teacher, with ``arm``, ``seed``, ``teacher``
        (its number), ``teacher_kind`` ("per-seed", "search", "fixed", "searched" or "given"),
        ``teacher_parameters`` (what a search chose), ``parameters``,
        ``report`` (raw, and by probe in its ``probe`` where 10 rows or more are held out),
        ``elbo`` (nats a row), ``reconstruction_error`` (squared, an entry, in the units
        of X), ``relative_reconstruction_error`` (as a share of that of the training mean),
        ``accuracy`` (of the linear classifier, on held-out rows), ``history`` and
        ``seconds`` (of training).

    Raises
    ------
    ValueError
        If no teacher can be fitted to the rows, all rows are equal, or an arm, a seed, a
        teacher or a parameter is none.

    Warns
    -----
    DamagedResultWarning
        If the file of a run is damaged; the run is done again.

    Notes
    -----
    Without alignment a teacher reaches neither encoder nor decoder, and the linear witness
    stays the best constant student it started as. Such an arm is trained once for each
    seed, and certified under each teacher with that teacher's constant student, which is
    what a fit with that teacher would have given, to the bit.
    """
    split = _split(data, y)
    if not alignment_weight > 0:
        raise ValueError(
            f"alignment_weight must be positive, got {alignment_weight!r}: arms without "
            "alignment are there beside those with it."
        )
    if "alignment_weight" in (setting or {}) and not isinstance(arms, Mapping):
        raise ValueError(
            "Named arms have an alignment_weight of their own, which none in the setting "
            "changes: pass it as run(alignment_weight=...), or --alignment-weight."
        )
    chosen = choose_arms(arms, alignment_weight)
    shared = {**SETTING, "max_epochs": epochs, "device": resolve_device(device)}
    shared |= dict(setting or {})
    parameters = arm_parameters(chosen, shared, split.X_train)
    seeds = _checked_seeds(seeds)
    panel = TeacherPanel.of(teachers)

    store = None if folder is None else ResultsFolder(Path(folder))
    if store is not None:
        check_names(parameters)
    about = {} if store is None else {"data": _fingerprint(split), "versions": versions()}
    planned = [
        _plan(arm, seed, number, parameters, about, chair.describe())
        for seed in seeds
        for arm in chosen
        for number, chair in enumerate(panel.chairs)
    ]
    found = {} if store is None else {each.name: store.read(each.name) for each in planned}
    records = {name: record for name, record in found.items() if record is not None}
    missing = [each for each in planned if each.name not in records]

    ready = panel.fit(missing, split.X_train, n_jobs)
    on_resume(len(records))
    tasks = [
        delayed(_train_named)(group, ready[group[0].seed], split, store)
        for group in _groups(missing)
    ]
    for pairs in Parallel(n_jobs=n_jobs, return_as="generator_unordered")(tasks):
        records.update(pairs)
        on_progress(len(pairs))
    names = {each.name for each in planned}
    return {
        "setting": plain(shared),
        "arms": plain({arm: parameters[arm] for arm in chosen}),
        "teachers": panel.name,
        "n_train": len(split.X_train),
        "n_test": len(split.X_test),
        "n_other_files": 0 if store is None else store.others(names),
        "runs": [records[each.name] for each in planned],
    }


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a result depends on.

    Returns
    -------
    versions : dict of str
        By the name of the package.
    """
    return {name: version(name) for name in LIBRARIES}


def _split(data: Any, y: Any) -> Split:
    if isinstance(data, tuple):
        if len(data) != 2 or (y is not None and not (isinstance(y, tuple) and len(y) == 2)):
            raise ValueError(
                "A split is a tuple (X_train, X_test), with labels (y_train, y_test) or none."
            )
        y_train, y_test = (None, None) if y is None else map(_labels, y)
        split = Split(*data, y_train, y_test)
        if split.X_train.shape[1:] != split.X_test.shape[1:]:
            raise ValueError(
                f"X_train and X_test must have the same columns, got {split.X_train.shape[1:]} "
                f"and {split.X_test.shape[1:]}."
            )
    elif y is None:
        split = Split(*train_test_split(data, test_size=TEST_FRACTION, random_state=0))
    else:
        rows = train_test_split(data, _labels(y), test_size=TEST_FRACTION, random_state=0)
        split = Split(*rows)
    check_consistent_length(split.X_train, split.y_train)
    check_consistent_length(split.X_test, split.y_test)
    return split


def _labels(y: Any) -> NDArray | None:
    return None if y is None else np.asarray(y)


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    checked = [int(seed) for seed in seeds]
    if not checked or len(set(checked)) < len(checked) or min(checked) < 0:
        raise ValueError(f"seeds must be different whole numbers from 0 on, got {seeds!r}.")
    return checked


def _fingerprint(split: Split) -> dict[str, str]:
    return {name: content_hash(array) for name, array in vars(split).items()}


def _plan(
    arm: str,
    seed: int,
    number: int,
    parameters: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, Any],
    teacher: Mapping[str, str],
) -> Run:
    start = parameters[STARTS[arm]] if arm in STARTS else None
    description = {
        **about,
        "parameters": plain(parameters[arm]),
        "start": plain(start),
        "teacher": teacher,
    }
    name = identity_of(description, f"{arm}-seed{seed}-teacher{number}")
    return Run(arm, seed, number, teacher["kind"], parameters[arm], start, name)


def _groups(missing: Sequence[Run]) -> list[list[Run]]:
    """Put together the runs that have, or start from, one trained model."""

    def root(each: Run) -> tuple[Any, ...]:
        shared = not needs_teacher(each.parameters if each.start is None else each.start)
        return (each.seed, STARTS.get(each.arm, each.arm), -1 if shared else each.teacher)

    return [list(group) for _, group in groupby(sorted(missing, key=root), key=root)]


def _train_named(
    group: Sequence[Run], teachers: Mapping[int, Any], split: Split, store: ResultsFolder | None
) -> list[tuple[str, dict[str, Any]]]:
    try:
        records = train_group(group, teachers, split, store)
    except Exception as error:
        error.add_note(f"This was {group[0].arm} with seed {group[0].seed}.")
        raise
    return [(each.name, record) for each, record in zip(group, records, strict=True)]
