"""Rows of Dask, Zarr and HDF5 arrays and of Parquet files, read by blocks."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.model_selection import KFold

from skvae import ConstantCollapseCertificate
from skvae.model_selection import StackedGridSearchCV
from skvae.rows import as_rows, sources, stores

dask = pytest.importorskip("dask.array")
zarr = pytest.importorskip("zarr")
pa = pytest.importorskip("pyarrow")
dataset = pytest.importorskip("pyarrow.dataset")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def rows(clusters):
    # In an order of their own: no block is a cluster.
    return np.random.default_rng(0).permutation(clusters).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def _small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "BLOCK_BYTES", 256)
        patch.setattr("skvae.vae.inference.CHUNK_ROWS", 32)
        patch.setattr("skvae.vae.inference.BLOCK_ENTRIES", 300)
        patch.setattr("skvae.certificate.subjects.BLOCK_ROWS", 50)
        yield


@pytest.fixture(params=["dask", "zarr", "parquet", "lists", "unchunked"])
def store(request, rows, tmp_path):
    """Return the rows as a store, whose chunks are no blocks of the estimator's."""
    if request.param == "dask":
        return dask.from_array(rows, chunks=((31, 2, 2, 45, 100), (3, 1)))
    if request.param == "zarr":
        made = zarr.open_array(
            tmp_path / "rows", mode="w", shape=rows.shape, chunks=(7, 3), dtype=rows.dtype
        )
        made[:] = rows
        return made
    if request.param == "unchunked":
        return Unchunked(rows)
    if request.param == "parquet":
        table = pa.table(dict(zip("abcd", rows.T, strict=True)))
    else:
        table = pa.table({"row": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 4)})
    for number, part in enumerate((table[:50], table[50:])):
        parquet.write_table(part, tmp_path / f"{number}.parquet", row_group_size=21)
    return dataset.dataset(tmp_path)


class Unchunked:
    """As a data set of h5py that is written in one piece."""

    chunks = None

    def __init__(self, rows):
        self._rows = rows
        self.shape, self.dtype = rows.shape, rows.dtype

    def __getitem__(self, rows):
        assert rows.stop - rows.start <= 16
        return self._rows[rows]


def test_rows_are_those_of_the_store_in_its_order(store, rows):
    found = as_rows(store)
    np.testing.assert_array_equal(found, rows)
    assert found.dtype == np.float32
    stored = stores.stored_rows(store)
    assert stored.shape == rows.shape
    assert len(list(stored.read())) >= 4
    assert [len(block) for block in stored.blocks(50)] == [50, 50, 50, 30]
    np.testing.assert_array_equal(np.concatenate(list(stored.blocks(50))), rows)


STOPPED = {"early_stopping": True, "validation_fraction": 0.3, "max_epochs": 40}
CERTIFICATE = ConstantCollapseCertificate(probe=True)
WEIGHTS = np.arange(180) % 3


def readings(model, X):
    """All that reads rows of any number, in one pass or in several."""
    several = ConstantCollapseCertificate(teacher=[model.teacher_, model.teacher_])
    alone = ConstantCollapseCertificate()
    return {
        "codes": model.transform(X).tolist(),
        "scores": model.score_samples(X).tolist(),
        "posterior": [each.tolist() for each in model.posterior(X)],
        "draws": model.witness_log_proba(X, latent="sample").tolist(),
        "teacher": model.teacher_proba(X).tolist(),
        "certificate": CERTIFICATE.certify(model, X),
        "other view": alone.certify(model, X, X_teacher=X),
        "weighted": alone.certify(model, X, sample_weight=WEIGHTS),
        "several teachers": several.certify(model, X),
    }


@pytest.fixture(scope="module")
def of_array(rows, small_vae, _small_blocks):
    model = small_vae(**STOPPED).fit(rows)
    return model, readings(model, rows)


def test_a_fit_a_reading_and_a_certificate_are_to_the_bit_those_of_the_array(
    store, small_vae, of_array, monkeypatch
):
    model, expected = of_array
    # Beyond so many bytes the rows of a fit lie in a file.
    monkeypatch.setattr(sources, "MAX_BYTES", 1000)
    assert readings(model, store) == expected
    refitted = small_vae(**STOPPED).fit(store)
    np.testing.assert_array_equal(refitted.transform(store), expected["codes"])
    assert refitted.margin_ == model.margin_


def test_what_is_read_once_is_held_nowhere(store, rows, fitted, monkeypatch):
    """Neither a table of all rows, nor a file of them."""

    def refused(*args):
        raise AssertionError("read into one table")

    monkeypatch.setattr("skvae.rows.sources._joined", refused)
    fitted.transform(store)
    ConstantCollapseCertificate().certify(fitted, store)
    with pytest.raises(AssertionError, match="one table"):
        fitted.teacher_proba(store)


