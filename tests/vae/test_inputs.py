"""What people feed an estimator: each gets a clear error or just works."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from skvae import GaussianMixtureTeacher, TeacherGuidedVAE


def assert_works(vae, X):
    with warnings.catch_warnings():
        # The read-only arrays of a memory map must not raise torch's warning.
        warnings.simplefilter("error")
        vae.fit(X)
        assert np.isfinite(vae.transform(X)).all()
        assert np.isfinite(vae.score_samples(X)).all()
        assert np.isfinite(vae.inverse_transform(vae.transform(X))).all()
        assert np.isfinite(vae.witness_log_proba(X, latent="sample")).all()
    return vae


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.astype(np.float32),
        lambda X: np.round(10 * X).astype(np.int16),
        lambda X: np.round(10 * X).astype(np.int64),
        lambda X: np.asfortranarray(X),
        lambda X: X[:, ::-1],
        lambda X: X.tolist(),
        lambda X: X.astype(object),
        lambda X: pd.DataFrame(X, columns=list("abcd")),
        lambda X: pd.DataFrame(np.round(10 * X).astype(int)),
        torch.as_tensor,
    ],
    ids=[
        "float32",
        "int16",
        "int64",
        "fortran",
        "view",
        "list",
        "object",
        "frame",
        "ints",
        "torch",
    ],
)
def test_any_array_of_numbers_works(small_vae, clusters, convert):
    assert_works(small_vae(max_epochs=30), convert(clusters.copy()))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_read_only_memory_map_works_and_stays_as_it_was(
    small_vae, clusters, tmp_path, dtype, likelihood
):
    X = (clusters - clusters.min()).astype(dtype)
    X /= X.max()
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    vae = assert_works(small_vae(likelihood=likelihood, max_epochs=30), mapped)
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), X)
    np.testing.assert_array_equal(vae.transform(mapped), vae.transform(X))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_missing_and_infinite_values_are_refused_everywhere(small_vae, fitted, clusters, bad):
    X = clusters.copy()
    X[3, 1] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        small_vae().fit(X)
    for method in (fitted.transform, fitted.score_samples, fitted.witness_log_proba):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            method(X)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        fitted.inverse_transform(X[:, :3])


def test_one_row_is_too_few_to_fit_and_enough_to_read(small_vae, fitted, clusters):
    with pytest.raises(ValueError, match=r"1 sample.*minimum of 2"):
        small_vae().fit(clusters[:1])
    assert fitted.transform(clusters[:1]).shape == (1, 3)
    assert fitted.score_samples(clusters[:1]).shape == (1,)


def test_one_column_works(small_vae, clusters):
    assert_works(small_vae(max_epochs=30), clusters[:, :1])
    with pytest.raises(ValueError, match="2D array"):
        small_vae().fit(clusters[:, 0])


@pytest.mark.parametrize("decoder_variance", ["learned", 0.5])
@pytest.mark.parametrize("constant", [0.0, 1.0, -1e6])
def test_constant_columns_work(small_vae, clusters, constant, decoder_variance):
    X = np.column_stack([clusters, np.full(len(clusters), constant)])
    vae = assert_works(small_vae(decoder_variance=decoder_variance, max_epochs=60), X)
    decoded = vae.inverse_transform(vae.transform(X))[:, -1]
    np.testing.assert_allclose(decoded, constant, atol=0.5)
    X[0, -1] += 1e3
    assert np.isfinite(vae.transform(X)).all()


def test_table_of_one_row_repeated_is_refused(small_vae, clusters):
    with pytest.raises(ValueError, match="teacher is constant"):
        small_vae(teacher=None).fit(np.repeat(clusters[:1], 20, axis=0))


@pytest.mark.parametrize("likelihood", ["gaussian", "auto"])
def test_a_table_of_few_rows_that_differ_has_no_components_too_many(small_vae, likelihood):
    """Truth values of two columns: none of the four is asked for twice, nor warned of."""
    X = np.random.default_rng(0).integers(0, 2, (100, 2))
    vae = small_vae(teacher=None, likelihood=likelihood, max_epochs=60).fit(X)
    assert vae.teacher_proba(X).shape == (100, 4)
    assert vae.teacher_information_ == pytest.approx(np.log(4), abs=0.15)


def test_fewer_rows_than_mixture_components_are_refused_with_the_remedy(clusters):
    teacher = GaussianMixtureTeacher(n_components=10)
    with pytest.raises(ValueError, match=r"n_components=10.*n_samples=6.*fewer components"):
        TeacherGuidedVAE(teacher=teacher).fit(clusters[:6])


@pytest.mark.parametrize("unit", [1e6, 1e-6])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_units_of_any_size_work(small_vae, clusters, unit, offset):
    reference = small_vae(max_epochs=60).fit(clusters)
    vae = assert_works(small_vae(max_epochs=60), unit * (clusters + offset))
    # Column by column the same numbers, but for the digits that the offset swallows.
    tolerance = 1e-2 if offset else 1e-4
    np.testing.assert_allclose(
        vae.transform(unit * (clusters + offset)), reference.transform(clusters), atol=tolerance
    )
    assert vae.margin_ > 0


def test_columns_of_mixed_units_work_without_a_setting(wine):
    scale = np.logspace(-6, 6, wine.shape[1])
    vae = assert_works(TeacherGuidedVAE(random_state=0), wine * scale)
    assert vae.margin_ > 0


def test_variance_that_overflows_is_refused_by_its_column(small_vae, clusters):
    X = clusters.copy()
    X[:, 2] *= 1e200
    with pytest.raises(ValueError, match="Column 2 of X is too spread out"):
        small_vae().fit(X)


def test_entry_beyond_float32_has_a_code_and_no_density(fitted, clusters):
    X = clusters[:5].astype(np.float64)
    X[2, 0] = 1e300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codes, densities = fitted.transform(X), fitted.score_samples(X)
    assert np.isfinite(codes).all()
    np.testing.assert_array_equal(np.isneginf(densities), np.arange(5) == 2)


def test_bernoulli_wants_the_unit_interval_and_no_variance(small_vae, clusters):
    with pytest.raises(ValueError, match=r"X in \[0, 1\].*values from.*gaussian"):
        small_vae(likelihood="bernoulli").fit(clusters)
    with pytest.raises(ValueError, match="no variance"):
        small_vae(likelihood="bernoulli", decoder_variance=1.0).fit(np.abs(clusters) / 10)


def test_bernoulli_model_refuses_rows_outside_the_unit_interval_later(small_vae, clusters):
    X = (clusters - clusters.min()) / np.ptp(clusters)
    vae = small_vae(likelihood="bernoulli").fit(X)
    with pytest.raises(ValueError, match=r"X in \[0, 1\]"):
        vae.score_samples(100 * X)


def test_labels_of_another_length_are_refused(small_vae, clusters):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small_vae().fit(clusters, np.zeros(7))


def test_other_number_of_columns_is_refused(fitted, clusters):
    with pytest.raises(ValueError, match=r"3 features.*4 features"):
        fitted.transform(clusters[:, :3])


def test_bad_input_loses_nothing(small_vae, clusters):
    """A fit that fails leaves a fitted estimator as it was."""
    vae = small_vae().fit(pd.DataFrame(clusters, columns=list("abcd")))
    before = dict(vars(vae))
    for X in (
        clusters * np.nan,
        clusters[:1],
        pd.DataFrame(clusters[:2], columns=list("efgh")),
    ):
        with pytest.raises(ValueError, match=r"NaN|1 sample|n_components"):
            vae.fit(X)
        assert vars(vae) == before
