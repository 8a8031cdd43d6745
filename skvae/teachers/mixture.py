"""The default teacher: the posterior of a Gaussian mixture on principal components."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from skvae._common.parameters import NumberInterval, fit_context
from skvae._common.randomness import draw_seed, seed_unset_random_states
from skvae.files.saved import Saved
from skvae.rows.counts import Size, log_counts, position_of_size, typical_size_of
from skvae.rows.fingerprint import RowFingerprint
from skvae.rows.scaling import check_spread, fit_scaler, pool, shares_unit
from skvae.rows.sources import RowsLike
from skvae.rows.sparse import SparseRows, matrix_of, taken
from skvae.rows.tables import check_rows
from skvae.teachers.tempered import temper

__all__ = ["GaussianMixtureTeacher"]

# Columns up to which the covariance of sparse ones is a small matrix.
FEW_FEATURES = 500
# Rows that are projected, and told apart, at a time: few enough to stay in a processor's cache.
PROJECTED_ROWS = 128
# Rows among which those that differ are counted first.
FEW_ROWS = 1000
# Rows for each component, and the least and the greatest number of these.
ROWS_A_COMPONENT = 10
AUTO_COMPONENTS = (2, 10)


class GaussianMixtureTeacher(Saved, BaseEstimator):
    """Posterior of a Gaussian mixture on principal components, tempered and floored.

    The columns are scaled, projected on their principal components and
    modelled by a Gaussian mixture. With responsibilities ``r_k(x)`` the teacher is

        T(k|x) = (1 - floor) * r_k(x)**(1/temperature) / sum_j r_j(x)**(1/temperature)
                 + floor / n_components,

    so with a positive floor every component has a positive probability everywhere.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of mixture components, K. At least 1, though a teacher with one
        component is constant and certifies nothing. "auto" is one for each ten rows, at least
        2 and at most 10, and no more than there are rows that differ: with a component for
        each row a teacher knows its rows by heart, and says nothing of others.
    pca_components : int, default=16
        Number of principal components; no more are used than there are rows or
        columns.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="spherical"
        Covariances of the mixture, as in `sklearn.mixture.GaussianMixture`. The default
        has the fewest parameters, and so says much the same of rows that it was not
        fitted to, also where those are few.
    scaling : {"auto", "columns", "pooled"}, default="auto"
        "columns" divides each column by its own standard deviation, "pooled" all by one, the
        root of their average variance. "auto" is "pooled" where the columns share a unit, as
        pixels do: where the effective number of columns, ``sum(v)**2 / sum(v**2)`` of their
        variances ``v``, is at least half of those that vary. Standardised by itself, the
        noise of a border pixel would weigh as much as the picture; where units differ, the one
        that gives the largest numbers would rule.
    size : "auto", "total", str, int or None, default="auto"
        Whether the rows are counts, and what those of a row are in proportion to: its total, or
        a column, by its name or position. In place of the rows ``log(1 + x)`` is modelled of
        counts as a row of the typical size would have them, the median of the training rows.
        None takes the rows as they are; so does "auto", which `TeacherGuidedVAE` replaces by
        its own where its likelihood is one of counts.
    temperature : float, default=1.0
        Positive. Above 1 the responsibilities are softened, below 1 sharpened.
    floor : float, default=0.01
        Weight of the uniform distribution, in [0, 1).
    reg_covar : float, default=1e-3
        Added to the diagonal of each covariance, in the units of the scaled columns.
    n_init : int, default=1
        Number of initialisations of the mixture; the best is kept.
    max_iter : int, default=100
        Number of iterations of the mixture.
    random_state : int, RandomState instance or None, default=None
        Drives the projection and the mixture. The global NumPy state is neither
        read nor changed.

    Attributes
    ----------
    pipeline_ : Pipeline
        The fitted scaler, projection and mixture.
    size_ : "total", int or None
        What rows are counted by, a column by its position.
    typical_size_ : float
        Median of the sizes of the training rows; 1 where rows have none.
    fingerprint_ : RowFingerprint
        Hashes that tell the rows of `fit` from others; no data.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns seen in `fit`, where they are all strings.

    References
    ----------
    arXiv 2605.05813 (posterior of a mixture on PCA features as the teacher); the effective
    number is the participation ratio of Bell and Dean, Discussions of the Faraday Society 50,
    1970.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import GaussianMixtureTeacher
    >>> X = load_iris().data
    >>> T = GaussianMixtureTeacher(n_components=3, random_state=0).fit(X).predict_proba(X)
    >>> T.shape
    (150, 3)
    >>> bool(T.min() >= 0.01 / 3)
    True
    """

    _file_kind: ClassVar[str] = "teacher"
    _takes_sparse_rows: ClassVar[bool] = True

    _parameter_constraints: ClassVar[dict] = {
        "n_components": [
            NumberInterval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "pca_components": [NumberInterval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions({"full", "tied", "diag", "spherical"})],
        "scaling": [StrOptions({"auto", "columns", "pooled"})],
        "size": [str, Integral, None],
        "temperature": [NumberInterval(Real, 0, None, closed="neither")],
        "floor": [NumberInterval(Real, 0, 1, closed="left")],
        "reg_covar": [NumberInterval(Real, 0, None, closed="left")],
        "n_init": [NumberInterval(Integral, 1, None, closed="left")],
        "max_iter": [NumberInterval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }
    # What `predict_proba` applies and `fit` never sees, with values that change nothing: one
    # fit serves any values.
    _applied_after_fit: ClassVar[dict[str, float]] = {"temperature": 1.0, "floor": 0.0}

    def __init__(
        self,
        *,
        n_components: int | str = "auto",
        pca_components: int = 16,
        covariance_type: str = "spherical",
        scaling: str = "auto",
        size: str | int | None = "auto",
        temperature: float = 1.0,
        floor: float = 0.01,
        reg_covar: float = 1e-3,
        n_init: int = 1,
        max_iter: int = 100,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.pca_components = pca_components
        self.covariance_type = covariance_type
        self.scaling = scaling
        self.size = size
        self.temperature = temperature
        self.floor = floor
        self.reg_covar = reg_covar
        self.n_init = n_init
        self.max_iter = max_iter
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: RowsLike, y: Any = None) -> GaussianMixtureTeacher:
        """Fit the scaler, the projection and the mixture.

        Parameters
        ----------
        X : array-like or SparseRows of shape (n_samples, n_features)
            Training rows; at least two and at least as many as components.
            `skvae.rows.SparseRows` stay sparse: their principal components are a truncated
            singular value decomposition whose products are centred on the way.
        y : None, default=None
            Ignored; there for consistency with scikit-learn.

        Returns
        -------
        self : GaussianMixtureTeacher
            The fitted teacher.

        Raises
        ------
        ValueError
            If there are fewer rows than mixture components.
        """
        # The mixture's k-means start has no Array API version: NumPy throughout.
        with config_context(array_api_dispatch=False):
            # A frame has its columns one after the other, and sums of them other last digits:
            # enough to turn components that are as good as each other.
            rows = check_rows(
                self, X, dtype=[np.float64, np.float32], order="C", ensure_min_samples=2
            )
            names = getattr(self, "feature_names_in_", None)
            size = None if self.size == "auto" else self.size
            size = position_of_size(size, rows.shape[1], names)
            typical_size = typical_size_of(rows, size)
            shown = rows
            if size is not None:
                _check_counts(rows, size)
                shown = log_counts(rows, size, typical_size)
            pipeline = self._pipeline(rows)
            scaler, pca, mixture = (step for _, step in pipeline.steps)
            with np.errstate(over="ignore", invalid="ignore"):
                fit_scaler(scaler, shown)
            check_spread(scaler)
            if self.scaling == "pooled" or (self.scaling == "auto" and shares_unit(scaler)):
                pool(scaler)
            scaled = scaler.transform(matrix_of(shown))
            # Where no column varies the share of a component in the variance is no number.
            with np.errstate(invalid="ignore"):
                projected = pca.fit_transform(scaled)
            mixture.fit(projected)
            self.pipeline_ = pipeline
            self.size_, self.typical_size_ = size, typical_size
            self.fingerprint_ = RowFingerprint.of(rows)
        return self

    def _pipeline(self, rows: Any) -> Pipeline:
        # Together they take longer to import than all of skvae.
        from sklearn.decomposition import PCA
        from sklearn.mixture import GaussianMixture

        n_samples, n_features = rows.shape
        is_sparse = isinstance(rows, SparseRows)
        if isinstance(self.n_components, str):
            least, greatest = AUTO_COMPONENTS
            n_components = min(max(least, n_samples // ROWS_A_COMPONENT), greatest)
            n_components = _n_distinct(rows, n_components)
        else:
            n_components = self.n_components
        if n_samples < n_components:
            raise ValueError(
                f"A mixture of n_components={n_components} needs at least as many rows, "
                f"got n_samples={n_samples}: pass more rows or fewer components, as in "
                "teacher=GaussianMixtureTeacher(n_components=2)."
            )
        n_projected = min(self.pca_components, n_samples, n_features)
        solver = "auto"
        if is_sparse:
            # Rows that are not centred stay sparse; both solvers centre the products.
            solver = "covariance_eigh" if n_features <= FEW_FEATURES else "arpack"
            if solver == "arpack":
                # One less than there are rows is all that centred rows have.
                n_projected = min(n_projected, n_samples - 1)
        pipeline = Pipeline(
            [
                ("scaler", StandardScaler(with_mean=not is_sparse)),
                ("pca", PCA(n_components=n_projected, svd_solver=solver)),
                (
                    "mixture",
                    GaussianMixture(
                        n_components=n_components,
                        covariance_type=self.covariance_type,
                        reg_covar=self.reg_covar,
                        n_init=self.n_init,
                        max_iter=self.max_iter,
                    ),
                ),
            ]
        )
        seed_unset_random_states(pipeline, draw_seed(self.random_state))
        # Whatever the user wants transformers to return elsewhere.
        return pipeline.set_output(transform="default")

    def predict_proba(self, X: RowsLike) -> NDArray[np.float64]:
        """Teacher distributions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        T : ndarray of shape (n_samples, n_components)
            One distribution a row; no entry is below ``floor / n_components``.

        Raises
        ------
        ValueError
            If a row (which is named) lies so far from the mixture that its distance is no
            number of the precision of X.
        """
        check_is_fitted(self)
        with config_context(array_api_dispatch=False):
            rows = check_rows(self, X, dtype=[np.float64, np.float32], reset=False)
            # predict_proba would underflow before the temperature could lift it.
            with np.errstate(over="ignore", invalid="ignore"):
                scores = self.pipeline_[-1]._estimate_weighted_log_prob(self._project(rows))
        # Far from one component is a probability of zero; far from all is none.
        is_finite = np.isfinite(scores.max(axis=1))
        if not is_finite.all():
            row = int(np.argmin(is_finite))
            raise ValueError(
                f"Row {row} of X is too far from the mixture: its distance is not a finite "
                f"{rows.dtype}. Its entries reach {np.abs(rows[row]).max():.3g}; clip them, "
                "or leave the row out."
            )
        return temper(scores, self.temperature, self.floor)

    def _project(self, rows: Any) -> NDArray:
        """Principal components of the rows, of shape (n_samples, pca_components).

        In the precision of the rows, as the pipeline has them, but in one product.
        """
        scaler, pca, _ = (step for _, step in self.pipeline_.steps)
        # Files of the first versions have none.
        size = getattr(self, "size_", None)
        # The scale joins the product. The centre must not: a large offset would take the
        # digits of what varies. What its own rounding leaves is made good afterwards.
        weights = (pca.components_ / scaler.scale_).T
        with np.errstate(over="ignore"):
            rounded = weights.astype(rows.dtype)
        # The reciprocal of a tiny scale may be no float32.
        weights = rounded if np.isfinite(rounded).all() else weights
        center = scaler.mean_.astype(weights.dtype)
        # The scaler of sparse rows has left the centre to the projection.
        centred_by_scaler = scaler.mean_ if scaler.with_mean else 0.0
        left = (centred_by_scaler - center) / scaler.scale_ + pca.mean_
        projected = np.empty((len(rows), weights.shape[1]), dtype=weights.dtype)
        buffer = np.empty((min(PROJECTED_ROWS, len(rows)), rows.shape[1]), dtype=weights.dtype)
        for block in gen_batches(len(rows), PROJECTED_ROWS):
            centred = buffer[: block.stop - block.start]
            shown = rows[block]
            if size is not None:
                shown = log_counts(shown, size, self.typical_size_)
            np.subtract(shown, center, out=centred)
            np.matmul(centred, weights, out=projected[block])
        projected -= (left @ pca.components_.T).astype(weights.dtype)
        return projected


def _n_distinct(rows: Any, most: int) -> int:
    """Return the number of rows that differ, or `most` where there are more."""
    found = np.empty((0, rows.shape[1]), dtype=rows.dtype)
    # A few from all over the table tell mostly.
    for some in (taken(rows, slice(None, None, len(rows) // FEW_ROWS + 1)), rows):
        for block in gen_batches(len(some), PROJECTED_ROWS):
            # Of sparse rows few are ever dense.
            others = some[block]
            for known in found:
                others = others[(others != known).any(axis=1)]
            while len(others):
                found = np.concatenate([found, others[:1]])
                if len(found) == most:
                    return most
                others = others[(others != others[0]).any(axis=1)]
    return len(found)


def _check_counts(rows: Any, size: Size) -> None:
    """Refuse rows that are no counts in proportion to a size."""
    smallest = 1.0
    if isinstance(size, int):
        is_sparse = isinstance(rows, SparseRows)
        smallest = (rows.column(size) if is_sparse else rows[:, size]).min()
    if rows.min() < 0 or smallest <= 0:
        raise ValueError(
            f"size={size!r} wants counts of at least 0 in X, and sizes above 0, got "
            f"{min(rows.min(), smallest):g}: pass the raw counts, or size=None."
        )
