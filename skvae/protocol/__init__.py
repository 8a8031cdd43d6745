"""Experiments: arms by seeds by teachers, resumable; baselines; results as tables.

`experiment` runs them, `arms` and `baselines` are what is run, `splits` the rows and labels,
`teacher_panel` the teachers that each seed meets, `runs` is one of them trained and measured,
`results_folder` what is on disk, `promises` what a pattern of results must show, `tables` how
they are written, `notes` what an error was about.
"""

from skvae.protocol.arms import (
    ARMS,
    SETTING,
    TEACHER_GUIDED,
    collapse_prone_variance,
    informative_variance,
)
from skvae.protocol.baselines import BASELINES
from skvae.protocol.experiment import run, versions
from skvae.protocol.promises import broken_promises
from skvae.protocol.tables import csv_table, markdown_table, measures_of

__all__ = [
    "ARMS",
    "BASELINES",
    "SETTING",
    "TEACHER_GUIDED",
    "broken_promises",
    "collapse_prone_variance",
    "csv_table",
    "informative_variance",
    "markdown_table",
    "measures_of",
    "run",
    "versions",
]
