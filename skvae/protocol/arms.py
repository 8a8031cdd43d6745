"""The arms of the protocol: constructor parameters, and the settings they are trained in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skvae.nets.likelihoods import WITH_VARIANCE
from skvae.protocol.baselines import BASELINES
from skvae.protocol.notes import noted
from skvae.protocol.splits import Split, table_of
from skvae.rows.counts import position_of_size
from skvae.rows.images import flatten_images, resolve_image_shape
from skvae.rows.scaling import fit_scaler
from skvae.rows.sources import RowsLike
from skvae.rows.sparse import SparseRows, taken
from skvae.vae.encoding import has_columns
from skvae.vae.estimator import TeacherGuidedVAE
from skvae.vae.settings import check_number_of_steps, check_settings, check_support

__all__ = [
    "ARMS",
    "SETTING",
    "STARTS",
    "TEACHER_GUIDED",
    "arm_parameters",
    "choose_arms",
    "collapse_prone_variance",
    "informative_variance",
    "suited_to_images",
    "suited_to_rows",
]

# Trained in the collapse-prone setting.
ARMS: dict[str, dict[str, Any]] = {
    "prevention": {"alignment_weight": 10.0},
    "collapse": {"alignment_weight": 0.0},
    "rescue": {"alignment_weight": 10.0},
}
# Trained as the baselines are, and otherwise as prevention: the counterpart of "vae".
TEACHER_GUIDED: dict[str, dict[str, Any]] = {"teacher-guided": {"alignment_weight": 10.0}}
# The arm whose weights an arm starts from.
STARTS = {"rescue": "collapse"}
# All arms train for the same number of epochs, on all rows: what differs is the arm.
SETTING: dict[str, Any] = {
    "latent_dim": 8,
    "hidden_layer_sizes": (128,),
    "beta": 1.0,
    "batch_size": 128,
    "lr": 2e-3,
    "witness": "linear",
    "alignment_target": None,
    "early_stopping": False,
    "ema_decay": None,
    "precision": "fp32",
}
# A linear decoder uses no dimension once its variance exceeds the largest eigenvalue of
# the data's covariance (Lucas et al., NeurIPS 2019); half as much again leaves no doubt.
VARIANCE_RATIO = 1.5
# By the same rule it uses every direction whose eigenvalue is above its variance, and the
# largest eigenvalue is at least the mean column variance.
INFORMATIVE_RATIO = 0.2
# Rows, evenly spaced, whose covariance is taken, at most.
COVARIANCE_ROWS = 20_000


def collapse_prone_variance(X: RowsLike) -> float:
    """Return a decoder variance at which a code buys no likelihood.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Training rows, as `TeacherGuidedVAE.fit` takes them.

    Returns
    -------
    variance : float
        1.5 times the largest eigenvalue of the covariance of X, in its squared units; of
        evenly spaced rows, at most 20,000, where there are more.

    Raises
    ------
    ValueError, TypeError
        For rows that `fit` refuses, and if all rows are equal, or so far apart that their
        covariance overflows.

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
    rows = _evenly_spaced(table_of(X))
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(rows, SparseRows):
            largest = _largest_variance(rows)
        else:
            covariance = np.atleast_2d(np.cov(rows, rowvar=False, bias=True))
            is_finite = np.isfinite(covariance).all()
            largest = float(np.linalg.eigvalsh(covariance)[-1]) if is_finite else math.inf
    if not math.isfinite(largest):
        raise ValueError("The covariance of X is not finite: rescale it, or clip its outliers.")
    if not largest > 0:
        raise ValueError("All rows of X are equal: there is nothing that a code could keep.")
    return VARIANCE_RATIO * largest


def informative_variance(X: RowsLike) -> float:
    """Return a decoder variance at which reconstruction pays for a code.

    A linear decoder uses each direction of the data whose eigenvalue exceeds its variance.
    The largest eigenvalue is at least the mean column variance, so one code dimension at
    least is worth five times the noise.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Training rows, as `TeacherGuidedVAE.fit` takes them.

    Returns
    -------
    variance : float
        0.2 times the mean column variance of X, in its squared units; of evenly
        spaced rows, at most 20,000, where there are more.

    Raises
    ------
    ValueError, TypeError
        For rows that `fit` refuses, and if all rows are equal, or so far apart that their
        variance overflows.

    References
    ----------
    Lucas, Tucker, Grosse and Norouzi, Don't blame the ELBO!, NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.protocol import informative_variance
    >>> round(informative_variance(np.array([[-1.0, 0.0], [1.0, 0.0]])), 6)
    0.1
    """
    rows = _evenly_spaced(table_of(X))
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(rows, SparseRows):
            mean = float(fit_scaler(StandardScaler(with_mean=False), rows).var_.mean())
        else:
            mean = float(np.var(rows, axis=0, dtype=np.float64).mean())
    if not np.isfinite(mean):
        raise ValueError("The variance of X is not finite: rescale it, or clip its outliers.")
    if not mean > 0:
        raise ValueError("All rows of X are equal: there is nothing that a code could keep.")
    return INFORMATIVE_RATIO * mean


