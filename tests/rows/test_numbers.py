"""Whatever holds numbers is taken, and what holds none is refused, by every function alike."""

import datetime
from collections import deque

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from skvae import GaussianMixtureTeacher, TeacherSearch
from skvae.information import (
    BoundaryStatistics,
    SequentialMargin,
    alignment_cost,
    best_constant_student,
    margin,
    margin_lower_bound,
    teacher_information,
)
from skvae.rows import as_rows
from skvae.rows.numbers import as_array
from skvae.rows.tables import as_table

T = np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]])


class Holder:
    """What has an array, and is none."""

    def __array__(self, dtype=None, copy=None):
        return np.asarray(T, dtype=dtype)


HOLDERS = {
    "list": T.tolist(),
    "deque": deque(T.tolist()),
    "__array__": Holder(),
    "float16": T.astype(np.float16),
    "object": T.astype(object),
    "frame": pd.DataFrame(T),
    "nullable": pd.DataFrame(T).convert_dtypes(),
    "csr": sparse.csr_array(T),
    "tensor": torch.as_tensor(T),
    "tensor with gradients": torch.as_tensor(T).requires_grad_(),
    "bf16": torch.as_tensor(T, dtype=torch.bfloat16),
    "sparse tensor": torch.as_tensor(T).to_sparse(),
}
FUNCTIONS = {
    "teacher_information": teacher_information,
    "best_constant_student": best_constant_student,
    "alignment_cost": lambda values: alignment_cost(values, np.log(T)),
    "margin": lambda values: margin(values, np.log(T)),
    "margin_lower_bound": lambda values: (
        margin_lower_bound(values, np.log(T), [0.5, 0.5]).lower_bound
    ),
    "BoundaryStatistics": lambda values: BoundaryStatistics().update(values, np.log(T)).margin,
    "SequentialMargin": lambda values: (
        SequentialMargin([0.5, 0.5]).update(values, np.log(T)).log_e_value
    ),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_every_function_of_arrays_has_the_same_answer_for_the_same_numbers(function, holder):
    np.testing.assert_array_equal(function(holder), function(T))


REFUSED = {
    "masked": (np.ma.masked_array(T, mask=T > 0.6), "masked array"),
    "complex": (T + 0j, "complex numbers"),
    "complex tensor": (torch.as_tensor(T + 0j), "complex numbers"),
    "datetime64": (np.full(T.shape, "2020-01-01", dtype="datetime64[D]"), "times"),
    "timedelta64": (np.ones(T.shape, dtype="timedelta64[s]"), "spans of time"),
    "column of times": (
        pd.DataFrame({"when": pd.to_datetime(["2020-01-01"] * 3), "x": [1.0, 2.0, 3.0]}),
        "Column 'when' of .* holds times",
    ),
    "text": (np.array([["a", "b"]] * 3), "numbers|string|numeric|text"),
    "dates": (np.full(T.shape, datetime.date(2020, 1, 1)), "number"),
    "ragged": ([[0.5, 0.5], [1.0]], "regular shape|inhomogeneous"),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED)
def test_what_holds_no_numbers_is_refused_by_every_function_of_arrays(
    function, values, message
):
    with pytest.raises(ValueError, match=message):
        function(values)


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED)
def test_what_holds_no_numbers_is_refused_by_every_estimator(
    small_vae, fitted, values, message
):
    calls = (
        small_vae().fit,
        small_vae().partial_fit,
        fitted.transform,
        fitted.score_samples,
        fitted.inverse_transform,
        GaussianMixtureTeacher(n_components=2).fit,
        TeacherSearch().fit,
        as_table,
    )
    for call in calls:
        with pytest.raises((ValueError, TypeError), match=message):
            call(values)


def test_arrays_are_viewed_and_not_copied(tmp_path):
    np.save(tmp_path / "T.npy", T)
    mapped = np.load(tmp_path / "T.npy", mmap_mode="r")
    for values in (T, mapped):
        assert np.shares_memory(as_array(values, "T"), values)
        assert np.shares_memory(as_table(values), values)
        assert as_rows(values) is values
