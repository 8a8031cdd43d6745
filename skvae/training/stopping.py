"""When training stops, and what is recorded of the held-out rows on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import Callback, EarlyStopping
from torch import Tensor

from skvae._common.progress import say
from skvae._common.randomness import torch_generator
from skvae._common.threads import one_thread_if
from skvae.information import margin_lower_bound
from skvae.information.boundary import without_zeros
from skvae.nets.networks import draw_latent, standard_normal
from skvae.training.ranks import Share

__all__ = ["HeldOutBound", "StopOnPlateau", "StopTraining", "read_witness"]

# What `StopOnPlateau` keeps from one epoch to the next, beside the best weights.
STATE = ("misses_", "dynamic_threshold_", "best_epoch_", "handed_back_", "has_margin_")

# Of the teacher information, for a held-out margin that chance does not make.
LEAST_SHARE = 0.1


class StopTraining(KeyboardInterrupt):
    """Raised by a callback to end training; a KeyboardInterrupt is a person's."""


class StopOnPlateau(EarlyStopping):
    """Early stopping of skorch that can be told from a person's Ctrl-C.

    The threshold is absolute (a relative one is wrong for negative losses), and the
    best weights come back from memory, also when training is interrupted. With a guard
    an epoch counts, as best or as one too many, if its held-out margin reaches the guard,
    and not before the KL weight was handed back for the first time: until it is whole, or
    had to be held back again. With alignment an epoch whose held-out margin is over a tenth
    of the teacher information is better than any whose margin is not. With a KL schedule no
    epoch counts before its last rise is over.
    """

    best_model_weights_: dict[str, Tensor] | None
    handed_back_: bool
    has_margin_: bool
    # Of a training that was killed, for the one that goes on with it.
    _earlier: Mapping[str, Any] | None = None

    def __init__(self, patience, tol, guard=None):
        super().__init__(
            monitor="valid_judged",
            patience=patience,
            threshold=tol,
            threshold_mode="abs",
            load_best=True,
        )
        self.guard = guard

    def on_epoch_end(self, net, **kwargs):
        """Stop after `patience` epochs without an improvement by more than `tol`."""
        if net.kl_schedule is not None and not net.kl_schedule.is_over(net.n_steps_ - 1):
            return
        if self.guard is not None and not self._counts(net):
            return
        record = net.history[-1]
        # For skorch to find, and not to be kept: it follows from the others.
        record["valid_judged"] = net.criterion_.judge(
            record["valid_loss"], record["valid_alignment"]
        )
        if net.criterion_.alignment_weight > 0:
            self._prefer_a_margin(record)
        try:
            super().on_epoch_end(net, **kwargs)
        except KeyboardInterrupt:
            raise StopTraining from None
        finally:
            del record["valid_judged"]

    def _counts(self, net) -> bool:
        betas = [record["beta"] for record in net.history[-2:]]
        whole = betas[-1] >= net.criterion_.beta
        self.handed_back_ = self.handed_back_ or whole or betas[-1] < betas[0]
        return self.handed_back_ and net.history[-1, "valid_margin"] >= self.guard

    def _prefer_a_margin(self, record) -> None:
        # The cost of a code that the reconstruction does not pay for is much, and few rows tell
        # little of what the alignment gains: an epoch without any code would be the best.
        information = record["valid_margin"] + record["valid_alignment"]
        if record["valid_margin"] > LEAST_SHARE * information:
            if not self.has_margin_:
                self.dynamic_threshold_ = np.inf
            self.has_margin_ = True
        elif self.has_margin_:
            record["valid_judged"] = np.inf

    def _sink(self, text, verbose):
        say(text, verbose)

    def on_train_begin(self, net, **kwargs):
        """Forget what came before, but for the training that this one goes on with."""
        super().on_train_begin(net, **kwargs)
        self.handed_back_ = False
        self.has_margin_ = False
        for name, value in (self._earlier or {}).items():
            setattr(self, name, value)
        self._earlier = None

    def state(self) -> dict[str, Any]:
        """Return what the next epoch is judged by, but for the best weights."""
        return {name: getattr(self, name) for name in STATE}

    def resume_from(
        self, state: Mapping[str, Any], best_model_weights: dict[str, Tensor] | None
    ) -> None:
        """Go on from such a state when training begins."""
        self._earlier = {**state, "best_model_weights_": best_model_weights}

    def on_train_end(self, net, **kwargs):
        """Restore the best weights, where there are any."""
        if self.best_model_weights_ is not None:
            # Copied by several threads they would be what a forked child waits for.
            with one_thread_if(True):
                super().on_train_end(net, **kwargs)
        self.best_model_weights_ = None


class HeldOutBound(Callback):
    """Record a lower bound on the margin of the population after each epoch.

    The bound is at 0.95 and at the read that the witness is trained on, on the held-out
    rows. It holds for each epoch by itself: for an epoch that was picked by looking at
    these rows, as early stopping does, it does not.
    """

    def on_epoch_end(self, net, dataset_valid=None, **kwargs):
        """Record `valid_lower_bound`."""
        bound = margin_lower_bound(
            dataset_valid.targets.numpy(),
            read_witness(net, dataset_valid),
            without_zeros(net.module__average_teacher),
            sample_weight=dataset_valid.weights,
        )
        net.history.record("valid_lower_bound", bound.lower_bound)


@torch.inference_mode()
def read_witness(net, held_out) -> NDArray:
    """Log probabilities of the witness of held-out rows, at the read that it is trained on.

    The noise is the same at every call, as that of the held-out losses is.
    """
    module = net.module_
    module.eval()
    generator = torch_generator(net.seed, "validation")
    log_q = []
    batches = net.get_iterator(held_out)
    for rows, *_ in batches:
        mean, log_variance = module.encoder(rows)
        share = batches.shares.popleft() if batches.shares else Share(len(rows), 0, len(rows))
        noise = standard_normal((share.n_rows, module.latent_dim), generator)
        latent = draw_latent(mean, log_variance, noise[share.rows])
        log_q.append(share.placed(module.witness(module.shown(mean, latent)).cpu()))
    whole = torch.cat(log_q)
    return (whole if net.ranks_ is None else net.ranks_.total(whole)).numpy()
