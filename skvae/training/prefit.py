"""Prefit: the encoder is shown where the simplex witness reads, before anything else."""

from __future__ import annotations

import math
from functools import partial

import torch
from numpy.typing import NDArray
from torch.nn import functional

from skvae._common.progress import Progress
from skvae._common.randomness import torch_generator
from skvae._common.threads import one_thread_if
from skvae.exceptions import DivergenceError
from skvae.nets.own_modules import single_row_explained
from skvae.objective.row_terms import kl
from skvae.training.batches import TrainingRows
from skvae.training.devices import has_fused_optimizer
from skvae.training.net import VAENet

__all__ = ["prefit_encoder"]


def prefit_encoder(
    net: VAENet, rows: TrainingRows, codes: NDArray, variance: float, n_epochs: int
) -> None:
    """Regress the posterior on given codes in its first dimensions.

    Minimises ``KL(q(z|x) || N(code(x), variance))`` there, which for the means is their
    squared error over twice the variance, and the divergence from the prior in the other
    dimensions. The decoder is left alone.

    Parameters
    ----------
    net : VAENet
        An initialised net; its encoder is changed.
    rows : TrainingRows
        Rows to train on.
    codes : ndarray of shape (n_samples, n_dimensions)
        Codes for the first ``n_dimensions <= latent_dim`` dimensions.
    variance : float
        Posterior variance wanted in these dimensions, positive.
    n_epochs : int
        Passes over the rows.

    Raises
    ------
    ValueError
        If all weights of the encoder are frozen.
    DivergenceError
        If the divergence stops being finite.

    References
    ----------
    arXiv 2605.18224 (the encoder mean, before the ELBO). The variance is skvae's own.
    """
    encoder = net.module_.encoder
    if not any(weight.requires_grad for weight in encoder.parameters()):
        raise ValueError(
            f"prefit_epochs={n_epochs} trains the encoder, and all weights of this one are "
            "frozen: pass prefit_epochs=0, or set requires_grad of some of them."
        )
    with (
        one_thread_if(net.is_small()),
        single_row_explained(),
        torch.enable_grad(),
        Progress(net.verbose, n_epochs, "Prefit", "epoch") as progress,
    ):
        n_spare = net.module_.latent_dim - codes.shape[1]
        targets = functional.pad(torch.as_tensor(codes, dtype=torch.float32), (0, n_spare))
        log_variance = torch.zeros(net.module_.latent_dim, device=net.device)
        log_variance[: codes.shape[1]] = math.log(variance)
        deviation = torch.exp(0.5 * log_variance)
        batches = rows.batches(net.batch_size, net.device, targets)
        optimizer = torch.optim.AdamW(
            encoder.parameters(),
            lr=net.lr,
            weight_decay=0.0,
            fused=has_fused_optimizer(net.device),
        )
        encoder.train()
        for epoch in range(1, n_epochs + 1):
            total = torch.zeros((), device=net.device)
            order = torch_generator(net.seed, "prefit", epoch)
            for x, code, *weights in net.shuffled(batches, order):
                optimizer.zero_grad(set_to_none=True)
                mean, spread = encoder(x)
                # The divergence of two Gaussians is that from the prior in the units of the
                # second.
                divergences = kl((mean - code) / deviation, spread - log_variance)
                divergence = (divergences * weights[0] if weights else divergences).sum()
                (divergence / len(x)).backward()
                optimizer.step()
                total += divergence.detach()
            mean_divergence = total.item() / len(codes)
            if not math.isfinite(mean_divergence):
                raise DivergenceError(
                    f"The prefit diverged in epoch {epoch}: try a smaller lr (now {net.lr:g}), "
                    "or look for extreme values in X."
                )
            progress.advance(partial("divergence {:.3f}".format, mean_divergence))
