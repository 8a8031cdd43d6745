"""The boundary against exact values, its properties, and its errors."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skvae.exceptions import ConstantTeacherError
from skvae.information import alignment_cost, best_constant_student, margin, teacher_information
from skvae.information.boundary import check_informative

CASES = json.loads((Path(__file__).parents[1] / "data" / "boundary_cases.json").read_text())[
    "cases"
]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_agrees_with_values_of_thirty_digits(case):
    T, log_q = np.array(case["teacher"]), np.array(case["log_witness"])
    found = {
        "teacher_information": teacher_information(T),
        "alignment_cost": alignment_cost(T, log_q),
        "margin": margin(T, log_q),
    }
    for name, value in found.items():
        assert abs(Decimal(value) - Decimal(case[name])) <= Decimal("1e-12"), name


def test_information_of_one_hot_rows_is_the_entropy_of_their_average():
    T = np.eye(4)[[0, 0, 1, 2, 3, 3, 3, 3]]
    share = np.array([2, 1, 1, 4]) / 8
    assert teacher_information(T) == pytest.approx(-(share * np.log(share)).sum(), abs=1e-15)


@st.composite
def teachers(draw):
    shape = (draw(st.integers(1, 8)), draw(st.integers(1, 5)))
    weights = draw(arrays(np.float64, shape, elements=st.floats(0, 1)))
    weights[:, 0] += (weights.sum(axis=1) < 1e-3) * 1.0
    return weights / weights.sum(axis=1, keepdims=True)


@st.composite
def teachers_and_constants(draw):
    T = draw(teachers())
    logits = draw(arrays(np.float64, T.shape[1], elements=st.floats(-20, 20)))
    log_c = logits - np.logaddexp.reduce(logits)
    return T, np.tile(log_c, (len(T), 1))


@given(teachers_and_constants())
def test_constant_student_costs_information_plus_divergence_from_the_average(pair):
    T, log_c = pair
    average = best_constant_student(T)
    divergence = np.sum(average * (np.log(np.where(average > 0, average, 1)) - log_c[0]))
    assert alignment_cost(T, log_c) == pytest.approx(
        teacher_information(T) + divergence, abs=1e-12
    )


@given(teachers_and_constants())
def test_no_constant_witness_has_a_positive_margin(pair):
    T, log_c = pair
    assert margin(T, log_c) <= 1e-12


@given(teachers())
def test_information_lies_between_zero_and_log_k(T):
    assert 0 <= teacher_information(T) <= np.log(T.shape[1]) + 1e-12


@given(teachers())
def test_margin_of_the_teacher_itself_is_its_information(T):
    floored = 0.9 * T + 0.1 / T.shape[1]
    assert margin(floored, np.log(floored)) == pytest.approx(
        teacher_information(floored), abs=1e-12
    )


@given(teachers(), st.randoms(use_true_random=False))
def test_order_of_rows_and_names_of_components_do_not_matter(T, random):
    rows = random.sample(range(len(T)), len(T))
    components = random.sample(range(T.shape[1]), T.shape[1])
    log_q = np.log(0.5 * T[::-1] + 0.5 / T.shape[1])
    shuffled = np.ix_(rows, components)
    assert margin(T[shuffled], log_q[shuffled]) == pytest.approx(margin(T, log_q), abs=1e-12)


@given(teachers(), st.integers(2, 4))
def test_duplicates_of_all_rows_do_not_matter(T, times):
    log_q = np.log(0.5 * T[::-1] + 0.5 / T.shape[1])
    repeated = margin(np.tile(T, (times, 1)), np.tile(log_q, (times, 1)))
    assert repeated == pytest.approx(margin(T, log_q), abs=1e-12)


def test_rounding_of_float32_probabilities_is_no_information():
    log_q = np.log(np.full((50, 7), 1 / 7)).astype(np.float32)
    T = np.random.default_rng(0).dirichlet(np.ones(7), size=50)
    assert margin(T, log_q) == pytest.approx(
        margin(T, np.log(np.full((50, 7), 1 / 7))), abs=1e-15
    )


GOOD = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]])


def spoiled(row, values):
    T = GOOD.copy()
    T[row] = values
    return T


@pytest.mark.parametrize(
    ("T", "message"),
    [
        (GOOD[0], r"shape \(n_samples, n_components\), got shape \(2,\)"),
        (GOOD[None], r"got shape \(1, 3, 2\)"),
        (GOOD[:0], r"non-empty"),
        (spoiled(1, [0.5, 0.6]), r"Row 1 of T: entries must sum to one, got \[0.5 0.6\]"),
        (spoiled(2, [-0.1, 1.1]), r"Row 2 of T: entries must not be negative"),
        (spoiled(0, [np.nan, 1.0]), r"Row 0 of T: entries must be finite.*1 of 3 rows"),
        (spoiled(1, [np.inf, 0.0]), r"Row 1 of T: entries must be finite"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        teacher_information,
        best_constant_student,
        lambda T: alignment_cost(T, np.log(np.full((3, 2), 0.5))),
        lambda T: margin(T, np.log(np.full((3, 2), 0.5))),
    ],
)
def test_teacher_that_is_no_distribution_is_refused_by_its_row(function, T, message):
    with pytest.raises(ValueError, match=message):
        function(T)


@pytest.mark.parametrize(
    ("log_q", "message"),
    [
        (np.log(GOOD[:2]), r"same shape, got \(3, 2\) and \(2, 2\)"),
        (np.log(np.full((3, 3), 1 / 3)), r"same shape"),
        (np.log(np.full((3, 2), 0.6)), r"Row 0 of log_q: probabilities exp\(log_q\) must sum"),
        (
            np.log([[0.5, 0.5], [0.5, 0.5], [np.nan, 1]]),
            r"Row 2 of log_q: entries must be finite",
        ),
        (np.array([[0.0, -np.inf]] + 2 * [[np.log(0.5)] * 2]), r"Row 0 of log_q.*floor"),
    ],
)
@pytest.mark.parametrize("function", [alignment_cost, margin])
def test_student_that_is_no_distribution_is_refused_by_its_row(function, log_q, message):
    with pytest.raises(ValueError, match=message):
        function(GOOD, log_q)


def test_constant_teacher_is_refused_with_the_reason():
    with pytest.raises(ConstantTeacherError, match=r"constant over these 4 rows.*I_T = 0"):
        check_informative(np.full((4, 2), 0.5))
    with pytest.raises(ConstantTeacherError, match="K = 1"):
        check_informative(np.ones((4, 1)))
    assert check_informative(GOOD) == teacher_information(GOOD)
