"""Witnesses q(k|z): students that see the latent code and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

__all__ = ["LinearWitness"]


class LinearWitness(nn.Module):
    """Linear softmax head on the latent code that starts on the boundary.

    With zero weights and bias ``log Tbar`` it is the best constant student: its
    margin is exactly 0 before training, so whatever it gains, it has learned.

    Parameters
    ----------
    latent_dim : int
        Dimension of the code.
    average_teacher : sequence of float
        ``Tbar``, the teacher's average over the training rows.

    References
    ----------
    arXiv 2605.05813.

    Examples
    --------
    >>> import torch
    >>> from skvae.witnesses import LinearWitness
    >>> witness = LinearWitness(3, [0.25, 0.75])
    >>> witness(torch.randn(1, 3)).exp().detach()
    tensor([[0.2500, 0.7500]])
    """

    def __init__(self, latent_dim, average_teacher):
        super().__init__()
        average = torch.as_tensor(average_teacher, dtype=torch.float64)
        self.head = skip_init(nn.Linear, latent_dim, len(average), dtype=torch.float32)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            # A component that no row uses keeps a finite logit, and its gradient.
            self.head.bias.copy_(average.clamp(min=1e-12).log())

    def forward(self, latent: Tensor) -> Tensor:
        """Log probabilities of shape (n_samples, n_components) for codes of shape (n, d)."""
        return torch.log_softmax(self.head(latent), dim=1)
