"""The estimator: its parameters, the course of a fit, reading a fitted model, rescue."""

from skvae.vae.estimator import TeacherGuidedVAE
from skvae.vae.rescues import Rescue, rescue

__all__ = [
    "Rescue",
    "TeacherGuidedVAE",
    "rescue",
]
