"""Prevention, collapse, rescue and the baselines: arms that differ in parameters alone.

*Prevention*, *collapse* and *rescue* share a setting that is collapse-prone: a Gaussian
decoder so noisy that the code buys no likelihood. *Prevention* trains with alignment;
*collapse* without; *rescue* starts from the collapsed weights, with alignment. The
baselines, and *teacher-guided* beside them, train where reconstruction pays for a code.
All arms of a seed share the split and the teachers. Each is certified on rows that none
of it has seen.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import groupby
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import _num_samples

from skvae._common.parameters import NumberInterval
from skvae._common.progress import Progress
from skvae.protocol.arms import (
    ARMS,
    SETTING,
    STARTS,
    arm_parameters,
    choose_arms,
    suited_to_images,
    suited_to_rows,
)
from skvae.protocol.notes import noted
from skvae.protocol.results_folder import (
    ResultsFolder,
    check_names,
    content_hash,
    identity_of,
    plain,
)
from skvae.protocol.runs import Run, needs_teacher, train_group
from skvae.protocol.splits import Part, Split, parts_of, split_of
from skvae.protocol.teacher_panel import TeacherPanel
from skvae.rows.frames import columns_of, is_frame, types_of
from skvae.rows.sources import RowsLike
from skvae.training.devices import resolve_device

__all__ = ["run", "versions"]

# Types and ranges of what is no row, no arm, no seed and no teacher.
CONSTRAINTS: dict[str, list[Any]] = {
    "epochs": [NumberInterval(Integral, 1, None, closed="left")],
    "alignment_weight": [NumberInterval(Real, None, None, closed="neither")],
    "device": [str],
    "setting": [Mapping, None],
    "folder": [str, os.PathLike, None],
    "n_jobs": [
        NumberInterval(Integral, 1, None, closed="left"),
        NumberInterval(Integral, None, -1, closed="right"),
        None,
    ],
    "verbose": ["verbose"],
    "on_progress": [callable],
    "on_resume": [callable],
}
SEED = NumberInterval(Integral, 0, 2**32 - 1, closed="both")
# What determines the last digits, beside the parameters.
LIBRARIES = ("skvae", "torch", "scikit-learn", "skorch", "numpy")


def run(
    data: RowsLike | tuple[RowsLike, RowsLike],
    y: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    *,
    arms: Sequence[str] | Mapping[str, Mapping[str, Any]] = tuple(ARMS),
    seeds: Sequence[int] = (0, 1, 2),
    teachers: str | int | Sequence[Any] = "per-seed",
    epochs: int = 100,
    alignment_weight: float = 10.0,
    device: str = "auto",
    setting: Mapping[str, Any] | None = None,
    folder: str | os.PathLike[str] | None = None,
    n_jobs: int | None = 1,
    verbose: int | bool = 0,
    on_progress: Callable[[int], Any] = lambda finished: None,
    on_resume: Callable[[int], Any] = lambda found: None,
) -> dict[str, Any]:
    """Train and certify every arm with every seed and teacher.

    Parameters
    ----------
    data : array-like of shape (n_samples, n_features), or tuple of two
        Rows, of which a fifth is held out, the same for every seed; or the rows to train on
        and those to hold out, which must be a tuple: a list holds rows. Whatever
        `TeacherGuidedVAE.fit` takes will do: data frames, which reach a given teacher with
        their names, data sets, and images of four dimensions where an arm has an
        `image_shape` or is convolutional.
    y : array-like of shape (n_samples,), tuple of two, or None, default=None
        Labels, numbers or text, as `data`. They train nothing; a linear classifier of the
        codes is scored by them.
    arms : sequence of str, or mapping, default=("prevention", "collapse", "rescue")
        Names in `ARMS`, `TEACHER_GUIDED` and `BASELINES`; a mapping has names of your
        own and constructor parameters of `TeacherGuidedVAE`. The arms in `ARMS` train
        with `collapse_prone_variance`, all others with `informative_variance`, where the
        likelihood has a variance.
    seeds : sequence of int, default=(0, 1, 2)
        Different whole numbers from 0 to 2**32 - 1. Each drives the initial weights, the
        batches and the noise of its arms.
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
    n_jobs : int or None, default=1
        Processes to train in, as in joblib; None is those of its `parallel_config`. Each run
        has one thread, so the result is the same to the bit for any number on one machine's
        CPU.
    verbose : int or bool, default=0
        0 is silent; 1 a line on stderr that is rewritten as runs are finished, with the time
        left; 2 a line on stdout for each run. Both also through the logger "skvae".
    on_progress : callable
        Called with the number of runs just finished. If it raises, that ends the call, and
        what is in the folder stays.
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
    ValueError, TypeError
        For rows that `fit` refuses, in either half, labels that a linear classifier cannot
        learn, an arm, a seed, a teacher or a parameter that is none, and rows that are all
        equal, before a teacher is fitted; for rows that no teacher can be fitted to, or that
        it says the same of, before anything is trained.
    OSError
        If the folder cannot be written to, before anything is trained, or the disk is full; it
        has the path.
    concurrent.futures.process.BrokenProcessPool
        If a process that trains is killed. Like after any other error, the finished runs are
        in the folder, and the same call goes on from there.

    Warns
    -----
    DamagedResultWarning
        If the file of a run is damaged, or is that of another run; the run is done again.

    Notes
    -----
    Without alignment a teacher reaches neither encoder nor decoder, and the linear witness
    stays the best constant student it started as. Such an arm is trained once for each
    seed, and certified under each teacher with that teacher's constant student, which is
    what a fit with that teacher would have given, to the bit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import protocol
    >>> found = protocol.run(load_iris().data, arms=["collapse"], seeds=[0, 1], epochs=1)
    >>> [(run["arm"], run["seed"], run["report"]["certified"]) for run in found["runs"]]
    [('collapse', 0, False), ('collapse', 1, False)]
    """
    options = {
        "epochs": epochs,
        "alignment_weight": alignment_weight,
        "device": device,
        "setting": setting,
        "folder": folder,
        "n_jobs": n_jobs,
        "verbose": verbose,
        "on_progress": on_progress,
        "on_resume": on_resume,
    }
    validate_parameter_constraints(CONSTRAINTS, options, caller_name="protocol.run")
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
    parameters = arm_parameters(chosen, shared)
    seeds = _checked_seeds(seeds)
    panel = TeacherPanel.of(teachers)
    split, rows, parameters = _prepared(parts_of(data, y), parameters)

    store = None if folder is None else ResultsFolder(Path(folder))
    if store is not None:
        check_names(parameters)
    about = {} if store is None else {"data": _fingerprint(split, rows), "versions": versions()}
    told = [{"kind": each.kind} if store is None else each.describe() for each in panel.chairs]
    planned = [
        _plan(arm, seed, number, parameters, about, teacher)
        for seed in seeds
        for arm in chosen
        for number, teacher in enumerate(told)
    ]
    found = {} if store is None else {each.name: store.read(each.name) for each in planned}
    records = {name: record for name, record in found.items() if record is not None}
    missing = [each for each in planned if each.name not in records]

    if store is not None and missing:
        store.check_writable()
    with _deaths_told(None if store is None else store.path):
        ready = panel.fit(missing, split, n_jobs)
        on_resume(len(records))
        tasks = [
            delayed(_train_named)(group, ready[group[0].seed], split, store)
            for group in _groups(missing)
        ]
        # An error before the first run is done stands by itself.
        progress = Progress(verbose, len(planned), "Protocol", "run", at_once=False)
        with progress, _stopping(_done(tasks, n_jobs)) as finished:
            progress.begin_at(len(records))
            for pairs in finished:
                records.update(pairs)
                for _, record in pairs:
                    progress.advance(partial(_in_words, record))
                on_progress(len(pairs))
    names = {each.name for each in planned}
    return {
        "setting": plain(shared),
        "arms": plain({arm: parameters[arm] for arm in chosen}),
        "teachers": panel.name,
        "n_train": _num_samples(split.X_train),
        "n_test": _num_samples(split.X_test),
        "n_other_files": 0 if store is None else store.others(names),
        "runs": [records[each.name] for each in planned],
    }


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a result depends on.

    Returns
    -------
    versions : dict of str
        By the name of the package.

    Examples
    --------
    >>> from skvae import protocol
    >>> list(protocol.versions())
    ['skvae', 'torch', 'scikit-learn', 'skorch', 'numpy']
    """
    return {name: version(name) for name in LIBRARIES}


