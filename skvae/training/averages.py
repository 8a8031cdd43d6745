"""The moving average of the weights, which is what is judged and kept."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["MovingAverage"]

# Steps from one update to the next: the average moves slowly, and each costs what some
# products of a small net do.
EVERY = 5


class MovingAverage:
    """Exponential moving average of the weights of a module, step by step.

    After the update number `n`, ``average += (1 - d) * (weights - average)`` with
    ``d = min(decay**5, (1 + n) / (10 + n))``, five steps an update: early on it forgets faster,
    where the weights have far to go. The module holds its own weights while it is trained, and
    the average while it is judged or read.

    Parameters
    ----------
    module : nn.Module
        Whose weights, those that are trained, are averaged.
    decay : float
        What a step leaves of the average, in (0, 1).

    References
    ----------
    Polyak and Juditsky, Acceleration of stochastic approximation by averaging, SIAM Journal
    on Control and Optimization 30, 1992; Kingma and Ba, arXiv 1412.6980, section 7.2.

    Examples
    --------
    >>> import torch
    >>> from skvae.training.averages import MovingAverage
    >>> layer = torch.nn.Linear(1, 1, bias=False)
    >>> _ = layer.weight.data.zero_()
    >>> average = MovingAverage(layer, decay=0.9)
    >>> for _ in range(5):
    ...     _ = layer.weight.data.add_(1.0)
    ...     average.update()
    >>> average.show()
    >>> round(layer.weight.item(), 4)
    4.0909
    >>> average.hide()
    >>> layer.weight.item()
    5.0
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.n_steps = 0
        self.is_shown = False
        self._weights = {
            name: weight for name, weight in module.named_parameters() if weight.requires_grad
        }
        self._others = [weight.detach().clone() for weight in self._weights.values()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after a step into account."""
        self.n_steps += 1
        if self.n_steps % EVERY:
            return
        n_updates = self.n_steps // EVERY
        kept = min(self.decay**EVERY, (1 + n_updates) / (10 + n_updates))
        torch._foreach_lerp_(self._others, list(self._weights.values()), 1 - kept)

    def show(self) -> None:
        """Put the average into the module, and keep the weights that are trained."""
        if not self.is_shown:
            self._exchange()

    def hide(self) -> None:
        """Put the weights that are trained back into the module."""
        if self.is_shown:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for weight, other in zip(self._weights.values(), self._others, strict=True):
            shown = weight.clone()
            weight.copy_(other)
            other.copy_(shown)
        self.is_shown = not self.is_shown

    def trained(self) -> dict[str, Tensor]:
        """Return the weights that are trained, by name, while the average is shown."""
        return dict(zip(self._weights, self._others, strict=True))

    def resume_from(self, n_steps: int, trained: Mapping[str, Tensor]) -> None:
        """Go on with an average that the module holds, and with the weights behind it."""
        self.n_steps, self.is_shown = n_steps, True
        for name, other in self.trained().items():
            other.copy_(trained[name])
