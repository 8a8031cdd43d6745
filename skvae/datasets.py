"""Data to train on: what ships with scikit-learn, and arrays on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

__all__ = ["digits", "load", "load_array"]


def load(spec: str) -> Bunch:
    """Load data by name.

    Parameters
    ----------
    spec : str
        "digits", or the path of a ``.npy`` or ``.npz`` file.

    Returns
    -------
    data : Bunch
        ``data``, ``target``, ``image_shape``, ``test_data`` and ``test_target``; all but the
        first may be None.
    """
    if spec == "digits":
        return Bunch(
            data=digits(),
            target=load_digits().target,
            image_shape=(1, 8, 8),
            test_data=None,
            test_target=None,
        )
    data = load_array(spec)
    return Bunch(data=data, target=None, image_shape=None, test_data=None, test_target=None)


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
        X: Any = np.load(path, mmap_mode="r")
        if not isinstance(X, np.ndarray):
            with X as archive:
                names = [name for name in archive.files if name == "X"] or archive.files
                X = archive[names[0]] if len(names) == 1 else None
    # Damage shows as an error of zipfile, zlib, tokenize or pickle, whichever meets it first.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read: it is damaged, or holds something other than numbers."
        ) from error
    if X is None:
        raise ValueError(
            f"{path} must hold one array, or one that is named X; it holds "
            f"{', '.join(names) or 'none'}."
        )
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