def test_blocks_are_checked_as_they_are_read(small_vae, rows):
    counts = np.abs(rows).round()
    vae = small_vae(likelihood="poisson").fit(counts)
    chunks = (50, 4)
    np.testing.assert_array_equal(
        vae.transform(dask.from_array(counts, chunks=chunks)), vae.transform(counts)
    )
    for wrong, match in ((0.5, "counts in X"), (np.nan, "NaN"), (np.inf, "infinity")):
        counts[170, 2] = wrong
        with pytest.raises(ValueError, match=match):
            vae.transform(dask.from_array(counts, chunks=chunks))
    with pytest.raises(ValueError, match="3 features"):
        vae.transform(dask.from_array(counts[:, :3], chunks=chunks))


@pytest.mark.parametrize("n_made", [3, 5])
def test_what_holds_other_rows_than_it_says_is_refused(fitted, rows, n_made):
    blocks = dask.from_array(rows, chunks=(4, 4))
    lying = blocks.map_blocks(
        lambda block: np.resize(block, (n_made, 4)), dtype=rows.dtype, meta=np.empty((0, 0))
    )
    for read in (as_rows, fitted.transform):
        with pytest.raises(ValueError, match=r"says that it has the shape \(180, 4\)"):
            read(lying)


def test_chunks_may_be_sparse(fitted, rows):
    chunks = dask.from_array(rows, chunks=(50, 4)).map_blocks(sparse.csr_matrix)
    np.testing.assert_array_equal(as_rows(chunks), rows)
    np.testing.assert_array_equal(fitted.transform(chunks), fitted.transform(rows))


def test_a_store_without_rows_is_refused_as_it_is_in_fit(fitted, rows):
    for empty in (dask.from_array(rows[:0]), zarr.zeros((0, 4), chunks=(10, 4))):
        with pytest.raises(ValueError, match="The data set is empty"):
            fitted.transform(empty)


def test_a_group_of_arrays_is_no_array(tmp_path):
    with pytest.raises(TypeError, match="Rows must be an array"):
        as_rows(zarr.open_group(tmp_path / "group", mode="w"))


def test_a_stacked_search_takes_a_store(small_vae, rows):
    table = dataset.dataset(pa.table(dict(zip("abcd", rows.T, strict=True))))
    certificate, grid = ConstantCollapseCertificate(), {"alignment_weight": [10.0]}
    folds = KFold(2, shuffle=True, random_state=0)
    found = [
        StackedGridSearchCV(
            small_vae(max_epochs=1), grid, scoring=certificate, cv=folds, refit=False
        )
        .fit(X)
        .cv_results_["mean_test_score"]
        for X in (table, rows)
    ]
    np.testing.assert_array_equal(*found)


def test_images_are_rows(rows):
    images = rows.reshape(180, 1, 2, 2)
    np.testing.assert_array_equal(as_rows(dask.from_array(images, chunks=(50, 1, 1, 2))), rows)


def test_columns_of_several_types_become_the_precision_that_holds_them():
    table = pa.table(
        {
            "a": pa.array([1, None, 3], pa.int8()),
            "b": [True, False, True],
            "c": pa.array([0.5, 1.5, None], pa.float32()),
        }
    )
    found = as_rows(dataset.dataset(table))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[1, 1, 0.5], [np.nan, 0, 1.5], [3, 1, np.nan]])
    wider = table.append_column("d", pa.array([1, 2, 2**40 + 1], pa.int64()))
    found = as_rows(dataset.dataset(wider))
    assert found.dtype == np.float64
    assert found[2, 3] == 2**40 + 1


TEXT = pa.table({"a": [1.0], "name": ["x"]})
EMPTY_LIST = pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2))


@pytest.mark.parametrize(
    ("make", "column", "match"),
    [
        (lambda: dataset.dataset(TEXT), None, "Column 'name' of the data set holds string"),
        (lambda: dataset.dataset(TEXT), "a", "column='a' names no column of lists"),
        (lambda: dataset.dataset(pa.table({"a": EMPTY_LIST})), "a", "without a list"),
        (
            lambda: dask.ones((4, 2))[dask.ones(4) > 0],
            None,
            r"Call compute_chunk_sizes\(\)",
        ),
        (lambda: dask.ones((4, 2)) * 1j, None, "Complex data not supported"),
        (lambda: dask.ma.masked_equal(dask.ones((4, 2)), 1), None, "masked array"),
        (lambda: dask.ones((4, 2))[:0], None, "empty"),
    ],
)
def test_what_cannot_be_read_is_refused(make, column, match):
    with pytest.raises(ValueError, match=match):
        as_rows(make(), column)
