"""Nets of one shape trained at the same time, as one net with an axis more."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from skvae._common.progress import Progress
from skvae._common.randomness import torch_generator
from skvae._common.threads import one_thread_if
from skvae.exceptions import DivergenceError
from skvae.nets.networks import standard_normal
from skvae.training.batches import TrainingRows
from skvae.training.denormals import without_denormals
from skvae.training.net import VAENet
from skvae.training.progress import epochs_in_words

__all__ = ["stackable", "train_together"]


# Settings of nets that are numbers, or tensors of one shape, in a stack.
FREE = frozenset(
    {
        "seed",
        "log_scale_sum",
        "held_out_log_scale_sum",
        "criterion__beta",
        "criterion__alignment_weight",
        "module__seed",
        "module__average_teacher",
        "module__counts",
        "module__log_variance",
        "module__log_variance_floor",
    }
)


def stackable(net: VAENet) -> tuple[str, ...]:
    """Return what nets have in common if they can be trained together."""
    settings = [
        f"{name}={value!r}"
        for name, value in net.get_params(deep=False).items()
        if name not in FREE
    ]
    shapes = [
        f"{name}: {tuple(value.shape)}" for name, value in net.module_.state_dict().items()
    ]
    counts = net.module__counts
    settings.append(f"size={counts and counts.size!r}")
    # The criterion leaves out a term that has no weight.
    return (*settings, *shapes, f"aligns: {net.criterion_.alignment_weight > 0}")


def train_together(
    nets: Sequence[VAENet], rows: Sequence[TrainingRows]
) -> list[DivergenceError | None]:
    """Train nets that are alike in `stackable`.

    Each draws the order of its rows and its noise from streams of its own, as it would by
    itself, and ends with the weights and the history that it would have, up to rounding.
    Callbacks are not called; what is told of the training is of all of them.

    Parameters
    ----------
    nets : sequence of VAENet
        Initialised.
    rows : sequence of TrainingRows
        As many for each of them.

    Returns
    -------
    errors : list of DivergenceError or None
        Why the training of a net failed; the others are not disturbed by it.
    """
    errors: list[DivergenceError | None] = [None] * len(nets)
    first = nets[0]
    progress = Progress(
        first.verbose, first.max_epochs, f"Training {len(nets)} models", "epoch"
    )
    with (
        one_thread_if(first.is_small()),
        without_denormals(),
        torch.enable_grad(),
        progress,
    ):
        batches = [
            net.get_iterator(own, training=True) for net, own in zip(nets, rows, strict=True)
        ]
        stack = _Stack(nets)
        for _ in range(first.max_epochs):
            start = time.perf_counter()
            for net in nets:
                net.history.new_epoch()
                net.history.record("epoch", len(net.history))
            sums = stack.run_epoch(batches)
            seconds = (time.perf_counter() - start) / len(nets)
            for number, (net, own) in enumerate(zip(nets, batches, strict=True)):
                if errors[number] is None:
                    errors[number] = _record(net, own, sums[number], seconds)
            progress.advance(
                lambda: epochs_in_words(
                    [
                        net.history[-1]
                        for net, error in zip(nets, errors, strict=True)
                        if error is None
                    ]
                )
            )
        stack.copy_weights()
    for net in nets:
        net.interrupted_ = False
    return errors


class _Objective(nn.Module):
    """Objective of a batch and its terms, as a function of weights that can be replaced."""

    def __init__(self, net):
        super().__init__()
        self.module = net.module_
        self.criterion = copy.copy(net.criterion_)

    def forward(self, x, T, noise, beta, alignment_weight):
        criterion = self.criterion
        criterion.beta = beta
        if criterion.alignment_weight != 0:
            criterion.alignment_weight = _PositiveWeight(alignment_weight)
        return criterion(x, T, self.module(x, noise), self.module)


class _PositiveWeight:
    """A weight that is another number in each net and positive in all.

    The criterion asks which it is, and a tensor with an entry a net has no one answer.
    """

    def __init__(self, weight):
        self.weight = weight

    def __gt__(self, other: float) -> bool:
        return other <= 0

    def __mul__(self, term: Tensor) -> Tensor:
        return self.weight * term


class _Stack:
    """Weights of several nets, one tensor for each name, and the optimiser of all."""

    def __init__(self, nets):
        self.nets = nets
        parameters, self.buffers = stack_module_state([net.module_.train() for net in nets])
        self.parameters = {name: nn.Parameter(each) for name, each in parameters.items()}
        first = nets[0]
        groups, options = first.get_params_for_optimizer("optimizer", self.parameters.items())
        self.optimizer = first.optimizer(*groups, **options)
        self.weights = [
            torch.tensor([getattr(net.criterion_, name) for net in nets], device=first.device)
            for name in ("beta", "alignment_weight")
        ]
        objective = _Objective(first)

        def evaluate(parameters, buffers, *batch):
            state = {f"module.{name}": each for name, each in (parameters | buffers).items()}
            # No weight has two names: the search for such takes longer than some products.
            return functional_call(objective, state, batch, tie_weights=False)

        self.evaluate = vmap(evaluate)

    def run_epoch(self, batches) -> Tensor:
        """Run over the rows of each net; return the sums of its terms, of shape (n, terms)."""
        sums: Tensor | float = 0.0
        for x, T, noise in self._draw(batches):
            self.optimizer.zero_grad(set_to_none=True)
            objectives, terms = self.evaluate(
                self.parameters, self.buffers, x, T, noise, *self.weights
            )
            # No weight is in two of them: the gradient of the sum is that of each.
            objectives.sum().backward()
            self.optimizer.update()
            sums = sums + terms.double()
        return torch.as_tensor(sums)

    def _draw(self, batches) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        orders, streams = [], []
        for net, own in zip(self.nets, batches, strict=True):
            epoch = net.history[-1, "epoch"]
            orders.append(own.shuffled(torch_generator(net.seed, "shuffle", epoch)))
            streams.append(torch_generator(net.seed, "noise", epoch, device=own.device))
        latent_dim = self.nets[0].module_.latent_dim
        for drawn in zip(*orders, strict=True):
            x, T = (torch.stack(part) for part in zip(*drawn, strict=True))
            shape = (x.shape[1], latent_dim)
            noise = torch.stack([standard_normal(shape, stream) for stream in streams])
            yield x, T, noise

    @torch.no_grad()
    def copy_weights(self) -> None:
        """Give each net its own weights."""
        for number, net in enumerate(self.nets):
            for name, parameter in net.module_.named_parameters():
                parameter.copy_(self.parameters[name][number])


class _Summed:
    """An epoch that was trained elsewhere, for `VAENet.run_single_epoch` to record."""

    def __init__(self, batches, sums):
        self.device = batches.device
        self.teacher_information = batches.teacher_information
        self.n_rows = len(batches)
        self.sums = sums

    def __len__(self) -> int:
        return self.n_rows

    def shuffled(self, generator: torch.Generator) -> Iterator[Tensor]:
        yield self.sums


def _record(net: VAENet, batches, sums: Tensor, seconds: float) -> DivergenceError | None:
    try:
        net.run_single_epoch(
            _Summed(batches, sums),
            training=True,
            prefix="train",
            step_fn=lambda sums, generator: sums,
        )
    except DivergenceError as error:
        return error
    net.history.record("dur", seconds)
    return None
