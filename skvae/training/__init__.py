"""The skorch net that is trained: batches, criterion, schedules, optimiser, callbacks.

`net` is it, made by `building`, fed by `batches` and weighed by `criterion`; `events` tells
callbacks of it, `records` keeps its history, `certificates` certifies on the way, `monitored`
does so in trainings of others, `tasks` are for callbacks of scikit-learn. `schedules` moves
the KL weight and the learning rate, `guard` holds the KL weight back, `aggressive` takes the
encoder ahead, `stopping` ends training early, `optimizer` is AdamW on flat memory,
`own_optimizer` is of a user's, `prefit` comes before, `stacked` trains many at a time,
`checkpoints` keeps the state of a training for who has to go on with it, `saved_net` takes a
net apart and makes it again, `epochs` does so with its history, `progress` tells of it,
`averages` has the average of the weights that is kept, `distributed` shares all of it among
processes, the `ranks`, which `launched` finds out and lets meet, `devices` and `denormals`
are of the machine. `steps` has the step that is written by hand.
"""

from skvae.training.aggressive import is_aggressive
from skvae.training.certificates import CertificateCallback
from skvae.training.distributed import over_ranks, rows_of_all_ranks
from skvae.training.guard import next_fraction
from skvae.training.monitored import MonitorCallback, lightning_callback
from skvae.training.net import VAENet
from skvae.training.schedules import KLSchedule, LRSchedule

__all__ = [
    "CertificateCallback",
    "KLSchedule",
    "LRSchedule",
    "MonitorCallback",
    "VAENet",
    "is_aggressive",
    "lightning_callback",
    "next_fraction",
    "over_ranks",
    "rows_of_all_ranks",
]
