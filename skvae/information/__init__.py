"""Information in nats, in NumPy: the boundary of a sample, and what it says of a population."""

from skvae.information.boundary import (
    alignment_cost,
    best_constant_student,
    margin,
    teacher_information,
)

__all__ = ["alignment_cost", "best_constant_student", "margin", "teacher_information"]