def _evenly_spaced(X: Any) -> Any:
    return taken(X, slice(None, None, -(-len(X) // COVARIANCE_ROWS)))


def _largest_variance(rows: SparseRows) -> float:
    """Return the variance along the first principal component, of rows that stay sparse."""
    if min(rows.shape) < 2:
        return float(np.var(rows[:]))
    pca = PCA(n_components=1, svd_solver="arpack", random_state=0).fit(rows.matrix)
    return float(pca.explained_variance_[0]) * (len(rows) - 1) / len(rows)


def choose_arms(
    arms: Sequence[str] | Mapping[str, Mapping[str, Any]], alignment_weight: float
) -> dict[str, Mapping[str, Any]]:
    """Return arms by name, with the parameters of their own; named ones at this weight."""
    known = {**ARMS, **TEACHER_GUIDED, **BASELINES}
    names = list(arms) if isinstance(arms, Iterable) and not isinstance(arms, str) else []
    if not names:
        raise ValueError(
            f"arms must be a sequence of names, among {', '.join(known)}, or a mapping of "
            f"names of your own to parameters, got {arms!r}."
        )
    if isinstance(arms, Mapping):
        for arm, own in arms.items():
            if not isinstance(arm, str) or not isinstance(own, Mapping):
                raise ValueError(
                    "arms must map names to mappings of constructor parameters, got "
                    f"{arm!r}: {own!r}."
                )
        return dict(arms)
    aligned = [arm for arm, own in known.items() if own["alignment_weight"] > 0]
    for arm in names:
        if arm not in known:
            raise ValueError(f"There is no arm {arm!r}; there are {', '.join(known)}.")
    weight = {"alignment_weight": alignment_weight}
    return {arm: known[arm] | (weight if arm in aligned else {}) for arm in names}


def arm_parameters(
    chosen: Mapping[str, Mapping[str, Any]], shared: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the constructor parameters of each arm, and of what it starts from.

    Each is checked by itself; of the rows they know nothing yet.
    """
    started = {STARTS[arm]: ARMS[STARTS[arm]] for arm in chosen if arm in STARTS}
    parameters = {}
    for arm, own in {**started, **chosen}.items():
        settled = {**shared, **own}
        unknown = sorted(set(settled) - set(TeacherGuidedVAE().get_params(deep=False)))
        reserved = sorted({"teacher", "random_state", "warm_start"} & set(settled))
        if unknown or reserved:
            raise ValueError(
                f"{arm}: {', '.join(unknown + reserved)} cannot be set; parameters are those "
                "of TeacherGuidedVAE, but for teacher, random_state and warm_start."
            )
        with noted(arm):
            TeacherGuidedVAE(**settled)._validate_params()
        parameters[arm] = settled
    return parameters


def suited_to_images(
    parameters: Mapping[str, Mapping[str, Any]], X: Any
) -> dict[str, dict[str, Any]]:
    """Return the parameters with the shape of the images that X holds, where it holds some.

    Rows are the same for all arms: a dense arm beside a convolutional one has them flat.
    """
    suited = {}
    for arm, settled in parameters.items():
        given, architecture = settled.get("image_shape"), settled.get("architecture", "dense")
        with noted(arm):
            image_shape = resolve_image_shape(given, architecture, X)
            flatten_images(X, image_shape)
        shape = {} if image_shape is None else {"image_shape": image_shape}
        suited[arm] = {**settled, **shape}
    return suited


def suited_to_rows(
    parameters: Mapping[str, Mapping[str, Any]], rows: Split, names: Sequence[Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the parameters with the decoder variance of each arm, where it names none.

    Parameters
    ----------
    parameters : dict of dict
        As `suited_to_images` returns them.
    rows : Split
        Rows as floats.
    names : sequence or None, default=None
        Names of their columns, where they have any.

    Raises
    ------
    ValueError
        If the parameters of an arm contradict each other, or cannot be trained with, or
        measured, on these rows.
    """
    variances: dict[bool, float] = {}
    suited = {}
    for arm, settled in parameters.items():
        likelihood = settled.get("likelihood", "gaussian")
        if has_columns(likelihood):
            with noted(arm):
                raise ValueError(
                    "An arm has one likelihood for all columns, by its name, got "
                    f"likelihood={likelihood!r}: encode the table first, as by "
                    "Columns.of(X, likelihood).encode(X), and name one for all of it."
                )
        if likelihood in WITH_VARIANCE and "decoder_variance" not in settled:
            prone = arm in ARMS
            if prone not in variances:
                variance = collapse_prone_variance if prone else informative_variance
                variances[prone] = variance(_evenly_spaced(rows.X_train))
            settled = {**settled, "decoder_variance": variances[prone]}
        settings = TeacherGuidedVAE(**settled).get_params(deep=False)
        with noted(arm):
            size = position_of_size(settings["size"], rows.X_train.shape[1], names)
            check_settings(settings, rows.X_train, size)
            check_support(likelihood, rows.X_test, size)
            check_number_of_steps(settings, len(rows.X_train))
        suited[arm] = dict(settled)
    return suited
