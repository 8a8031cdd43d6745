"""Sparse rows answer as an array of rows does, and index to dense ones."""

import numpy as np
import pytest
from scipy import sparse

from skvae.rows import RowFingerprint, SparseRows, as_rows
from skvae.rows.counts import CountUnits, log_counts
from skvae.rows.scaling import Standardization, steps_of
from skvae.rows.sparse import as_taken_by, held_sparse, matrix_of, taken


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    values = np.where(rng.random((300, 7)) < 0.3, rng.poisson(4, (300, 7)), 0).astype(float)
    values[:, 3] += 1
    return values


@pytest.fixture
def rows(table):
    return SparseRows(sparse.csr_array(table))


def test_an_index_makes_dense_rows_and_taken_sparse_ones(table, rows):
    some = np.array([5, 2, 2])
    for which in (slice(3, 9), some, table[:, 0] > 0):
        np.testing.assert_array_equal(rows[which], table[which])
        np.testing.assert_array_equal(taken(rows, which)[:], table[which])
        np.testing.assert_array_equal(taken(table, which), table[which])
    assert (len(rows), rows.shape, rows.size, rows.ndim) == (300, (300, 7), 2100, 2)
    assert (rows.min(), rows.max()) == (table.min(), table.max())
    np.testing.assert_array_equal(rows.column(3), table[:, 3])
    np.testing.assert_array_equal(rows.without_column(3)[:], np.delete(table, 3, axis=1))


@pytest.mark.parametrize("form", ["bsr", "coo", "csc", "csr", "dok", "lil"])
def test_a_matrix_of_any_form_will_do(table, form):
    given = sparse.csr_array(table).asformat(form)
    np.testing.assert_array_equal(SparseRows(given)[:], table)
    assert SparseRows(rows := sparse.csr_matrix(table)).matrix is rows


def test_units_steps_and_fingerprints_are_those_of_dense_rows(table, rows):
    chosen, weights = np.arange(0, 300, 2), np.linspace(0.5, 1.5, 150)
    for options in ((), (chosen,), (chosen, weights)):
        found, expected = (Standardization.of(each, *options) for each in (rows, table))
        np.testing.assert_allclose(found.center, expected.center, rtol=1e-12)
        np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-12)
        np.testing.assert_array_equal(found.constant, expected.constant)
    np.testing.assert_array_equal(expected.apply(rows), expected.apply(table))
    np.testing.assert_array_equal(steps_of(rows), steps_of(table))
    assert RowFingerprint.of(rows).share_of(table) == 1.0
    absent = RowFingerprint.of(table, chosen).absent(table)
    np.testing.assert_array_equal(RowFingerprint.of(rows, chosen).absent(rows), absent)


@pytest.mark.parametrize("size", ["total", 3, None])
def test_counts_are_measured_as_dense_ones_are(table, rows, size):
    found, expected = CountUnits.of(rows, size), CountUnits.of(table, size)
    assert found.typical_size == expected.typical_size
    np.testing.assert_allclose(found.log_rates, expected.log_rates)
    if size is not None:
        logs = log_counts(rows, size, found.typical_size)
        assert logs.matrix.nnz == rows.matrix.nnz
        np.testing.assert_allclose(logs[:], log_counts(table, size, found.typical_size))


def test_float32_moments_are_taken_in_float64(table):
    exact = Standardization.of(table + 1e4 * (table > 0))
    single = (table + 1e4 * (table > 0)).astype(np.float32)
    found = Standardization.of(SparseRows(sparse.csr_array(single)))
    np.testing.assert_allclose(found.center, exact.center, rtol=1e-12)
    np.testing.assert_allclose(found.scale, exact.scale, rtol=1e-12)


def test_who_takes_what(rows):
    class Taker:
        _takes_sparse_rows = True

    matrix = rows.matrix
    assert matrix_of(rows) is matrix
    assert as_taken_by(object(), rows) is matrix
    assert as_taken_by(object(), matrix) is matrix
    assert isinstance(as_taken_by(Taker(), matrix), SparseRows)
    assert held_sparse(np.eye(3)) is None
    assert held_sparse(rows) is matrix
    assert as_rows(rows) is matrix
    assert as_rows(sparse.coo_array(matrix)).format == "csr"
