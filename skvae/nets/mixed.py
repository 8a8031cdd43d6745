"""Torch modules: categorical columns, and rows whose columns are of several kinds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skvae.nets.likelihoods import (
    LIKELIHOODS,
    OF_COUNTS,
    Kinds,
    Likelihood,
    WithoutVariance,
    with_variance,
)
from skvae.objective.reconstructions import categorical_reconstruction
from skvae.rows.columns import UNSEEN
from skvae.rows.counts import CountUnits

__all__ = ["KINDS", "CategoricalLikelihood", "MixedLikelihood", "likelihood_of"]

# By what name a likelihood is told what is given of it.
OPTIONS = {"student_t": "degrees"}


class CategoricalLikelihood(WithoutVariance):
    """Independent categorical columns, each a block of as many as it has levels.

    The decoder gives unnormalised log probabilities of the levels.

    Parameters
    ----------
    log_variance, log_variance_floor, is_shared
        There is no variance.
    widths : sequence of int or None, default=None
        Numbers of levels, in the order of the blocks; None is one block of all.
    has_unseen : sequence of bool or None, default=None
        Whether the last level of a block is for values that were not seen: it has a probability
        where rows are scored, and none in what is made of a code. None is of no block.
    """

    places: Tensor
    kept: Tensor
    is_unseen: Tensor

    def __init__(
        self,
        log_variance=None,
        log_variance_floor=None,
        is_shared=False,
        widths=None,
        has_unseen=None,
    ):
        super().__init__()
        if widths is not None:
            widths = torch.as_tensor(widths)
            levels = torch.arange(int(widths.max()))
            is_level = levels < widths[:, None]
            # Beyond the last level of a narrower block is a column more, of no level.
            places = (widths.cumsum(0) - widths)[:, None] + levels
            places = torch.where(is_level, places, int(widths.sum()))
            self.register_buffer("places", places, persistent=False)
            self.register_buffer("kept", is_level.flatten().nonzero()[:, 0], persistent=False)
        self.has_blocks = widths is not None
        self.has_unseen = has_unseen is not None and any(has_unseen)
        if self.has_unseen:
            is_unseen = torch.tensor(has_unseen)[:, None] & (levels == widths[:, None] - 1)
            self.register_buffer("is_unseen", is_unseen, persistent=False)

    def _in_blocks(self, columns: Tensor, filling: float) -> Tensor:
        """Return columns as an array of shape (n_samples, n_blocks, n_levels)."""
        if not self.has_blocks:
            return columns[:, None]
        padding = columns.new_full((columns.shape[0], 1), filling)
        padded = torch.cat([columns, padding], dim=1)
        return padded.index_select(1, self.places.flatten()).view(-1, *self.places.shape)

    def _in_columns(self, blocks: Tensor) -> Tensor:
        flat = blocks.flatten(1)
        return flat.index_select(1, self.kept.to(flat.device)) if self.has_blocks else flat

    def _of_seen(self, parameters: Tensor) -> Tensor:
        """Return logits in blocks, of levels that there is a value for."""
        logits = self._in_blocks(parameters, -math.inf)
        return logits.masked_fill(self.is_unseen, -math.inf) if self.has_unseen else logits

    def reconstruction(
        self, x: Tensor, parameters: Tensor, observed: Tensor | None = None
    ) -> Tensor:
        """Negative log likelihood of each row."""
        if observed is not None:
            # All of a block is observed, or nothing.
            observed = self._in_blocks(observed.float(), 0.0)[..., 0]
        return categorical_reconstruction(
            self._in_blocks(x, 0.0), self._in_blocks(parameters, -math.inf), observed
        )

    def expectation(self, parameters: Tensor) -> Tensor:
        """Probabilities of the levels, given that it is one of those that were seen."""
        return self._in_columns(torch.softmax(self._of_seen(parameters), dim=2))

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a one among zeros for each block, on the CPU, at a level that was seen."""
        logits = self._of_seen(parameters).cpu()
        waits = torch.empty(logits.shape, dtype=torch.float32).exponential_(generator=generator)
        # The level that is first where each comes at a rate of its own.
        first = (logits - torch.log(waits)).argmax(dim=2)
        return self._in_columns(functional.one_hot(first, logits.shape[2]).float())


