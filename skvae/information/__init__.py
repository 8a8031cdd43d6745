"""Information in nats, in NumPy: the boundary of a sample, and what it says of a population."""

from skvae.information import simplex
from skvae.information.aggregate import mutual_information
from skvae.information.bound import MarginBound, margin_lower_bound
from skvae.information.boundary import (
    alignment_cost,
    best_constant_student,
    margin,
    teacher_information,
)
from skvae.information.sequential import SequentialMargin
from skvae.information.statistics import BoundaryStatistics

__all__ = [
    "BoundaryStatistics",
    "MarginBound",
    "SequentialMargin",
    "alignment_cost",
    "best_constant_student",
    "margin",
    "margin_lower_bound",
    "mutual_information",
    "simplex",
    "teacher_information",
]
