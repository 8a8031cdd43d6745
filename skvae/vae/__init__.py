"""The estimator: its parameters, the course of a fit, reading a fitted model, rescue.

`estimator` has parameters and methods, `settings` what contradicts what, `course` the order of
a fit, `fitted` the record of what it found, `inference` reads a trained net in blocks,
`files` saves and loads it, `warm_start` takes weights over, `rescues` goes from collapsed to
rescued, `advice` warns.
"""

from skvae.vae.estimator import TeacherGuidedVAE
from skvae.vae.rescues import Rescue, rescue

__all__ = [
    "Rescue",
    "TeacherGuidedVAE",
    "rescue",
]
