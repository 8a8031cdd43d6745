"""Fixed teachers, distributions T(k|x) that a code is measured against; fits, cache, search.

`mixture` is the default, `tempered` softens any other, `precomputed` is given with the rows;
`fits` fits a teacher, keeps it in a cache and asks it; `missing` fills rows for those that bear
no NaN; `search` tries `candidates`, takes their `measures` and makes a `choice`.
"""

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
