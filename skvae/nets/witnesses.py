"""Witnesses q(k|z): students that see the latent code and nothing else."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from skvae._common.randomness import torch_generator
from skvae.information.simplex import simplex_vertices
from skvae.nets.layers import multilayer_perceptron

__all__ = ["LinearWitness", "MLPWitness", "SimplexWitness", "begin_witness"]

# Few beside the layers of any encoder; the logits of a mixture's posterior are quadratic in
# the data, and take no more to follow.
HIDDEN_UNITS = 64


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
    >>> from skvae.nets.witnesses import LinearWitness
    >>> witness = LinearWitness(3, [0.25, 0.75])
    >>> witness(torch.randn(1, 3)).exp().detach()
    tensor([[0.2500, 0.7500]])
    """

    def __init__(self, latent_dim, average_teacher):
        super().__init__()
        log_average = _log_average(average_teacher)
        self.head = skip_init(nn.Linear, latent_dim, len(log_average), dtype=torch.float32)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            self.head.bias.copy_(log_average)

    def forward(self, latent: Tensor) -> Tensor:
        """Log probabilities of shape (n_samples, n_components) for codes of shape (n, d)."""
        return torch.log_softmax(self.logits(latent), dim=1)

    def logits(self, latent: Tensor) -> Tensor:
        """Log probabilities but for a constant in each row, for who normalises them himself."""
        return self.head(latent)


class MLPWitness(LinearWitness):
    """Softmax head on a hidden layer of 64 rectifiers, on the boundary at the start too.

    The classes that it tells apart need not be apart by a plane in the code: less of the
    code has to be moved for the same margin.

    Parameters
    ----------
    latent_dim : int
        Dimension of the code.
    average_teacher : sequence of float
        ``Tbar``, the teacher's average over the training rows.
    generator : torch.Generator
        Source of the initial weights of the hidden layer.

    References
    ----------
    arXiv 2605.05813, whose proof asks of a witness that it sees the code alone.

    Examples
    --------
    >>> import torch
    >>> from skvae.nets.witnesses import MLPWitness
    >>> witness = MLPWitness(3, [0.25, 0.75], torch.Generator().manual_seed(0))
    >>> witness(torch.randn(1, 3)).exp().detach()
    tensor([[0.2500, 0.7500]])
    """

    def __init__(self, latent_dim, average_teacher, generator):
        super().__init__(HIDDEN_UNITS, average_teacher)
        self.hidden = nn.Sequential(
            multilayer_perceptron([latent_dim, HIDDEN_UNITS], generator), nn.ReLU(inplace=True)
        )

    def logits(self, latent: Tensor) -> Tensor:
        """Log probabilities but for a constant in each row, for who normalises them himself."""
        return super().logits(self.hidden(latent))


class SimplexWitness(nn.Module):
    """Fixed softmax head that reads a code by its distances from the vertices of a simplex.

    Nothing of it is trained: what it is to answer, the encoder has to write where it
    reads, in the first ``n_components - 1`` dimensions. Its answer to the code 0 is the
    best constant student.

    Parameters
    ----------
    latent_dim : int
        Dimension of the code, at least ``n_components - 1``.
    average_teacher : sequence of float
        ``Tbar``, the teacher's average over the training rows.
    scale : float
        Factor on the vertices, positive.

    References
    ----------
    arXiv 2605.18224; `skvae.information.simplex` has its geometry.

    Examples
    --------
    >>> import torch
    >>> from skvae.nets.witnesses import SimplexWitness
    >>> witness = SimplexWitness(3, [0.5, 0.5], scale=2.0)
    >>> witness(torch.tensor([[0.0, 9.0, 9.0], [1.0, 9.0, 9.0]])).exp()
    tensor([[0.5000, 0.5000],
            [0.9820, 0.0180]])
    """

    directions: Tensor
    log_average: Tensor

    def __init__(self, latent_dim, average_teacher, scale):
        super().__init__()
        log_average = _log_average(average_teacher)
        directions = torch.from_numpy(scale * simplex_vertices(len(log_average)).T)
        if directions.shape[1] > latent_dim:
            raise ValueError(
                f"A simplex witness of {len(log_average)} components reads "
                f"{directions.shape[1]} dimensions, got latent_dim={latent_dim}."
            )
        self.register_buffer("directions", directions.float())
        self.register_buffer("log_average", log_average.float())

    def forward(self, latent: Tensor) -> Tensor:
        """Log probabilities of shape (n_samples, n_components) for codes of shape (n, d)."""
        return torch.log_softmax(self.logits(latent), dim=1)

    def logits(self, latent: Tensor) -> Tensor:
        """Log probabilities but for a constant in each row, for who normalises them himself."""
        read = latent[:, : self.directions.shape[1]]
        return functional.linear(read, self.directions, self.log_average)


def begin_witness(
    kind: str, latent_dim: int, average_teacher: ArrayLike, scale: float, seed: int
) -> LinearWitness | SimplexWitness:
    """Return the witness of a model that is not trained yet.

    Parameters
    ----------
    kind : {"linear", "mlp", "simplex"}
        As `witness` of `TeacherGuidedVAE`.
    latent_dim : int
        Dimension of the code.
    average_teacher : sequence of float
        ``Tbar`` of the training rows, where the witness starts.
    scale : float
        Of a simplex witness.
    seed : int
        Drives initial weights, where there are any.

    Returns
    -------
    witness : LinearWitness or SimplexWitness
        With the best constant student's answer to every code, or to the code 0.
    """
    if kind == "simplex":
        return SimplexWitness(latent_dim, average_teacher, scale)
    if kind == "mlp":
        generator = torch_generator(seed, "witness layers")
        return MLPWitness(latent_dim, average_teacher, generator)
    return LinearWitness(latent_dim, average_teacher)


def _log_average(average_teacher) -> Tensor:
    # A component that no row uses keeps a finite logit, and its gradient.
    return torch.as_tensor(average_teacher, dtype=torch.float64).clamp(min=1e-12).log()
