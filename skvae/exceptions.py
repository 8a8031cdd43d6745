"""Errors and warnings that a user of skvae may want to catch."""

from collections.abc import Mapping
from typing import Any

__all__ = [
    "BrokenBoundError",
    "ConstantTeacherError",
    "DamagedResultWarning",
    "DeviceMemoryError",
    "DivergenceError",
    "FileFormatError",
    "InterruptedFitWarning",
    "LostRankError",
    "OtherVersionWarning",
    "SeenRowsWarning",
    "SlowPrecisionWarning",
    "UncertifiedError",
    "UncertifiedWarning",
    "UnverifiedDataWarning",
    "WeakAlignmentWarning",
]


class ConstantTeacherError(ValueError):
    """The teacher says the same of every row, so it can certify nothing.

    With ``T(k|x)`` constant in ``x`` the teacher information is zero: the best
    constant student is already perfect and no witness can do better.
    """


class BrokenBoundError(RuntimeError):
    """A report breaks an inequality that holds for every model: a bug, here or in a model.

    The margin at the sample read cannot exceed the rate by more than the error of the
    draws. If it does, the witness has seen more than the code, or the rate is not that
    of the posterior that was drawn from.
    """


class DivergenceError(RuntimeError):
    """A term of the loss stopped being a finite number during training."""


class DeviceMemoryError(MemoryError):
    """The device has no memory for a batch; the message names a batch size to try."""


class LostRankError(RuntimeError):
    """Another process that shares a fit has failed, died or does not answer.

    The message says which, and why where that is known.
    """


class FileFormatError(ValueError):
    """A file is not what is asked for: damaged, of another kind, or of a newer format.

    The message says what is wrong. Nothing of the file was used, and nothing in it was run.
    """


class OtherVersionWarning(UserWarning):
    """A file or a pickle comes from another major version of skvae."""


class UncertifiedError(ValueError):
    """No candidate of a search is certified, and nothing was refitted.

    Parameters
    ----------
    message : str
        With the best bound.
    cv_results_ : dict of ndarray or None
        What the search found: it is not lost with the error.
    """

    def __init__(self, message: str, cv_results_: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.cv_results_ = cv_results_


class UncertifiedWarning(UserWarning):
    """Alignment was asked for, and the margin on the training rows is not positive.

    Or no candidate of a search is certified, see `skvae.model_selection.best_certified`.
    """


class WeakAlignmentWarning(UserWarning):
    """``0 < alignment_weight <= beta``: where the decoder ignores z, collapse is optimal."""


class SeenRowsWarning(UserWarning):
    """Early stopping decides by rows that the model, or its teacher, was trained on.

    It came with a donor, or a teacher, that has seen them. Their loss is no held-out loss, and
    no lower bound on the margin is recorded.
    """


class SlowPrecisionWarning(UserWarning):
    """The processor has no products in the precision asked for, and works them out slowly."""


class InterruptedFitWarning(UserWarning):
    """``fit`` was interrupted from the keyboard; the model trained so far is kept.

    Turn it into an error (``warnings.simplefilter("error", InterruptedFitWarning)``)
    to stop a longer job, such as a grid search, at the first Ctrl-C.
    """


class DamagedResultWarning(UserWarning):
    """The file of a finished run is not what was written; the run is done again."""


class UnverifiedDataWarning(UserWarning):
    """A data set is sound in structure, but it is not what was published under its name.

    A checksum or a count differs: the files were cut, written anew or swapped, or the
    data are your own in the same format. They are read all the same.
    """