# All that a column can be.
KINDS: dict[str, Callable[..., Any]] = {**LIKELIHOODS, "categorical": CategoricalLikelihood}


class MixedLikelihood(nn.Module):
    """Independent columns of several kinds, those of one kind side by side in one likelihood.

    Parameters
    ----------
    kinds : sequence of (str, int, object)
        Of each column of the table its likelihood, how many columns of the net it is, and what
        is given of it.
    log_variance, log_variance_floor : sequence of float or None
        As in `skvae.nets.likelihoods.ColumnVariances`, an entry for each column of the net;
        those of columns without a variance mean nothing.
    is_shared : bool, default=False
        Whether the columns of one likelihood learn one variance.
    """

    order: Tensor

    def __init__(self, kinds, log_variance=None, log_variance_floor=None, is_shared=False):
        super().__init__()
        places: dict[tuple[str, Any], list[int]] = {}
        widths: dict[tuple[str, Any], list[int]] = {}
        has_unseen: dict[tuple[str, Any], list[bool]] = {}
        start = 0
        for name, width, option in kinds:
            # A level for unseen values is one more of its block, and no other likelihood.
            family = name, option if name in OPTIONS else None
            places.setdefault(family, []).extend(range(start, start + width))
            widths.setdefault(family, []).append(width)
            has_unseen.setdefault(family, []).append(option == UNSEEN)
            start += width
        self.n_features = start
        self.likelihoods = nn.ModuleList()
        for number, (family, columns) in enumerate(places.items()):
            name, option = family
            settings = {OPTIONS[name]: option} if option is not None else {}
            if name == "categorical":
                settings = {"widths": widths[family], "has_unseen": has_unseen[family]}
            has_variance = with_variance(name, 1).all()
            variances = [
                np.asarray(each)[columns] if has_variance and each is not None else None
                for each in (log_variance, log_variance_floor)
            ]
            if name == "negative_binomial":
                # A dispersion of one for each column.
                variances[0] = np.zeros(len(columns))
            self.likelihoods.append(KINDS[name](*variances, is_shared, **settings))
            self.register_buffer(f"columns_{number}", torch.tensor(columns), persistent=False)
        order = torch.tensor([place for columns in places.values() for place in columns])
        self.register_buffer("order", torch.argsort(order), persistent=False)

    @property
    def is_learned(self) -> bool:
        """Whether some kinds of columns learn something that no code says."""
        return any(True for _ in self.parameters())

    def reconstruction(
        self, x: Tensor, parameters: Tensor, observed: Tensor | None = None
    ) -> Tensor:
        """Negative log likelihood of each row, the sum over all kinds of columns."""
        given = (x, parameters) if observed is None else (x, parameters, observed)
        return torch.stack(
            [
                likelihood.reconstruction(*(each.index_select(1, columns) for each in given))
                for likelihood, columns in self._parts()
            ]
        ).sum(dim=0)

    def expectation(self, parameters: Tensor) -> Tensor:
        """Mean of each row; of categorical columns the probabilities of the levels."""
        return self._joined(lambda likelihood, made: likelihood.expectation(made), parameters)

    def draw(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Draw rows, on the CPU."""
        return self._joined(
            lambda likelihood, made: likelihood.draw(made, generator), parameters
        )

    def _parts(self) -> list[tuple[Any, Tensor]]:
        return [
            (likelihood, self.get_buffer(f"columns_{number}"))
            for number, likelihood in enumerate(self.likelihoods)
        ]

    def _joined(self, make: Callable[[Any, Tensor], Tensor], parameters: Tensor) -> Tensor:
        made = [
            make(likelihood, parameters.index_select(1, columns))
            for likelihood, columns in self._parts()
        ]
        joined = torch.cat(made, dim=1)
        return joined.index_select(1, self.order.to(joined.device))


def likelihood_of(
    kinds: Kinds,
    log_variance: Any,
    log_variance_floor: Any,
    is_shared: bool,
    counts: CountUnits | None = None,
) -> Likelihood | MixedLikelihood:
    """Return the likelihood of the columns of a net, of one kind or of several."""
    if isinstance(kinds, str):
        of_counts = {"counts": counts} if kinds in OF_COUNTS else {}
        return LIKELIHOODS[kinds](log_variance, log_variance_floor, is_shared, **of_counts)
    return MixedLikelihood(kinds, log_variance, log_variance_floor, is_shared)
