"""Fixed teachers, distributions T(k|x) that a code is measured against; fits, cache, search."""

from skvae.teachers.mixture import GaussianMixtureTeacher
from skvae.teachers.precomputed import PrecomputedTeacher
from skvae.teachers.search import TeacherSearch
from skvae.teachers.tempered import TemperedTeacher

__all__ = [
    "GaussianMixtureTeacher",
    "PrecomputedTeacher",
    "TeacherSearch",
    "TemperedTeacher",
]