def _prepared(
    parts: list[Part], parameters: Mapping[str, Mapping[str, Any]]
) -> tuple[Split, Split, dict[str, dict[str, Any]]]:
    """Check the rows, and fit the parameters of the arms to them."""
    parameters = suited_to_images(parameters, parts[0].X)
    shapes = [settled.get("image_shape") for settled in parameters.values()]
    image_shape = next((shape for shape in shapes if shape is not None), None)
    split, rows = split_of(parts, image_shape)
    names = columns_of(split.X_train) if is_frame(split.X_train) else None
    return split, rows, suited_to_rows(parameters, rows, names)


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    given = list(seeds) if isinstance(seeds, Iterable) else []
    whole = all(map(SEED.is_satisfied_by, given))
    if not given or not whole or len(set(given)) < len(given):
        raise ValueError(
            f"seeds must be different whole numbers from 0 to 2**32 - 1, got {seeds!r}."
        )
    return [int(seed) for seed in given]


def _fingerprint(split: Split, rows: Split) -> dict[str, Any]:
    data: dict[str, Any] = {name: content_hash(array) for name, array in vars(rows).items()}
    frame = split.X_train
    if is_frame(frame):
        # A given teacher may go by them.
        columns = zip(columns_of(frame), types_of(frame), strict=True)
        data["columns"] = [[str(name), str(dtype)] for name, dtype in columns]
    return data


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
    with noted(f"{group[0].arm} with seed {group[0].seed}"):
        records = train_group(group, teachers, split, store)
    return [(each.name, record) for each, record in zip(group, records, strict=True)]


