"""The criterion: which loss terms are in force, and what they weigh."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from skvae.nets.networks import Outputs, VariationalAutoencoder
from skvae.objective.batch_terms import (
    capacity_gap,
    floored_rate,
    is_aligned,
    mmd,
    total_correlation,
)
from skvae.objective.row_terms import alignment, importance_bound, kl, kl_per_dimension
from skvae.training.ranks import Ranks

__all__ = ["FURTHER_TERMS", "TERMS", "Criterion"]

# Terms of every model, and those that a setting brings in.
TERMS = ("reconstruction", "rate", "alignment")
FURTHER_TERMS = (
    "floored_rate",
    "capacity_gap",
    "importance_bound",
    "mmd",
    "total_correlation",
)

Value = TypeVar("Value", Tensor, float)

# Weight of the alignment of held-out rows over that of their rate, at the most.
JUDGED_AT = 3.0


class Criterion(nn.Module):
    """Weighted objective of a batch, and the terms it is made of.

    A term that is off costs nothing. What the divergence from the prior enters the
    objective as is one of ``rate``, ``floored_rate``, ``capacity_gap`` and
    ``importance_bound``, by the parameters that follow.

    Parameters
    ----------
    beta, alignment_weight : float
        Weights of the divergence from the prior and of the alignment, at least 0.
    alignment_target : float or None, default=None
        Share of the teacher information of a batch, in (0, 1), from which on its margin
        no longer moves the code; None moves it always.
    free_bits : float, default=0.0
        Nats that each latent dimension has for free; 0 is off.
    kl_capacity : float or None, default=None
        Nats that the rate is held to; None is off.
    mmd_weight, tc_weight : float, default=0.0
        Weights of `mmd` and `total_correlation`; 0 is off.
    n_importance_samples : int, default=1
        Draws of the code for each row; more than one is the importance-weighted bound.
    n_rows : int, default=1
        Training rows, which make up the aggregated posterior.

    Attributes
    ----------
    kl_fraction : float
        Share of `beta` in force in training, in [0, 1], or with a `kl_capacity` share of
        that; below 1 while a guard holds it back or a warm-up raises it.
    terms : tuple of str
        Names of the terms in force, in their order in the second result.
    ranks : Ranks or None
        While training alone: the processes that each have a share of a batch. What depends on
        the mean of a batch then depends on that of all of it.
    """

    ranks: Ranks | None = None

    def __init__(
        self,
        beta,
        alignment_weight,
        alignment_target=None,
        free_bits=0.0,
        kl_capacity=None,
        mmd_weight=0.0,
        tc_weight=0.0,
        n_importance_samples=1,
        n_rows=1,
    ):
        super().__init__()
        self.beta = beta
        self.alignment_weight = alignment_weight
        self.alignment_target = alignment_target
        self.free_bits = free_bits
        self.kl_capacity = kl_capacity
        self.n_importance_samples = n_importance_samples
        self.n_rows = n_rows
        self.kl_fraction = 1.0
        weights = {"mmd": mmd_weight, "total_correlation": tc_weight}
        self.further_weights = {name: weight for name, weight in weights.items() if weight > 0}
        self.divergence = "rate"
        if free_bits > 0:
            self.divergence = "floored_rate"
        elif kl_capacity is not None:
            self.divergence = "capacity_gap"
        elif n_importance_samples > 1:
            self.divergence = "importance_bound"
        in_force = {self.divergence, *self.further_weights}
        self.terms = (*TERMS, *(name for name in FURTHER_TERMS if name in in_force))

    @property
    def effective_beta(self) -> float:
        """Weight of the divergence from the prior that is in force in training."""
        return self.beta if self.kl_capacity is not None else self.kl_fraction * self.beta

    def forward(
        self, x: Tensor, T: Tensor, outputs: Outputs, module: VariationalAutoencoder
    ) -> tuple[Tensor, Tensor]:
        """Mean objective of the batch, and the sum of each of `terms` over its rows."""
        return self.total(self.sums(x, T, outputs, module), len(x))

    def sums(
        self,
        x: Tensor,
        T: Tensor,
        outputs: Outputs,
        module: VariationalAutoencoder,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return sums over a batch, on which no weight that a schedule moves acts.

        Where rows have weights, which are one on average over all rows, each enters the sums
        by its own. They are divided by the number of rows all the same: so the mean of a
        batch, and its gradient, is on average the weighted mean over all rows.
        """
        decoder = module.decoder
        mean, log_variance = outputs.mean, outputs.log_variance
        sums = {}

        def weighed(of_rows: Tensor) -> Tensor:
            if weights is None:
                return of_rows
            return of_rows * weights.view(-1, *[1] * (of_rows.ndim - 1))

        if self.divergence == "importance_bound":
            draws = x.repeat(self.n_importance_samples, 1)
            reconstruction = decoder.reconstruction(draws, outputs.parameters)
            reconstruction = reconstruction.view(self.n_importance_samples, len(x))
            bound = importance_bound(reconstruction, outputs.latent, mean, log_variance)
            sums["reconstruction"] = weighed(reconstruction.mean(dim=0)).sum()
            sums["importance_bound"] = weighed(bound).sum()
        else:
            reconstruction = decoder.reconstruction(x, outputs.parameters)
            sums["reconstruction"] = weighed(reconstruction).sum()
        if self.divergence == "floored_rate":
            by_dimension = weighed(kl_per_dimension(mean, log_variance))
            sums["rate"] = by_dimension.sum()
            if self.ranks is not None:
                by_dimension = self._over_all(by_dimension.mean(dim=0))[None]
            sums["floored_rate"] = len(x) * floored_rate(by_dimension, self.free_bits)
        else:
            sums["rate"] = weighed(kl(mean, log_variance)).sum()
        sums["alignment"] = weighed(self._alignment(T, outputs, module, weights)).sum()
        if "mmd" in self.further_weights:
            sums["mmd"] = len(x) * mmd(outputs.latent, weights)
        if "total_correlation" in self.further_weights:
            dependence = total_correlation(
                outputs.latent, mean, log_variance, self.n_rows, weights
            )
            sums["total_correlation"] = len(x) * dependence
        return sums

    def _alignment(
        self,
        T: Tensor,
        outputs: Outputs,
        module: VariationalAutoencoder,
        weights: Tensor | None,
    ) -> Tensor:
        """Cost of the witness; once on target, with a gradient for the witness alone."""
        cost = alignment(T, outputs.log_witness)
        if self.alignment_target is None or not self.alignment_weight > 0:
            return cost
        first = outputs.latent[0] if self.n_importance_samples > 1 else outputs.latent
        read = module.shown(outputs.mean, first).detach()
        # The values are the same. A choice by `if` would wait for the device in every step.
        apart = alignment(T, module.witness(read))
        over_all = None if self.ranks is None else self.ranks.means
        is_on_target = is_aligned(T, cost, self.alignment_target, weights, over_all)
        return torch.where(is_on_target, apart, cost)

    def _over_all(self, means: Tensor) -> Tensor:
        """Means over all rows of a batch, whose gradient is that of this rank's own."""
        if self.ranks is None:
            return means
        (of_batch,) = self.ranks.means([means])()
        return means + (of_batch - means.detach())

    def total(self, sums: dict[str, Tensor], n_rows: int) -> tuple[Tensor, Tensor]:
        """Mean objective that these sums over `n_rows` rows make, and each of `terms`."""
        if self.divergence == "capacity_gap":
            # Losses that are compared between epochs are all at the same capacity.
            capacity = self.kl_capacity * (self.kl_fraction if self.training else 1.0)
            rate = self._over_all(sums["rate"] / n_rows)
            sums["capacity_gap"] = n_rows * capacity_gap(rate, capacity)
        objective = self.weigh(sums, self.effective_beta)
        return objective / n_rows, torch.stack([sums[name] for name in self.terms]).detach()

    def weigh(self, terms: dict[str, Value], beta: float) -> Value:
        """Objective that these terms make at this weight of the divergence."""
        if self.divergence == "importance_bound":
            objective = -terms["importance_bound"]
        else:
            objective = terms["reconstruction"] + beta * terms[self.divergence]
        if self.alignment_weight > 0:
            objective = objective + self.alignment_weight * terms["alignment"]
        for name, weight in self.further_weights.items():
            objective = objective + weight * terms[name]
        return objective

    def judge(self, loss: float, alignment: float) -> float:
        """Loss of held-out rows whose alignment weighs at most three times what the rate does.

        A pull that is ten times as strong serves the margin; as a judge it would go on when
        the ELBO has long been falling. One that weighs no more than the rate would stop before
        there is a margin, where a first code costs more than it gains.
        """
        excess = self.alignment_weight - JUDGED_AT * self.beta if self.beta > 0 else 0.0
        return loss - max(0.0, excess) * alignment
