"""The teachers that each seed of the protocol meets: one of its own, fixed ones, given ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from joblib import hash as joblib_hash
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_is_fitted

from skvae._common.parameters import NumberInterval, unfrozen
from skvae._common.randomness import derive_seed
from skvae._common.threads import one_thread_if
from skvae.information.boundary import check_informative
from skvae.protocol.notes import noted
from skvae.protocol.runs import Run
from skvae.protocol.splits import Split
from skvae.rows.sparse import as_taken_by
from skvae.teachers.fits import teacher_distributions
from skvae.teachers.mixture import GaussianMixtureTeacher
from skvae.teachers.search import TeacherSearch
from skvae.vae.estimator import TeacherGuidedVAE

__all__ = ["TeacherPanel"]

PER_SEED, SEARCH, FIXED, SEARCHED, GIVEN = "per-seed", "search", "fixed", "searched", "given"


@dataclass(frozen=True)
class Chair:
    """Where a teacher comes from, before it is fitted.

    Attributes
    ----------
    kind : {"per-seed", "search", "fixed", "searched", "given"}
        Fitted with the seed of a run, fitted with a seed of its own, or fitted already.
    source : None, int, (int, int) or FrozenEstimator
        The seed of its own; of one that is searched, its number and how many there are; or
        the fitted teacher.
    """

    kind: str
    source: Any = None

    def describe(self) -> dict[str, str]:
        """Tell it from others by plain text."""
        content = _content_of(self.source) if self.kind == GIVEN else self.source
        return {"kind": self.kind, "content": str(content)}

    @property
    def is_of_a_seed(self) -> bool:
        """Whether each seed has one of its own."""
        return self.kind in (PER_SEED, SEARCH)

    def fit(self, seed: int | None, X: Any) -> FrozenEstimator:
        """Fit the teacher, with this seed if it is of one; in one thread."""
        if self.kind == GIVEN:
            return self.source
        own_seed = seed if self.is_of_a_seed else self.source
        # On standardised columns whatever their unit is, as in all records so far.
        mixture = partial(GaussianMixtureTeacher, scaling="columns")
        make = mixture if self.kind in (PER_SEED, FIXED) else TeacherSearch
        if self.kind == SEARCHED:
            own_seed, n_searched = self.source
            X = _safe_indexing(X, _share_of_rows(_num_samples(X), own_seed, n_searched))
        with one_thread_if(True):
            teacher = make(random_state=own_seed)
            return FrozenEstimator(teacher.fit(as_taken_by(teacher, X)))


@dataclass(frozen=True)
class TeacherPanel:
    """The teachers that each seed meets, by their numbers.

    Attributes
    ----------
    chairs : tuple of Chair
        In the order of the teachers' numbers.
    name : str
        As it was asked for; "given" for a list of fitted teachers.
    """

    chairs: tuple[Chair, ...]
    name: str

    @classmethod
    def of(cls, teachers: str | int | Sequence[Any]) -> TeacherPanel:
        """Return the panel that a user asks for.

        Parameters
        ----------
        teachers : str, int or list of fitted teachers
            As in `skvae.protocol.run`.

        Raises
        ------
        ValueError, TypeError
            If it is none of these, or a given teacher is not fitted or says no probabilities.

        Examples
        --------
        >>> from skvae.protocol.teacher_panel import TeacherPanel
        >>> [chair.kind for chair in TeacherPanel.of("fixed:2+search").chairs]
        ['fixed', 'fixed', 'search']
        """
        if NumberInterval(Integral, 1, None, closed="left").is_satisfied_by(teachers):
            teachers = f"{FIXED}:{teachers}"
        if isinstance(teachers, str):
            kinds = teachers.split("+")
            chairs = [chair for kind in kinds for chair in _chairs(kind)]
            # Twice the same teacher would be one file for two runs.
            if all(map(_chairs, kinds)) and len(set(chairs)) == len(chairs):
                return cls(tuple(chairs), teachers)
        elif isinstance(teachers, (list, tuple)) and teachers:
            given = [FrozenEstimator(unfrozen(teacher)) for teacher in teachers]
            for teacher in given:
                check_is_fitted(teacher.estimator)
                TeacherGuidedVAE(teacher=teacher)._validate_params()
            return cls(tuple(Chair(GIVEN, teacher) for teacher in given), GIVEN)
        raise ValueError(
            "teachers must be 'per-seed', 'search', 'fixed:N' or 'searched:N' with N of at "
            "least 1, some of these joined by '+', or a list of fitted teachers, got "
            f"{teachers!r}."
        )

    def __len__(self) -> int:
        return len(self.chairs)

    def fit(
        self, missing: Sequence[Run], split: Split, n_jobs: int | None
    ) -> Mapping[int, Mapping[int, Any]]:
        """Fit what the missing runs meet, each teacher once, and ask it about held-out rows.

        Parameters
        ----------
        missing : sequence of Run
            What is to be done.
        split : Split
            Rows to train on, and to measure on.
        n_jobs : int or None
            Processes, as in joblib; each fit has one thread.

        Returns
        -------
        teachers : dict of dict
            Frozen teachers by seed and number. Number 0 is always among them: a model that
            no teacher shapes is trained with it.

        Raises
        ------
        ValueError
            If a teacher cannot be fitted to the training rows, or says the same of all
            held-out rows, or no probabilities.
        """
        numbers = {(each.seed, each.teacher) for each in missing}
        wanted = sorted(numbers | {(each.seed, 0) for each in missing})
        # Fixed and given teachers are the same for all seeds.
        keys = {
            (seed, number): (seed if self.chairs[number].is_of_a_seed else None, number)
            for seed, number in wanted
        }
        once = list(dict.fromkeys(keys.values()))
        fits = Parallel(n_jobs=n_jobs)(
            delayed(self.chairs[number].fit)(seed, split.X_train) for seed, number in once
        )
        for (_, number), teacher in zip(once, fits, strict=True):
            # Else a report would be refused, with the training behind it.
            with noted(f"teacher {number} on the held-out rows"):
                n_rows = _num_samples(split.X_test)
                check_informative(teacher_distributions(teacher, split.X_test, n_rows))
        fitted = dict(zip(once, fits, strict=True))
        teachers: dict[int, dict[int, Any]] = {seed: {} for seed, _ in wanted}
        for (seed, number), key in keys.items():
            teachers[seed][number] = fitted[key]
        return teachers


def _chairs(kind: str) -> list[Chair]:
    if kind in (PER_SEED, SEARCH):
        return [Chair(kind)]
    found = re.fullmatch(rf"({FIXED}|{SEARCHED})(?::(\d+))?", kind)
    if found is None:
        return []
    kind, n_chairs = found[1], int(found[2] or 1)
    own = range(n_chairs)
    return [Chair(kind, each if kind == FIXED else (each, n_chairs)) for each in own]


def _content_of(teacher: FrozenEstimator) -> str:
    try:
        content: str = joblib_hash(teacher.estimator)
    # Whatever pickle makes of an object that it cannot take.
    except Exception as error:
        raise ValueError(
            f"A finished run is found again by its teacher, and {teacher.estimator!r} cannot "
            "be told from others: define its functions and classes at the top of a module, or "
            f"keep no runs, with folder=None. {error}"
        ) from error
    return content


def _share_of_rows(n_rows: int, number: int, n_shares: int) -> NDArray[np.intp]:
    """Draw the rows, sorted, of one of several searches; no two have one in common."""
    order = np.random.default_rng(derive_seed(0, "searched", n_shares)).permutation(n_rows)
    return np.sort(order[number::n_shares])
