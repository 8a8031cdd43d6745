"""Data to train on: what ships with scikit-learn, and arrays on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

__all__ = ["digits", "load_array"]


def digits() -> NDArray[np.float64]:
    """Handwritten digits that ship with scikit-learn, pixels scaled to [0, 1].

    Returns
    -------
    X : ndarray of shape (1797, 64)
        Images of 8 by 8 pixels, one a row.

    Examples
    --------
    >>> from skvae.datasets import digits
    >>> digits().shape
    (1797, 64)
    """
    return load_digits().data / 16


def load_array(path: str | Path) -> NDArray:
    """Matrix in a ``.npy`` file (mapped, not read), or in a ``.npz`` file as its array X.

    Parameters
    ----------
    path : str or Path
        The file. A ``.npz`` file holds one array, or one named ``X``.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Finite numbers.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds no matrix of finite numbers; says what it holds instead.

    Examples
    --------
    >>> import numpy as np, tempfile, pathlib
    >>> from skvae.datasets import load_array
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "table.npz"
    ...     np.savez(path, X=np.eye(3))
    ...     load_array(path).shape
    (3, 3)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path} must be a .npy or .npz file, got suffix {path.suffix!r}.")
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None)
        X = loaded if path.suffix == ".npy" else _only_array(path, loaded)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as an array: {error}") from error
    if X.ndim != 2 or X.dtype.kind not in "fiub" or 0 in X.shape:
        raise ValueError(
            f"{path} must hold a matrix of numbers (rows by columns), got an array of shape "
            f"{X.shape} and type {X.dtype}."
        )
    finite = np.isfinite(X).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{path} holds NaN or infinite values in {int((~finite).sum())} of {len(X)} rows "
            f"(the first is row {int(np.argmin(finite))}): impute or drop them first."
        )
    return X


def _only_array(path: Path, archive: np.lib.npyio.NpzFile) -> NDArray:
    with archive:
        names = archive.files
        if "X" not in names and len(names) != 1:
            raise ValueError(f"expected one array, or one named X, found {names}")
        return archive["X" if "X" in names else names[0]]
