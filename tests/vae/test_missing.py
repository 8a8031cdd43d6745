"""Rows with missing entries: exact values of a linear model, then what holds of any."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from torch import nn

from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    TeacherGuidedVAE,
    rescue,
)
from skvae.model_selection import StackedGridSearchCV
from skvae.nets.likelihoods import LIKELIHOODS
from skvae.training import batches
from skvae.training.steps import step_for

NAN = np.nan
CERTIFICATE = ConstantCollapseCertificate(latent="sample")


def holed(X, share=0.3, seed=0):
    """Leave entries out, completely at random."""
    gone = np.random.default_rng(seed).random(X.shape) < share
    return np.where(gone, np.asarray(NAN, dtype=X.dtype), X)


@pytest.fixture(scope="module")
def rows(clusters):
    X = holed(clusters)
    X.setflags(write=False)
    return X


@pytest.fixture(scope="module")
def masked(small_vae, rows):
    """Fit an estimator to rows with missing entries; tests must not change it."""
    return small_vae(missing="mask", max_epochs=60).fit(rows)


class Linear:
    """A model with linear parts, whose weights are set: all of it is known exactly.

    In the units of X a row is Gaussian, with covariance ``W W' + diag(variance)``.
    """

    def __init__(self, seed=0, latent_dim=1):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((60, 5)) * [1, 2, 3, 1.5, 2] + [0, 1, -4, 3, 9]
        self.vae = TeacherGuidedVAE(
            latent_dim=latent_dim,
            hidden_layer_sizes=(),
            missing="mask",
            teacher=GaussianMixtureTeacher(n_components=2),
            decoder_variance=0.7,
            max_epochs=1,
            early_stopping=False,
            random_state=seed,
        ).fit(X)
        units = self.vae._fitted.units
        module = self.vae.net_.module_
        (self.encoder,), (decoder,) = module.encoder.layers, module.decoder.layers
        self.W, self.b = rng.standard_normal((5, latent_dim)), rng.standard_normal(5)
        with torch.no_grad():
            decoder.weight.copy_(torch.from_numpy(self.W))
            decoder.bias.copy_(torch.from_numpy(self.b))
        self.d = 0.7 / units.scale**2
        self.mean = units.center + units.scale * self.b
        W = units.scale[:, None] * self.W
        self.covariance = W @ W.T + 0.7 * np.eye(5)
        noise = rng.multivariate_normal(np.zeros(5), self.covariance, size=40)
        self.X = self.mean + noise

    def knows_the_posterior_without(self, missing):
        """Set the encoder to the posterior of one pattern, which is one Gaussian for all."""
        there = ~np.isin(np.arange(5), missing)
        slopes = self.W[:, 0] / self.d * there
        precision = 1 + slopes @ self.W[:, 0]
        with torch.no_grad():
            self.encoder.weight.zero_()
            self.encoder.weight[0, :5] = torch.from_numpy(slopes / precision)
            # Of the mask: the offsets of the columns that there are.
            of_mask = torch.from_numpy(-slopes * self.b / precision)
            self.encoder.weight[0, 5:] = of_mask
            self.encoder.bias.copy_(torch.tensor([0.0, -np.log(precision)]))

    def says_the_prior(self):
        with torch.no_grad():
            self.encoder.weight.zero_()
            self.encoder.bias.zero_()

    def log_density(self, X):
        found = np.zeros(len(X))
        for i, x in enumerate(X):
            o = ~np.isnan(x)
            covariance, residual = self.covariance[np.ix_(o, o)], (x - self.mean)[o]
            solved = np.linalg.solve(covariance, residual)
            log_determinant = np.linalg.slogdet(2 * np.pi * covariance)[1]
            found[i] = -0.5 * (residual @ solved + log_determinant)
        return found

    def conditional(self, x):
        """Mean of the missing entries of a row given the others, and their covariance."""
        o = ~np.isnan(x)
        gain = np.linalg.solve(self.covariance[np.ix_(o, o)], self.covariance[np.ix_(o, ~o)]).T
        mean = self.mean[~o] + gain @ (x - self.mean)[o]
        return mean, self.covariance[np.ix_(~o, ~o)] - gain @ self.covariance[np.ix_(o, ~o)]


@pytest.mark.parametrize("missing", [[], [0], [2], [1, 3], [0, 1, 2, 4]])
def test_with_the_true_posterior_the_bound_is_the_log_density_of_observed_entries(missing):
    model = Linear()
    model.knows_the_posterior_without(missing)
    X = model.X.copy()
    X[:, missing] = NAN
    expected = model.log_density(X)
    np.testing.assert_allclose(model.vae.score_samples(X), expected, rtol=1e-4)
    np.testing.assert_allclose(model.vae.score_samples(X, 7), expected, rtol=1e-4)
    filled = model.vae.impute(X)
    wanted = X.copy()
    for x in wanted:
        x[np.isnan(x)] = model.conditional(x)[0]
    np.testing.assert_allclose(filled, wanted, rtol=1e-4, atol=1e-4)


def test_importance_weights_make_up_for_an_encoder_that_is_wrong():
    """Whatever the pattern: the encoder says the prior of all rows."""
    model = Linear(1, latent_dim=2)
    model.says_the_prior()
    X = holed(model.X, 0.4)
    X[0] = NAN
    bound = model.vae.score_samples(X, 20_000)
    np.testing.assert_allclose(bound, model.log_density(X), atol=0.15)
    filled = model.vae.impute(X, n_importance_samples=20_000)
    deviation = np.sqrt(np.diag(model.covariance))
    for x, y in zip(X, filled, strict=True):
        gone = np.isnan(x)
        error = (y[gone] - model.conditional(x)[0]) / deviation[gone]
        assert np.abs(error).max(initial=0.0) < 0.1


def test_draws_have_the_mean_and_the_covariance_of_the_conditional_distribution():
    model = Linear(2, latent_dim=2)
    model.says_the_prior()
    x = model.X[0].copy()
    x[[1, 3]] = NAN
    mean, covariance = model.conditional(x)
    drawn = model.vae.impute(np.tile(x, (6000, 1)), "draw", 0, n_importance_samples=400)[
        :, [1, 3]
    ]
    deviation = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((drawn.mean(axis=0) - mean) / deviation, 0, atol=0.08)
    scale = np.outer(deviation, deviation)
    np.testing.assert_allclose((np.cov(drawn.T) - covariance) / scale, 0, atol=0.1)


def test_draws_are_the_estimators_or_those_of_a_seed(masked, rows):
    first = masked.impute(rows, "draw")
    np.testing.assert_array_equal(masked.impute(rows, "draw"), first)
    other = masked.impute(rows, "draw", random_state=1)
    assert (other != first).any()
    np.testing.assert_array_equal(masked.impute(rows, "draw", random_state=1), other)
    np.testing.assert_array_equal(masked.impute(rows), masked.impute(rows))


def test_where_nothing_is_missing_the_model_is_one_without_a_mask(small_vae, clusters, masked):
    """With a mask of ones folded into the bias of the first layer."""
    other = small_vae(max_epochs=1).fit(clusters)
    with torch.no_grad():
        state = masked.net_.module_.state_dict()
        weight = state["encoder.layers.0.weight"]
        state["encoder.layers.0.weight"] = weight[:, :4]
        state["encoder.layers.0.bias"] = state["encoder.layers.0.bias"] + weight[:, 4:].sum(1)
        other.net_.module_.load_state_dict(state)
    object.__setattr__(other._fitted, "units", masked._fitted.units)
    for method in ("transform", "score_samples", "witness_log_proba"):
        expected = getattr(other, method)(clusters)
        np.testing.assert_allclose(getattr(masked, method)(clusters), expected, atol=2e-4)


def test_units_are_the_usual_ones_where_nothing_is_missing(small_vae, wine):
    weights = np.random.default_rng(0).uniform(0.5, 2, len(wine))
    for keywords in ({}, {"sample_weight": weights}):
        masked, usual = (
            small_vae(missing=missing, max_epochs=1).fit(wine, **keywords)._fitted.units
            for missing in ("mask", "error")
        )
        np.testing.assert_allclose(masked.center, usual.center, rtol=1e-12)
        np.testing.assert_allclose(masked.scale, usual.scale, rtol=1e-12)


def test_history_is_in_the_units_of_x(small_vae, rows):
    setting = {
        "missing": "mask",
        "early_stopping": True,
        "max_epochs": 3,
        "alignment_weight": 0,
    }
    vae, scaled = (small_vae(**setting).fit(c * rows) for c in (1.0, 1000.0))
    fraction = {}
    for name in ("elbo", "valid_elbo"):
        fall = vae.history_[-1][name] - scaled.history_[-1][name]
        fraction[name] = fall / np.log(1000)
    # As many logarithms as a row has entries, on average over those of each part.
    assert fraction["elbo"] * 162 + fraction["valid_elbo"] * 18 == pytest.approx(
        (~np.isnan(rows)).sum(), rel=1e-4
    )


def test_a_row_is_read_alike_whatever_is_beside_it(masked, rows, clusters):
    mixed = np.array(rows)
    mixed[::2] = clusters[::2]
    np.testing.assert_allclose(
        masked.score_samples(mixed)[::2], masked.score_samples(clusters)[::2], atol=1e-5
    )
    order = np.random.default_rng(0).permutation(len(rows))
    for method in ("transform", "score_samples", "impute"):
        expected = getattr(masked, method)(rows)[order]
        np.testing.assert_allclose(getattr(masked, method)(rows[order]), expected, atol=1e-5)


def test_a_row_without_entries_scores_minus_its_rate(masked):
    nothing = np.full((2, 4), NAN)
    rate = masked.posterior_kl(nothing).sum(axis=1)
    np.testing.assert_allclose(masked.score_samples(nothing), -rate, atol=1e-6)
    assert np.isfinite(masked.impute(nothing)).all()


def test_imputed_entries_are_near_the_best_that_there_is():
    """One factor: the true conditional means are known."""
    rng = np.random.default_rng(0)
    loadings = np.array([1.0, -1.0, 2.0, 0.5, 1.5])
    X = rng.standard_normal((600, 1)) * loadings + 0.3 * rng.standard_normal((600, 5))
    Y = holed(X)
    covariance = np.outer(loadings, loadings) + 0.09 * np.eye(5)
    best = Y.copy()
    for y in best:
        o = ~np.isnan(y)
        solved = np.linalg.solve(covariance[np.ix_(o, o)], y[o]) if o.any() else y[o]
        y[~o] = covariance[np.ix_(~o, o)] @ solved
    vae = TeacherGuidedVAE(
        latent_dim=2,
        hidden_layer_sizes=(32,),
        missing="mask",
        alignment_weight=0,
        lr=5e-3,
        max_epochs=60,
        batch_size=50,
        random_state=0,
    ).fit(Y)
    gone = np.isnan(Y)
    error, least = (np.square(filled - X)[gone].mean() for filled in (vae.impute(Y), best))
    assert least < error < 1.15 * least


@given(
    gone=hnp.arrays(bool, (6, 4)),
    dtype=st.sampled_from([np.float32, np.float64]),
    method=st.sampled_from(["mean", "draw"]),
)
@settings(max_examples=15)
def test_what_was_observed_stays_to_the_bit(masked, clusters, gone, dtype, method):
    X = np.where(gone, NAN, clusters[:6]).astype(dtype)
    before = X.copy()
    filled = masked.impute(X, method, n_importance_samples=5)
    assert filled.dtype == dtype
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(filled[~gone], X[~gone])
    assert np.isfinite(filled).all()


def test_all_kinds_of_missing_are_one(small_vae, rows):
    names = list("abcd")
    objects = rows.astype(object)
    objects[np.isnan(rows)] = None
    with_na = pd.DataFrame(objects, columns=names).map(lambda x: pd.NA if x is None else x)
    frame = pd.DataFrame(rows, columns=names)
    expected = small_vae(missing="mask").fit(rows)
    kinds = {
        "list with None": objects.tolist(),
        "objects": objects,
        "frame": frame,
        "nullable": frame.convert_dtypes(),
        "objects with NA": with_na,
        "polars": pl.from_pandas(frame),
        "polars NaN": pl.DataFrame(rows, schema=names),
        "tensor": torch.from_numpy(np.array(rows)),
    }
    for kind, X in kinds.items():
        vae = small_vae(missing="mask").fit(X)
        np.testing.assert_allclose(
            vae.transform(X), expected.transform(rows), atol=1e-5, err_msg=kind
        )
        taught = expected.teacher_proba(rows)
        np.testing.assert_allclose(vae.teacher_proba(X), taught, rtol=1e-9, err_msg=kind)
        filled = np.asarray(vae.impute(X), dtype=float)
        np.testing.assert_allclose(filled, expected.impute(rows), atol=1e-5, err_msg=kind)
    with pytest.raises(ValueError, match="masked array"):
        small_vae(missing="mask").fit(np.ma.masked_invalid(rows))


def test_frames_come_back_as_frames_in_their_types(small_vae, rows):
    whole = np.round(rows)
    frame = pd.DataFrame(whole, columns=list("abcd")).astype(
        {"a": "float32", "b": "Int64", "c": "float64", "d": "Int64"}
    )
    frame = frame.assign(d=frame["d"].fillna(0).astype("int64"))
    frame.index = np.arange(len(frame)) + 7
    vae = small_vae(missing="mask").fit(frame)
    before = frame.copy()
    filled = vae.impute(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert list(filled.columns) == list("abcd")
    assert (filled.index == frame.index).all()
    assert filled.dtypes.astype(str).tolist() == ["float32", "Float64", "float64", "int64"]
    assert not filled.isna().any().any()
    for name in frame:
        there = frame[name].notna()
        assert (filled.loc[there, name] == frame.loc[there, name]).all()
    counts = small_vae(missing="mask", likelihood="poisson").fit(abs(frame))
    assert counts.impute(abs(frame), "draw")["b"].dtype == "Int64"
    polars = pl.from_pandas(frame)
    assert vae.impute(polars).schema["a"] == pl.Float32
    assert vae.impute(polars).null_count().sum_horizontal().item() == 0


@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_every_likelihood_leaves_missing_entries_out(small_vae, clusters, likelihood):
    X = np.round(5 * (clusters - clusters.min()))
    if "bernoulli" in likelihood:
        X = X / X.max()
    Y = holed(X)
    vae = small_vae(likelihood=likelihood, missing="mask", max_epochs=200).fit(Y)
    assert vae.margin_ > 0.3
    assert np.isfinite(vae.score(Y))
    filled = vae.impute(Y)
    gone = np.isnan(Y)
    mean = np.where(gone, np.nanmean(Y, axis=0), Y)
    assert np.square(filled - X)[gone].mean() < 0.8 * np.square(mean - X)[gone].mean()
    drawn = vae.impute(Y, "draw")
    if likelihood == "poisson":
        assert (drawn == drawn.round()).all()
    if "bernoulli" in likelihood:
        assert drawn.min() >= 0
        assert drawn.max() <= 1
    report = ConstantCollapseCertificate().certify(vae, Y)
    assert report.margin_reconstruction is not None
    assert np.isfinite(report.decoder_gain)


def test_images_have_channels_of_the_mask(small_vae, clusters):
    images = holed(clusters).reshape(-1, 1, 2, 2)
    vae = small_vae(architecture="conv", channels=4, missing="mask").fit(images)
    filled = vae.impute(images)
    assert filled.shape == images.shape
    there = ~np.isnan(images)
    np.testing.assert_array_equal(filled[there], images[there])
    assert np.isfinite(filled).all()


class Shown(nn.Module):
    """An encoder that keeps what it was shown last."""

    def __init__(self, shape, latent_dim):
        super().__init__()
        self.layer = nn.Linear(shape[0], 2 * latent_dim)

    def forward(self, x):
        self.shown = x.detach().clone()
        return self.layer(x)


def test_an_encoder_of_ones_own_is_given_zeros_and_the_mask(small_vae, rows):
    vae = small_vae(encoder=Shown, missing="mask", max_epochs=2).fit(rows)
    vae.transform(rows)
    shown = vae.net_.module_.encoder.layers[1].shown.numpy()
    there = ~np.isnan(rows)
    assert shown.shape == (len(rows), 8)
    np.testing.assert_array_equal(shown[:, 4:], there)
    assert (shown[:, :4][~there] == 0).all()
    standardised = (rows - np.nanmean(rows, axis=0)) / np.nanstd(rows, axis=0)
    np.testing.assert_allclose(shown[:, :4][there], standardised[there], atol=1e-5)
    with pytest.raises(ValueError, match=r"rows of shape \(8,\)|tensor of shape \(2, 8\)"):
        small_vae(encoder=nn.Linear(4, 6), missing="mask").fit(rows)


def test_an_autoregressive_decoder_is_refused(small_vae, rows):
    with pytest.raises(ValueError, match="autoregressive decoder gives each column given"):
        small_vae(decoder="autoregressive", missing="mask").fit(rows)


@pytest.mark.parametrize("witness", ["linear", "mlp", "simplex"])
def test_the_step_that_is_written_by_hand_declines(small_vae, rows, witness):
    setting = {"witness": witness, "missing": "mask", "alignment_target": 0.5}
    net = small_vae(**setting).fit(rows).net_
    assert step_for(net.module_, net.criterion_) is None


def test_the_default_names_what_takes_missing_values(small_vae, fitted, rows, clusters):
    for refuse in (small_vae().fit, fitted.transform, fitted.score, fitted.teacher_proba):
        with pytest.raises(ValueError, match=r"(?s)contains NaN.*missing=\"mask\""):
            refuse(rows)
    with pytest.raises(ValueError, match='was fitted with missing="error"'):
        fitted.impute(clusters)


def test_infinite_entries_are_refused_all_the_same(small_vae, masked, rows):
    X = np.array(rows)
    X[3, 1] = np.inf
    for refuse in (
        small_vae(missing="mask").fit,
        masked.transform,
        masked.score,
        masked.impute,
        masked.teacher_proba,
    ):
        with pytest.raises(ValueError, match="infinity"):
            refuse(X)


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_a_column_without_entries_is_named(small_vae, rows, likelihood):
    X = np.abs(np.round(rows))
    X[:, 2] = NAN
    vae = small_vae(missing="mask", likelihood=likelihood)
    with pytest.raises(ValueError, match="Column 2 of X has no observed value"):
        vae.fit(X)
    with pytest.raises(ValueError, match="Column 'c' of X has no observed value"):
        vae.fit(pd.DataFrame(X, columns=list("abcd")))
    assert not vae.__sklearn_is_fitted__()
    X[:, 3] = NAN
    with pytest.raises(ValueError, match=r"Column 2 of X \(and 1 more\)"):
        vae.fit(X)


class Bearing(HistGradientBoostingClassifier):
    """A teacher that notes whether it was shown missing entries."""

    def fit(self, X, y):
        self.saw_ = bool(np.isnan(np.asarray(X, dtype=float)).any())
        return super().fit(X, y)


class Mixture(GaussianMixture):
    """One that does not bear them, and has to be shown none."""

    def fit(self, X, y=None):
        self.X_ = np.asarray(X)
        return super().fit(X)


def test_a_teacher_that_bears_missing_entries_sees_them(small_vae, rows):
    y = np.repeat([0, 1, 2], 60)
    vae = small_vae(teacher=Bearing(max_iter=5), missing="mask").fit(rows, y)
    assert vae.teacher_.saw_
    expected = vae.teacher_.predict_proba(rows)
    np.testing.assert_allclose(vae.teacher_proba(rows), expected)
    imputing = make_pipeline(SimpleImputer(strategy="constant"), LogisticRegression())
    vae = small_vae(teacher=imputing, missing="mask").fit(rows, y)
    expected = vae.teacher_.predict_proba(np.nan_to_num(rows))
    np.testing.assert_allclose(vae.teacher_proba(rows), expected)


@pytest.mark.parametrize("as_frame", [False, True])
def test_any_other_teacher_sees_the_means_of_the_columns(small_vae, rows, as_frame):
    X = pd.DataFrame(rows, columns=list("abcd")) if as_frame else rows
    filled = np.where(np.isnan(rows), np.nanmean(rows, axis=0), rows)
    vae = small_vae(teacher=Mixture(3), missing="mask").fit(X)
    np.testing.assert_allclose(vae.teacher_.X_, filled)
    np.testing.assert_allclose(vae.teacher_proba(X), vae.teacher_.predict_proba(filled))
    frozen = FrozenEstimator(Mixture(3, random_state=0).fit(filled))
    vae = small_vae(teacher=frozen, missing="mask").fit(rows)
    np.testing.assert_allclose(vae.teacher_proba(rows), frozen.predict_proba(filled))


def test_moments_are_those_of_training_rows_with_their_weights(small_vae, rows):
    weights = np.random.default_rng(1).integers(0, 3, len(rows))
    vae = small_vae(missing="mask").fit(rows, sample_weight=weights)
    alone = np.repeat(rows, weights, axis=0)
    np.testing.assert_allclose(vae._fitted.units.center, np.nanmean(alone, axis=0))
    np.testing.assert_allclose(vae._fitted.units.scale, np.nanstd(alone, axis=0))
    without = small_vae(missing="mask").fit(
        rows[weights > 0], sample_weight=weights[weights > 0]
    )
    np.testing.assert_array_equal(vae.score_samples(rows), without.score_samples(rows))


def test_rows_from_a_file_are_read_block_by_block(small_vae, rows, tmp_path, monkeypatch):
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    expected = small_vae(missing="mask").fit(rows)
    vae = small_vae(missing="mask").fit(mapped)
    np.testing.assert_array_equal(vae.transform(mapped), expected.transform(rows))
    np.testing.assert_array_equal(vae.impute(mapped), expected.impute(rows))
    monkeypatch.setattr(batches, "MAX_BYTES", 100)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 1000)
    streamed = small_vae(missing="mask", max_epochs=40, batch_size=32).fit(mapped)
    assert streamed.margin_ > 0.5


def test_passes_over_a_stream(small_vae, rows):
    vae = small_vae(missing="mask").partial_fit(rows)
    later = np.array(rows)
    # What the first rows have said of a column is enough.
    later[:, 1] = NAN
    vae.partial_fit(later).partial_fit(np.full((1, 4), NAN))
    assert np.isfinite(vae.score(rows))


def test_training_goes_on_in_the_same_mode_alone(small_vae, fitted, masked, rows, clusters):
    again = clone(masked).set_params(warm_start=FrozenEstimator(masked)).fit(rows)
    assert np.isfinite(again.score(rows))
    np.testing.assert_array_equal(again.teacher_proba(rows), masked.teacher_proba(rows))
    with pytest.raises(ValueError, match="missing is 'error' in the fitted model and 'mask'"):
        small_vae(missing="mask", warm_start=fitted).fit(clusters)
    with pytest.raises(ValueError, match="missing is 'mask' in the fitted model and 'error'"):
        small_vae(warm_start=masked).fit(clusters)


def test_saved_pickled_and_cloned(masked, rows, tmp_path):
    masked.save(tmp_path / "model.skvae")
    for again in (
        TeacherGuidedVAE.load(tmp_path / "model.skvae"),
        pickle.loads(pickle.dumps(masked)),
    ):
        for method in ("transform", "score_samples", "teacher_proba", "impute"):
            expected = getattr(masked, method)(rows)
            np.testing.assert_array_equal(getattr(again, method)(rows), expected)
        assert CERTIFICATE.certify(again, rows) == CERTIFICATE.certify(masked, rows)
    assert clone(masked).missing == "mask"


def test_certified_rows_are_told_again(masked, rows):
    report = CERTIFICATE.certify(masked, rows)
    assert report.rows == report.teacher_rows == "training"
    assert report.verdict == "certified"
    # Another NaN is the same missing entry.
    other = np.where(np.isnan(rows), -np.float64(NAN), rows)
    assert CERTIFICATE.certify(masked, other).rows == "training"
    assert CERTIFICATE.certify(masked, holed(rows, 0.5, seed=3)).rows != "training"


def test_searched_with_rows_held_out(small_vae, rows):
    vae = small_vae(missing="mask", early_stopping=True, max_epochs=3, alignment_weight=0)
    search = GridSearchCV(vae, {"latent_dim": [2, 3]}, cv=2).fit(rows)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert np.isfinite(search.best_estimator_.history_[-1]["valid_elbo"])


@pytest.mark.parametrize(
    "setting",
    [
        {"n_importance_samples": 3},
        {"witness": "simplex", "prefit_epochs": 2},
        {"aggressive_steps": 1},
        {"precision": "bf16"},
        {"free_bits": 0.1, "mmd_weight": 1.0},
        {"guard": 0.01, "decoder_variance": "shared"},
    ],
    ids=str,
)
def test_other_settings_work_beside_it(small_vae, rows, setting):
    vae = small_vae(missing="mask", **setting).fit(rows)
    assert np.isfinite(vae.score(rows))
    assert np.isfinite(vae.score_samples(rows, 5)).all()


def test_tensors_are_answered_with_tensors_and_gradients(masked, rows, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    x = torch.tensor(rows, requires_grad=True)
    with config_context(array_api_dispatch=True):
        scores = masked.score_samples(x)
        filled = masked.impute(x)
    np.testing.assert_allclose(scores.detach(), masked.score_samples(rows), atol=1e-5)
    np.testing.assert_allclose(filled.detach(), masked.impute(rows), atol=1e-6)
    scores.sum().backward()
    gone = torch.isnan(x.detach())
    assert torch.isfinite(x.grad).all()
    assert (x.grad[gone] == 0).all()
    assert (x.grad[~gone] != 0).any()


def test_handed_out_modules_bear_missing_entries(masked, rows, tmp_path):
    mean, _ = masked.encoder_(torch.from_numpy(np.array(rows)))
    np.testing.assert_allclose(mean.detach(), masked.transform(rows), atol=1e-5)
    masked.export(tmp_path / "encoder.pt2", dtype="float64")
    program = torch.export.load(tmp_path / "encoder.pt2").module()
    mean, _ = program(torch.from_numpy(np.array(rows)))
    np.testing.assert_allclose(mean.detach(), masked.transform(rows), atol=1e-5)


def test_a_collapsed_model_is_rescued_on_such_rows(small_vae, rows):
    setting = {"alignment_weight": 0.0, "decoder_variance": 100.0, "missing": "mask"}
    collapsed = small_vae(**setting).fit(rows)
    rescued = rescue(collapsed, rows, max_epochs=60, lr=1e-2)
    assert rescued.after.verdict == "certified"
    np.testing.assert_array_equal(
        rescued.estimator.teacher_proba(rows), collapsed.teacher_proba(rows)
    )


def test_a_stacked_search_says_that_it_takes_none(small_vae, rows):
    search = StackedGridSearchCV(small_vae(missing="mask"), {"beta": [0.5, 1.0]})
    with pytest.raises(ValueError, match="missing"):
        search.fit(rows)


def test_tag(small_vae):
    assert get_tags(small_vae(missing="mask")).input_tags.allow_nan
    assert not get_tags(small_vae()).input_tags.allow_nan


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "median"}, "method must be"),
        ({"n_importance_samples": 0}, "n_importance_samples must be"),
    ],
)
def test_wrong_ways_to_impute(masked, rows, wrong, message):
    with pytest.raises(ValueError, match=message):
        masked.impute(rows, **wrong)


def test_whole_numbers_come_back_as_they_are(masked):
    X = np.arange(12).reshape(3, 4)
    filled = masked.impute(X)
    assert filled.dtype == X.dtype
    np.testing.assert_array_equal(filled, X)
    assert filled is not X


def test_totals_are_not_known_of_rows_with_missing_counts(small_vae, clusters):
    X = np.round(5 * (clusters - clusters.min()))
    vae = small_vae(likelihood="poisson", missing="mask", max_epochs=1).fit(holed(X))
    assert vae.net_.module__counts.size is None
    with pytest.raises(ValueError, match=r"size=1.*exposures.*size=None"):
        small_vae(likelihood="poisson", missing="mask", size=1).fit(holed(X + 1))
