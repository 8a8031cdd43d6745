"""The guard: how much of the KL weight is in force, given the margin that was seen."""

from skorch.callbacks import Callback

__all__ = ["HAND_BACK", "HOLD_BACK", "Guard", "next_fraction"]

# Below the target the share of beta in force is multiplied by this after an epoch ...
HOLD_BACK = 0.5
# ... at or above it, this is added.
HAND_BACK = 0.05


def next_fraction(fraction: float, margin: float, target: float) -> float:
    """Share of the KL weight in the next epoch.

    Parameters
    ----------
    fraction : float
        Share of beta in force in the epoch just run, in [0, 1].
    margin : float
        Margin seen in that epoch, in nats.
    target : float
        Margin that is guarded, in nats.

    Returns
    -------
    fraction : float
        Half of it if the margin is below the target, else 0.05 more, at most 1.

    References
    ----------
    skvae's own rule; docs/guard.rst proves what it guarantees and says what it does not.
    Additive increase and multiplicative decrease as in Chiu and Jain, Computer Networks
    and ISDN Systems 17(1), 1989.

    Examples
    --------
    >>> from skvae.training import next_fraction
    >>> next_fraction(0.8, margin=0.2, target=0.5)
    0.4
    >>> next_fraction(0.5, margin=0.7, target=0.5)
    0.55
    """
    if margin < target:
        return HOLD_BACK * fraction
    return min(1.0, fraction + HAND_BACK)


class Guard(Callback):
    """Hold the weight of the divergence back while the margin is below a target.

    Parameters
    ----------
    target : float
        Margin in nats at the read that the witness is trained on: of the held-out rows
        where there are any, else of the training rows as the epoch went. Rows on which the
        teacher information is not above it, such as a small batch of a stream, say
        nothing: the weight then stays as it is.
    """

    def __init__(self, target):
        self.target = target

    def on_train_begin(self, net, **kwargs):
        """Begin with nothing, or go on from the last epoch of the history."""
        net.criterion_.kl_fraction = self._next(net) if net.history else 0.0

    def on_epoch_end(self, net, **kwargs):
        """Apply the rule of `next_fraction`."""
        net.criterion_.kl_fraction = self._next(net)

    def _next(self, net) -> float:
        last = net.history[-1]
        fraction = min(1.0, last["beta"] / net.criterion_.beta)
        prefix = "valid_" if "valid_margin" in last else ""
        margin = last[prefix + "margin"]
        information = margin + last[prefix + "alignment"]
        if information <= self.target:
            return fraction
        return next_fraction(fraction, margin, self.target)