def _done(tasks: Iterable[Any], n_jobs: int | None) -> Generator[Any, None, None]:
    """Yield what the tasks return as they are done, or where a backend cannot, at the end."""
    backend, _ = get_active_backend()
    return_as = "generator_unordered" if backend.supports_return_generator else "list"
    yield from Parallel(n_jobs=n_jobs, return_as=return_as)(tasks)


def _in_words(record: Mapping[str, Any]) -> str:
    report = record["report"]
    return (
        f"{record['arm']}, seed {record['seed']}, teacher {record['teacher']}, "
        f"{report['verdict']}, bound {report['lower_bound_sample']:.3f}, "
        f"ELBO {record['elbo']:.3f}"
    )


@contextmanager
def _stopping(done: Generator[Any, None, None]) -> Iterator[Generator[Any, None, None]]:
    """Stop what is still being trained where a callback raises."""
    try:
        yield done
    finally:
        with warnings.catch_warnings():
            # That some is cancelled is what is wanted.
            warnings.simplefilter("ignore", UserWarning)
            done.close()


@contextmanager
def _deaths_told(folder: Path | None) -> Iterator[None]:
    """Say what is left where a worker process was killed."""
    try:
        yield
    except BrokenProcessPool as error:
        kept = "no run is kept, as no folder was named"
        if folder is not None:
            kept = f"finished runs are kept in {folder}, and the same call goes on from there"
        raise BrokenProcessPool(
            f"A process that trained was killed; {kept}. A lower n_jobs leaves more memory for "
            f"each; or an encoder or a decoder of your own has crashed it. {error}"
        ) from error
