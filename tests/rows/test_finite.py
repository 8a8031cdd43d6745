"""A table is told to be finite in one quick pass, and refused with scikit-learn's words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import config_context
from sklearn.utils import assert_all_finite

from skvae import TeacherGuidedVAE
from skvae.rows.finite import require_finite


def refused(check):
    try:
        check()
    except ValueError as error:
        return str(error)
    return None


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    st.booleans(),
)
def test_agrees_with_scikit_learn(rows, transposed):
    rows = rows.T if transposed else rows
    expected = refused(
        lambda: assert_all_finite(rows, estimator_name="TeacherGuidedVAE", input_name="X")
    )
    found = refused(lambda: require_finite(rows, "TeacherGuidedVAE"))
    if expected is None or "contains NaN" not in expected:
        assert found == expected
    else:
        assert found.startswith(expected)
        assert 'missing="mask"' in found
    allowed = refused(
        lambda: assert_all_finite(
            rows, allow_nan=True, estimator_name="TeacherGuidedVAE", input_name="X"
        )
    )
    assert refused(lambda: require_finite(rows, "TeacherGuidedVAE", allow_nan=True)) == allowed


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_large_numbers_are_finite_though_their_squares_are_not(value):
    require_finite(np.full((4, 3), value, dtype=np.float32), "TeacherGuidedVAE")


def test_looks_at_the_rows_themselves_before_it_refuses_what_was_made_of_them():
    require_finite(np.ones((2, 2)), "TeacherGuidedVAE", derived=np.full((2, 2), np.inf))
    with pytest.raises(ValueError, match="contains NaN"):
        require_finite(np.full((1, 1), np.nan), "name", derived=np.full((1, 1), np.nan))


def test_does_not_look_where_scikit_learn_was_told_not_to():
    with config_context(assume_finite=True):
        require_finite(np.full((2, 2), np.nan), "TeacherGuidedVAE")


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(1300, 5))


@pytest.fixture(scope="module")
def fitted(rows):
    return TeacherGuidedVAE(latent_dim=2, max_epochs=1, random_state=0).fit(rows)


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("bad", "words"), [(np.nan, "contains NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize(
    "method",
    [
        "transform",
        "posterior",
        "posterior_kl",
        "score_samples",
        "score",
        "witness_log_proba",
        "read_codes",
        "teacher_proba",
    ],
)
def test_every_read_refuses_a_bad_row_in_the_last_chunk(
    fitted, rows, method, bad, words, dtype
):
    spoilt = rows.astype(dtype)
    spoilt[-1, 2] = bad
    with pytest.raises(ValueError, match=words):
        getattr(fitted, method)(spoilt)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_a_number_too_large_for_float32_is_read_as_far_away(fitted, rows):
    far = rows.copy()
    far[7, 1] = 1e300
    codes = fitted.transform(far)
    assert np.isfinite(codes).all()
    np.testing.assert_array_equal(codes[8:], fitted.transform(rows)[8:])
