"""Loss terms in nats, as pure functions: of each row, and of a whole batch."""

from skvae.objective.batch_terms import (
    capacity_gap,
    floored_rate,
    is_aligned,
    mmd,
    total_correlation,
)
from skvae.objective.reconstructions import (
    bernoulli_reconstruction,
    categorical_reconstruction,
    continuous_bernoulli_reconstruction,
    gaussian_reconstruction,
    laplace_reconstruction,
    negative_binomial_reconstruction,
    poisson_reconstruction,
    student_t_reconstruction,
)
from skvae.objective.row_terms import alignment, importance_bound, kl, kl_per_dimension

__all__ = [
    "alignment",
    "bernoulli_reconstruction",
    "capacity_gap",
    "categorical_reconstruction",
    "continuous_bernoulli_reconstruction",
    "floored_rate",
    "gaussian_reconstruction",
    "importance_bound",
    "is_aligned",
    "kl",
    "kl_per_dimension",
    "laplace_reconstruction",
    "mmd",
    "negative_binomial_reconstruction",
    "poisson_reconstruction",
    "student_t_reconstruction",
    "total_correlation",
]
