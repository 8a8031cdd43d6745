"""The step of the usual objective, whose gradients have a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from skvae.nets.likelihoods import GaussianLikelihood
from skvae.nets.networks import VariationalAutoencoder
from skvae.nets.witnesses import LinearWitness, MLPWitness
from skvae.objective.batch_terms import has_margin, margin_means
from skvae.training.criterion import TERMS, Criterion
from skvae.training.steps.dense_pass import DensePass, gradient_of, set_gradient
from skvae.training.steps.direct_step import DirectStep
from skvae.training.steps.room import Room

__all__ = ["ClosedFormStep"]


class _Scales(NamedTuple):
    """What a batch of so many rows takes of the variances of the columns."""

    n_rows: int
    # What residuals are multiplied by, and then again to be gradients.
    precision_root: Tensor
    of_gradient: Tensor
    # What is added to their squares.
    constant: Tensor


class ClosedFormStep(DirectStep):
    """`DirectStep` for Gaussian columns, a trained witness and none of the further terms.

    Autograd would find the same gradients, and its bookkeeping costs a small net more than
    their formulas. Whatever is as large as the batch is written over what was there.

    Parameters
    ----------
    module, criterion
        As in `DirectStep`, and such that `is_for` says yes.

    References
    ----------
    Kingma and Welling, arXiv 1312.6114, appendices B and C.2, and arXiv 2605.05813 for the
    terms.
    """

    adds_to_gradients = False

    def __init__(self, module: VariationalAutoencoder, criterion: Criterion):
        super().__init__(module, criterion)
        self.likelihood = cast(GaussianLikelihood, module.decoder.likelihood)
        self.head = cast(LinearWitness, module.witness).head
        self.hidden: DensePass | None = None
        if isinstance(module.witness, MLPWitness):
            layers = [
                each for each in module.witness.hidden.modules() if not list(each.children())
            ]
            self.hidden = DensePass(nn.Sequential(*layers, self.head), torch.float32)
        self._of_made = Room()
        self._scales: _Scales | None = None
        # Shares of the sums of squares and their like that the terms are.
        self._shares = self.head.weight.new_tensor([0.5, 0.5, 1.0])

    @classmethod
    def is_for(cls, module: VariationalAutoencoder, criterion: Criterion) -> bool:
        """Whether the objective is the usual one, and `DirectStep` is for the net."""
        return (
            super().is_for(module, criterion)
            and criterion.terms == TERMS
            and type(module.witness) in (LinearWitness, MLPWitness)
            and type(module.decoder.likelihood) is GaussianLikelihood
            # A loss that is scaled up for the gradients' sake has to go through autograd.
            and module.precision != "fp16"
        )

    @torch.no_grad()
    def take(
        self,
        x: Tensor,
        T: Tensor,
        noise: Tensor,
        scaled: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Set all gradients and return the sum of each term, as `DirectStep.take` does."""
        criterion, n_rows = self.criterion, x.shape[0]
        made = self._encoded(x)
        mean, log_variance = made.chunk(2, dim=1)
        deviation = torch.exp(0.5 * log_variance).mul_(noise)
        latent = mean + deviation
        shown = self.module.shown(mean, latent)
        # Before the decoder, which hides what other ranks have to say of the margin.
        alignment, pull = self._alignment(T, shown)

        parameters = self.decoder.forward(latent).float()
        reconstruction, of_parameters = self._reconstruction(x, parameters)
        excess = torch.expm1(log_variance)
        # Entry by entry: the sums are far larger than what they differ by near the prior.
        rate = (excess - log_variance).addcmul_(mean, mean).sum()

        of_latent = cast(Tensor, self.decoder.backward(of_parameters, needs_input=True)).float()
        weight = criterion.effective_beta / n_rows
        of_made = self._of_made.like(made)
        of_mean, of_log_variance = of_made.chunk(2, dim=1)
        if pull is not None and shown is latent:
            pull(of_latent)
        torch.add(of_latent, mean, alpha=weight, out=of_mean)
        if pull is not None and shown is mean:
            pull(of_mean)
        of_draw = deviation.mul_(of_latent).add_(excess, alpha=weight)
        torch.mul(of_draw, 0.5, out=of_log_variance)
        self.encoder.backward(of_made, needs_input=False)
        return torch.stack([reconstruction, rate, alignment]).mul_(self._shares)

    def _reconstruction(self, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Twice the sum over the batch, and the gradient of its mean in the column means."""
        likelihood, n_rows = self.likelihood, x.shape[0]
        scales = self._scales_for(x)
        residual = mean.sub_(x).mul_(scales.precision_root)
        if likelihood.is_learned:
            squares = torch.linalg.vecdot(residual, residual, dim=0)
            total = squares.sum()
            excess = likelihood.excess_log_variance
            of_variance = (0.5 - squares / (2 * n_rows)) * torch.sigmoid(excess)
            set_gradient(excess, of_variance.sum_to_size(excess.shape))
        else:
            lengths = torch.linalg.vector_norm(residual, dim=1)
            total = torch.dot(lengths, lengths)
        return total.add_(scales.constant), residual.mul_(scales.of_gradient)

    def _scales_for(self, x: Tensor) -> _Scales:
        """Scales for as many rows as `x`: of fixed variances those of the batch before."""
        n_rows, n_features = x.shape
        if self._scales is None or self._scales.n_rows != n_rows or self.likelihood.is_learned:
            log_variance = self.likelihood.log_variance
            precision_root = torch.exp(-0.5 * log_variance)
            constant = (log_variance + math.log(2 * math.pi)).expand(n_features).sum()
            self._scales = _Scales(
                n_rows, precision_root, precision_root / n_rows, constant.mul_(n_rows)
            )
        return self._scales

    def _alignment(
        self, T: Tensor, shown: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], object] | None]:
        """Sum over the batch, and what adds the gradient of its weighted mean in the codes.

        The gradients of the witness are set. A row of the logits here is a component: a
        softmax over few columns of many rows is slow on a CPU.
        """
        head, weight = self.head, self.criterion.alignment_weight
        if self.hidden is None:
            logits = torch.addmm(head.bias[:, None], head.weight, shown.t())
        else:
            logits = self.hidden.forward(shown).t().contiguous()
        log_q = torch.log_softmax(logits, dim=0)
        T = T.t().contiguous()
        # Nothing is added where T is zero.
        ratio = T.clamp(min=torch.finfo(T.dtype).tiny).log_().sub_(log_q)
        alignment = torch.dot(T.view(-1), ratio.view(-1))
        if not weight > 0:
            return alignment, None
        is_on_target = self._is_on_target(T, ratio)
        # Weighed first, in the order of autograd. On the boundary the gradient of the bias
        # is zero, and an optimiser that divides by gradients makes much of what rounding
        # leaves of it.
        weighed = T * (weight / shown.shape[0])
        of_logits = log_q.exp_().mul_(weighed.sum(dim=0)).sub_(weighed)
        if self.hidden is None:
            torch.mm(of_logits, shown, out=gradient_of(head.weight))
            torch.sum(of_logits, 1, out=gradient_of(head.bias))
            if self.criterion.alignment_target is None:
                return alignment, lambda of_codes: of_codes.addmm_(of_logits.t(), head.weight)
            of_shown = of_logits.t() @ head.weight
        else:
            of_shown = cast(Tensor, self.hidden.backward(of_logits.t(), needs_input=True))

        def pull(of_codes: Tensor) -> Tensor:
            if is_on_target is None:
                return of_codes.add_(of_shown)
            # A choice by `if` would wait for the device.
            return of_codes.add_(of_shown.masked_fill_(is_on_target(), 0.0))

        return alignment, pull

    def _is_on_target(self, T: Tensor, ratio: Tensor) -> Callable[[], Tensor] | None:
        """Return what says whether the batch has its share of margin; None where none is asked.

        Where ranks have a part of the batch each, they are asked now and waited for then.
        """
        target, ranks = self.criterion.alignment_target, self.criterion.ranks
        if target is None:
            return None
        means = margin_means(T.t(), torch.linalg.vecdot(T, ratio, dim=0))
        if ranks is None:
            return lambda: has_margin(means, target)
        of_batch = ranks.means(means)
        return lambda: has_margin(of_batch(), target)
