"""The skorch net that is trained: batches, criterion, schedules, optimiser, callbacks.

`net` is it, fed by `batches` and weighed by `criterion`; `schedules` warms the KL weight up,
`guard` holds it back, `aggressive` takes the encoder ahead, `stopping` ends training early,
`optimizer` is AdamW on flat memory, `prefit` comes before, `stacked` trains many at a time,
`saved_net` takes a net apart and makes it again, `epochs` does so with its history; `devices`
and `denormals` are of the machine. `steps` has the step that is written by hand.
"""

from skvae.training.aggressive import is_aggressive
from skvae.training.guard import next_fraction
from skvae.training.net import VAENet
from skvae.training.schedules import KLSchedule

__all__ = [
    "KLSchedule",
    "VAENet",
    "is_aggressive",
    "next_fraction",
]
