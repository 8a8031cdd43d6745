"""AdamW on one flat tensor for the small weights of each group."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

__all__ = ["FlatAdamW"]

# Weights begin where vector registers do: the last digits of none depend on how many come
# before and after it.
ALIGNED_ENTRIES = 16
# Entries up to which a weight lies with others. Adding to the gradient of a larger one, in
# place of taking it over as it comes, costs more than going to one weight more.
SMALL_ENTRIES = 2**16


class FlatAdamW(torch.optim.AdamW):
    """AdamW whose small weights lie side by side, in one tensor for each group of parameters.

    The arithmetic is that of `torch.optim.AdamW`. On a small net a step of it is mostly the
    cost of going from one weight to the next; here there is one. From the first `zero_grad`
    to `release` small weights are views, with the shapes and strides that they had; weights
    of more than 65,536 entries, and those with gaps in memory, are left alone.

    Parameters
    ----------
    params : iterable of dict
        Groups of parameters as `torch.optim.AdamW` takes them, each a dictionary.
    **settings
        Of `torch.optim.AdamW`.
    """

    def __init__(self, params: Iterable[dict[str, Any]], **settings):
        groups = []
        self._flats: list[Flat] = []
        self._alone: list[nn.Parameter] = []
        for group in params:
            # Frozen weights have no gradient, and stay as they are.
            members = [member for member in group["params"] if member.requires_grad]
            alone = [member for member in members if not _can_join(member)]
            together = [member for member in members if _can_join(member)]
            self._alone += alone
            if together:
                self._flats.append(Flat(together))
                alone = [self._flats[-1].whole, *alone]
            groups.append({**group, "params": alone})
        super().__init__(groups, **settings)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to zero, where they lie, or drop them."""
        self.ready_gradients()
        for flat in self._flats:
            flat.gradient.zero_()

    def ready_gradients(self) -> None:
        """As `zero_grad`, but gradients that lie together are left for who writes over them."""
        for flat in self._flats:
            flat.ready_gradients()
        for weight in self._alone:
            weight.grad = None

    def collect_gradients(self) -> None:
        """Take over gradients that were put in the place of those that lie together."""
        for flat in self._flats:
            flat.collect_gradients()

    @torch.no_grad()
    def update(self) -> None:
        """Take a step, as `step` does but without its hooks.

        With the kernel that fuses all of a step, what torch does around it, a record for a
        profiler and a search for hooks, costs a small net as much as some of its products.
        """
        moving = [
            (group, [weight for weight in group["params"] if weight.grad is not None])
            for group in self.param_groups
        ]
        if not all(
            group["fused"] and self.state[w] for group, weights in moving for w in weights
        ):
            # Among others the first step of all, which makes the states.
            self.step()
            return
        for group, weights in moving:
            if not weights:
                continue
            states = [self.state[weight] for weight in weights]
            adamw(
                weights,
                [cast(Tensor, weight.grad) for weight in weights],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )

    def leave_out_others(self, parameters: Iterable[nn.Parameter]) -> None:
        """Let the next step change these weights alone; each group is among them or not."""
        chosen = {id(parameter) for parameter in parameters}
        for flat in self._flats:
            is_chosen = {id(member) in chosen for member, _ in flat.members}
            if is_chosen == {True, False}:
                raise ValueError("A group of parameters is stepped as a whole, or not at all.")
            if is_chosen == {False}:
                flat.whole.grad = None
        for weight in self._alone:
            if id(weight) not in chosen:
                weight.grad = None

    def release(self) -> None:
        """Give every weight memory of its own, as a model that is kept should have."""
        for flat in self._flats:
            flat.release()
        for weight in self._alone:
            weight.grad = None

    def moments(self) -> dict[nn.Parameter, dict[str, Tensor]]:
        """Return the state of each weight that has any, as `torch.optim.AdamW` keeps it."""
        alone = {weight: self.state[weight] for weight in self._alone if self.state.get(weight)}
        return alone | {
            member: {
                name: value if value.ndim == 0 else _part(value, member, start)
                for name, value in self.state[flat.whole].items()
            }
            for flat in self._flats
            if self.state.get(flat.whole)
            for member, start in flat.members
        }

    def adopt(self, moments: dict[nn.Parameter, dict[str, Tensor]]) -> None:
        """Take copies of such states for these weights; a weight without begins at zero."""
        for weight in self._alone:
            if weight in moments:
                self.state[weight] = {
                    name: value.clone() for name, value in moments[weight].items()
                }
        for flat in self._flats:
            known = next((moments[m] for m, _ in flat.members if m in moments), None)
            if known is None:
                continue
            state = {
                name: value.clone() if value.ndim == 0 else value.new_zeros(flat.n_entries)
                for name, value in known.items()
            }
            for member, start in flat.members:
                for name, value in moments.get(member, {}).items():
                    if value.ndim > 0:
                        _part(state[name], member, start).copy_(value)
            self.state[flat.whole] = state

    def __getstate__(self):
        return {**super().__getstate__(), "_flats": self._flats, "_alone": self._alone}


class Flat:
    """Weights that an optimiser sees as one.

    Parameters
    ----------
    members : list of Parameter
        The weights.
    """

    def __init__(self, members: list[nn.Parameter]):
        # Each beside the place where it begins.
        self.members: list[tuple[nn.Parameter, int]] = []
        self.n_entries = 0
        for member in members:
            self.members.append((member, self.n_entries))
            self.n_entries += -(-member.numel() // ALIGNED_ENTRIES) * ALIGNED_ENTRIES
        self.whole = nn.Parameter(members[0].new_empty(0))
        self.gradient = self.whole.new_empty(0)
        self.gradients: list[Tensor] = []

    def ready_gradients(self) -> None:
        """Join weights and gradients where they are not yet."""
        if not self.gradients:
            self._join()
        for (member, _), gradient in zip(self.members, self.gradients, strict=True):
            if member.grad is not gradient:
                member.grad = gradient
        self.whole.grad = self.gradient

    def collect_gradients(self) -> None:
        """Copy gradients that others have put in place of ours; a weight without has zeros."""
        for (member, _), gradient in zip(self.members, self.gradients, strict=True):
            if member.grad is None:
                gradient.zero_()
            elif member.grad is not gradient:
                gradient.copy_(member.grad)

    def _join(self) -> None:
        with torch.no_grad():
            self.whole.data = self.members[0][0].new_zeros(self.n_entries)
            for member, start in self.members:
                member.data = _part(self.whole.data, member, start).copy_(member)
        self.gradient = torch.zeros_like(self.whole)
        self.gradients = [_part(self.gradient, *place) for place in self.members]

    def release(self) -> None:
        """Part the weights; their gradients are dropped."""
        for member, _ in self.members:
            member.data = member.detach().clone()
            member.grad = None
        self.whole.data = self.whole.new_empty(0)
        self.whole.grad = None
        self.gradient = self.whole.new_empty(0)
        self.gradients = []


def _can_join(member: Tensor) -> bool:
    is_dense = member.is_contiguous() or (
        member.ndim == 4 and member.is_contiguous(memory_format=torch.channels_last)
    )
    return is_dense and member.numel() <= SMALL_ENTRIES


def _part(whole: Tensor, member: Tensor, start: int) -> Tensor:
    return whole.as_strided(member.shape, member.stride(), start)
