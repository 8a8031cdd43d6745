"""The skorch net that is trained: batches, criterion, schedules, optimiser, callbacks."""

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
