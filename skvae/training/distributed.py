"""Several processes, or ranks, at one fit or one reading, by `torch.distributed`.

Every rank makes the same calls in the same order, and takes a share of the rows of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from scipy import sparse

from skvae.rows.frames import (
    check_same_types,
    columns_of,
    is_frame,
    joined_frames,
    library_of,
)
from skvae.rows.sources import as_rows
from skvae.training.launched import is_shared
from skvae.training.ranks import Ranks

__all__ = [
    "over_ranks",
    "ranks_of_reading",
    "reading_over",
    "rows_of_all_ranks",
    "shared",
    "stacked",
]

_reading: ContextVar[Ranks | None] = ContextVar("_reading", default=None)


@contextmanager
def shared(distributed: bool | str, device: str = "cpu") -> Iterator[Ranks | None]:
    """Yield the ranks that share what is done inside; None where this process is alone.

    Parameters
    ----------
    distributed : bool or "auto"
        As the parameter of the estimator.
    device : str, default="cpu"
        Where tensors may be that are added up.
    """
    if not is_shared(distributed):
        yield None
        return
    ranks = Ranks(device)
    try:
        yield ranks
        # Nobody is gone before all are done.
        ranks.of_all(None, "the end")
    except BaseException as error:
        ranks.leave(error)
        raise
    ranks.leave()


@contextmanager
def over_ranks(distributed: bool | str = "auto") -> Iterator[int]:
    """Read rows over all ranks: each reads a share, and all have the results in row order.

    For `transform`, `score_samples` and all else that a `TeacherGuidedVAE` reads of rows, and
    so for `ConstantCollapseCertificate`, which gets the codes and the witness from it. Every
    rank makes the same calls with the same rows. What they return is, to the bit, what it is
    in one process: rows are cut where a single process cuts them.

    Parameters
    ----------
    distributed : bool or "auto", default="auto"
        As of `skvae.TeacherGuidedVAE`.

    Yields
    ------
    rank : int
        Number of this process, 0 where it is alone.

    Raises
    ------
    LostRankError
        Where another rank failed, died or does not answer.

    See Also
    --------
    rows_of_all_ranks : Rows of which every rank has a part.

    Examples
    --------
    In one process all is as it is outside:

    >>> from sklearn.datasets import load_iris
    >>> from skvae import TeacherGuidedVAE
    >>> from skvae.training import over_ranks
    >>> X = load_iris().data
    >>> vae = TeacherGuidedVAE(latent_dim=2, lr=1e-2, random_state=0).fit(X)
    >>> with over_ranks() as rank:
    ...     codes = vae.transform(X)
    >>> rank, codes.shape
    (0, (150, 2))
    """
    with shared(distributed) as ranks:
        if ranks is None:
            yield 0
            return
        with reading_over(ranks):
            yield ranks.rank


@contextmanager
def reading_over(ranks: Ranks) -> Iterator[None]:
    """Let models inside read each its share of rows, and hand all results to all ranks."""
    before = _reading.set(ranks)
    try:
        yield
    finally:
        _reading.reset(before)


def ranks_of_reading() -> Ranks | None:
    """Return the ranks that rows are read over just now; None where they are not."""
    return _reading.get()


def rows_of_all_ranks(rows: Any) -> Any:
    """Return the rows of all ranks, those of the first one first, inside of `over_ranks`.

    Parameters
    ----------
    rows : ndarray, sparse matrix, data frame or list
        The part that this rank has: rows, their codes, their scores. On all ranks of one kind.

    Returns
    -------
    rows : of the same kind
        All of them. In one process what it was given.

    Examples
    --------
    >>> from skvae.training import over_ranks, rows_of_all_ranks
    >>> with over_ranks():
    ...     rows_of_all_ranks([1, 2])
    [1, 2]
    """
    ranks = ranks_of_reading()
    return rows if ranks is None else stacked(ranks, rows)


def stacked(ranks: Ranks, rows: Any, name: str = "the rows") -> Any:
    """Return the rows of all ranks, one below the other.

    Raises
    ------
    ValueError
        Where parts are of several kinds, or have other columns.
    """
    parts = ranks.of_all(as_rows(rows), name)
    # One without rows need not know what the others have.
    there = [(rank, part) for rank, part in enumerate(parts) if _n_rows(part)]
    if not there:
        return parts[0]
    (first, part), *others = there
    for rank, other in others:
        for what, own, its in zip(
            ("kind", "columns"), _form_of(part), _form_of(other), strict=True
        ):
            if own != its:
                raise ValueError(
                    f"{name} of rank {first} and of rank {rank} have to fit below each other, "
                    f"and differ in {what}: {own} and {its}. Give all ranks parts of one table."
                )
    parts = [part for _, part in there]
    if is_frame(parts[0]):
        for rank, other in others:
            check_same_types(part, other, (f"rank {first}", f"rank {rank}"))
        return joined_frames(parts)
    if sparse.issparse(parts[0]):
        return sparse.vstack(parts, format="csr")
    if isinstance(parts[0], list):
        return [row for part in parts for row in part]
    return np.concatenate(parts)


def _n_rows(part: Any) -> int:
    return int(part.shape[0]) if hasattr(part, "shape") else len(part)


def _form_of(part: Any) -> tuple[Any, ...]:
    """Return what has to be the same of parts: their kind, and their columns."""
    if is_frame(part):
        return f"a frame of {library_of(part)}", columns_of(part)
    if isinstance(part, list):
        return "a list", None
    kind = "a sparse matrix" if sparse.issparse(part) else "an array"
    return kind, part.shape[1:]
