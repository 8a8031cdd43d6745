"""The estimator: its parameters, the course of a fit, reading a fitted model, rescue.

`estimator` has parameters and methods, `settings` what contradicts what, `training_settings`
keeps optimiser, schedule and callbacks in order, `given` what is checked of the rows,
`encoding` makes numbers of columns of several kinds, `course` is the order of a fit, `fitted`
the record of what it found, `outcome` what training made of a net, `inference` reads a trained
net in blocks, `decoding` at other codes, `imputation` fills what is missing of rows, `tensors`
keeps tensors what they are, `modules` hands out torch modules and `export` writes them to
files, `files` saves and loads the whole, `warm_start` takes weights over, `rescues` goes from
collapsed to rescued, `advice` warns, `budget` says how long to train, `held_out` draws the rows
to stop by, `new_rows` is what was found of these, `designs` designs a margin, `checkpoints`
tells which fit a checkpoint is of, `ranks` what processes that share a fit have to agree on,
`stored` checks rows of a store as they are read.
"""

from skvae.vae.estimator import TeacherGuidedVAE
from skvae.vae.rescues import Rescue, rescue

__all__ = [
    "Rescue",
    "TeacherGuidedVAE",
    "rescue",
]
