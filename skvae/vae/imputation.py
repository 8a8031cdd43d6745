"""What a trained net makes of missing entries, given those that were observed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skvae._common.ambient import undisturbed
from skvae._common.randomness import torch_generator
from skvae._common.threads import one_thread_if
from skvae.nets.networks import standard_normal
from skvae.objective.row_terms import importance_bound
from skvae.rows.finite import require_finite
from skvae.rows.frames import is_frame, library_of
from skvae.rows.missing import filled_from, with_filled
from skvae.rows.numbers import to_numpy
from skvae.rows.sources import RowsLike, as_rows
from skvae.vae.inference import Inference
from skvae.vae.settings import check_count
from skvae.vae.tensors import stays_tensor

__all__ = ["impute", "imputed"]


def impute(
    self: Any,
    X: RowsLike,
    method: str = "mean",
    random_state: int | np.random.RandomState | None = None,
    n_importance_samples: int = 500,
) -> Any:
    """Fill missing entries given those that are observed.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, or images; NaN, None and NA are missing. Of an estimator with
        ``missing="mask"``.
    method : {"mean", "draw"}, default="mean"
        Conditional means, the same at every call: what has the least squared error.
        Or a draw from the conditional distribution, the decoder's noise included:
        several of them, with a `random_state` each, are a multiple imputation.
    random_state : int, RandomState instance or None, default=None
        Of the draws; None draws the same at every call on one fitted estimator.
    n_importance_samples : int, default=500
        Codes that are drawn of each row, at least 1: both methods weigh them by
        ``p(x|z) p(z) / q(z|x)`` of the observed entries, and are exact in the limit of many.

    Returns
    -------
    filled : array or frame of the shape of X
        In the units of X. All that was observed is as it was, to the bit. A frame comes
        back as one, in its types; a column of whole numbers or truth values that is filled
        with others becomes one of floats, or is filled with rounded ones where `likelihood`
        looked at the columns one by one. Categories and truth values are filled by the
        likeliest, or by a draw. A row without any observed entry gets the means
        of the model, or a draw from it.

    References
    ----------
    Mattei and Frellsen, MIWAE, arXiv 1812.02633: means by self-normalised importance weights,
    draws by sampling importance resampling.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skvae import TeacherGuidedVAE
    >>> X = load_iris().data
    >>> X[::5, 2] = np.nan
    >>> vae = TeacherGuidedVAE(missing="mask", max_epochs=20, random_state=0).fit(X)
    >>> filled = vae.impute(X)
    >>> bool(np.isnan(filled).any())
    False
    """
    check_is_fitted(self)
    inference = self._inference
    if not inference.has_missing:
        raise ValueError(
            f'This {inference.owner} was fitted with missing="error", and knows of no missing '
            'entries: fit one with missing="mask".'
        )
    if method not in ("mean", "draw"):
        raise ValueError(f"method must be 'mean' or 'draw', got {method!r}.")
    check_count("n_importance_samples", n_importance_samples)
    X = X if stays_tensor(X) else as_rows(X)
    rows = self._check_rows(X)
    generator = self._generator("imputation", random_state) if method == "draw" else None
    filled = imputed(inference, to_numpy(rows), n_importance_samples, generator)
    if stays_tensor(X):
        return torch.where(torch.isnan(rows), torch.from_numpy(filled).to(rows), rows)
    if self.columns_ is None:
        return with_filled(X, filled)
    if not is_frame(X):
        return self.columns_.decode(filled)
    return filled_from(X, self.columns_.decode(filled, library=library_of(X)))


@undisturbed()
@torch.inference_mode()
def imputed(
    inference: Inference, rows: NDArray, n_draws: int, generator: torch.Generator | None
) -> NDArray[np.float64]:
    """Return rows in which each missing entry is its conditional mean, or a draw.

    Parameters
    ----------
    inference : Inference
        Of a net that bears missing entries.
    rows : ndarray of shape (n_samples, n_features)
        NaN is missing.
    n_draws : int
        Codes that are drawn of each row.
    generator : torch.Generator or None
        Of draws; None is the conditional mean.

    References
    ----------
    Mattei and Frellsen, MIWAE, arXiv 1812.02633.
    """
    module, device = inference.module.eval(), inference.net.device
    # The same for every row, which then does not depend on those beside it. Without a mean they
    # make a linear decoder's means exact where the encoder's posterior is.
    shared = standard_normal(
        (n_draws, module.latent_dim), torch_generator(inference.seed, "imputation")
    )
    shared -= shared.mean(dim=0)
    filled = rows.astype(np.float64)
    incomplete = np.flatnonzero(np.isnan(rows).any(axis=1))
    with one_thread_if(inference.net.is_small()):
        for start in range(0, len(incomplete), inference.chunk_rows):
            chunk = incomplete[start : start + inference.chunk_rows]
            block = rows[chunk]
            standardised = inference.units.apply(block)
            require_finite(block, inference.owner, derived=standardised, allow_nan=True)
            x = torch.from_numpy(standardised).to(device)
            if generator is None:
                made = _conditional_means(module, x, shared)
            else:
                noises = (
                    standard_normal((len(x), module.latent_dim), generator)
                    for _ in range(n_draws)
                )
                made = _conditional_draws(module, x, noises, generator)
            restored = inference.units.restore(made.numpy(force=True))
            filled[chunk] = np.where(np.isnan(block), restored, block)
    return filled


def _conditional_means(module: Any, x: Tensor, noises: Iterable[Tensor]) -> Tensor:
    """Weighted means of what the decoder expects of each draw of the code."""
    log_most = torch.full((len(x),), -torch.inf, device=x.device)
    total, means = torch.zeros_like(log_most), torch.zeros_like(x)
    for _, parameters, log_weight in _drawn(module, x, noises):
        # In one pass: what was summed is taken to the scale of the greatest weight so far.
        greater = torch.maximum(log_most, log_weight)
        before, weight = torch.exp(log_most - greater), torch.exp(log_weight - greater)
        expected = module.decoder.likelihood.expectation(parameters)
        means = means * before[:, None] + expected * weight[:, None]
        total, log_most = total * before + weight, greater
    return means / total[:, None]


def _conditional_draws(
    module: Any, x: Tensor, noises: Iterable[Tensor], generator: torch.Generator
) -> Tensor:
    """Draws of the decoder at a code that is drawn among those of a row by its weight."""
    most = torch.full((len(x),), -torch.inf, device=x.device)
    chosen: Tensor | None = None
    for latent, _, log_weight in _drawn(module, x, noises):
        # The greatest of log weights and Gumbel noise is a draw by the weights.
        waits = torch.empty(len(x)).exponential_(generator=generator)
        score = log_weight - torch.log(waits).to(x.device)
        chosen = latent if chosen is None else chosen
        chosen = torch.where((score > most)[:, None], latent, chosen)
        most = torch.maximum(most, score)
    return module.decoder.draw(chosen, generator)


def _drawn(
    module: Any, x: Tensor, noises: Iterable[Tensor]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield draws of the code, what the decoder makes of them, and log importance weights."""
    mean, log_variance = module.encoder(x)
    deviation = torch.exp(0.5 * log_variance)
    for noise in noises:
        latent = mean + deviation * noise.to(x.device)
        parameters = module.decoder(latent)
        cost = module.decoder.reconstruction(x, parameters)
        log_weight = importance_bound(cost[None], latent[None], mean, log_variance)
        yield latent, parameters, log_weight
