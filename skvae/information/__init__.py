"""Information in nats, in NumPy: the boundary of a sample, and what it says of a population.

`boundary` is of a sample, `statistics` the same of rows in batches; `betting` has the bets and
the floor of Frank and Wolfe under what they return at the least, `bound` and `sequential` make
lower bounds and evidence of it, and `sample_size` says how many rows a bound takes; `aggregate`
is mutual information, `simplex` the geometry of the simplex witness and `design` the margin
that it is designed for.
"""

from skvae.information import simplex
from skvae.information.aggregate import mutual_information
from skvae.information.bound import MarginBound, margin_lower_bound
from skvae.information.boundary import (
    alignment_cost,
    best_constant_student,
    margin,
    teacher_information,
)
from skvae.information.design import Design, design_alpha
from skvae.information.sample_size import rows_needed
from skvae.information.sequential import SequentialMargin
from skvae.information.statistics import BoundaryStatistics

__all__ = [
    "BoundaryStatistics",
    "Design",
    "MarginBound",
    "SequentialMargin",
    "alignment_cost",
    "best_constant_student",
    "design_alpha",
    "margin",
    "margin_lower_bound",
    "mutual_information",
    "rows_needed",
    "simplex",
    "teacher_information",
]
