"""Distributions of the rows: their densities, means and draws agree."""

import pickle

import numpy as np
import pytest
import torch
from torch import distributions as dist

from skvae import ConstantCollapseCertificate
from skvae.nets.likelihoods import (
    LIKELIHOODS,
    OF_COUNTS,
    WITH_VARIANCE,
    GaussianLikelihood,
    starting_variances,
)
from skvae.nets.networks import Decoder
from skvae.rows.scaling import Standardization


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_learned_variance_starts_where_told_and_respects_its_floor():
    floor = np.array([-3.0, 0.0])
    likelihood = GaussianLikelihood(np.zeros(2), floor)
    # softplus(x) = x + log(1 + exp(-x)): a little above the start.
    expected = floor + np.log1p(np.exp(-floor))
    np.testing.assert_allclose(likelihood.log_variance.detach(), expected, rtol=1e-6)
    with torch.no_grad():
        likelihood.excess_log_variance.fill_(-100.0)
    np.testing.assert_allclose(likelihood.log_variance.detach(), floor, atol=1e-6)


def of(likelihood, parameters):
    """Return torch's distribution for what a decoder made of a code."""
    variance = torch.tensor([0.5, 2.0])
    return {
        "gaussian": lambda: dist.Normal(parameters, variance.sqrt()),
        "laplace": lambda: dist.Laplace(parameters, (variance / 2).sqrt()),
        "student_t": lambda: dist.StudentT(8.0, parameters, (0.75 * variance).sqrt()),
        "bernoulli": lambda: dist.Bernoulli(logits=parameters),
        "continuous_bernoulli": lambda: dist.ContinuousBernoulli(logits=parameters),
        "negative_binomial": lambda: dist.NegativeBinomial(
            torch.tensor([0.5, 2.0]), logits=parameters - torch.tensor([0.5, 2.0]).log()
        ),
        "poisson": lambda: dist.Poisson(parameters.exp()),
    }[likelihood]()


def module(likelihood):
    has_variance = likelihood in (*WITH_VARIANCE, "negative_binomial")
    log_variance = np.log([0.5, 2.0]) if has_variance else None
    return LIKELIHOODS[likelihood](log_variance, None)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_decoder_draws_and_scores_one_distribution(likelihood):
    decoder = Decoder(2, 1, (), module(likelihood), generator())
    latent = torch.full((50_000, 1), 0.7)
    with torch.no_grad():
        draws = decoder.draw(latent, generator(1))
        score = decoder.reconstruction(draws, decoder(latent)).mean().item()
        mean = decoder.expectation(latent[:1])
        expected = of(likelihood, decoder(latent[:1]))
    np.testing.assert_allclose(mean, expected.mean, rtol=1e-5)
    np.testing.assert_allclose(draws.mean(dim=0), mean[0], atol=0.03)
    np.testing.assert_allclose(draws.var(dim=0), expected.variance[0], rtol=0.05)
    if likelihood in OF_COUNTS:
        counts = torch.arange(60.0)[:, None].expand(60, 2)
        density = expected.log_prob(counts)
        entropy = -(density.exp() * density).sum().item()
    else:
        entropy = expected.entropy().sum().item()
    assert score == pytest.approx(entropy, abs=0.02)


@pytest.mark.parametrize("parameter", [-30.0, -2.0, -1e-3, 0.0, 1e-6, 0.4, 8.0, 80.0])
def test_continuous_bernoulli_is_a_density_and_its_mean_is_right(parameter):
    likelihood = module("continuous_bernoulli")
    x = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    parameters = torch.full((len(x), 1), parameter, dtype=torch.float64)
    density = torch.exp(-likelihood.reconstruction(x[:, None], parameters))
    assert torch.trapezoid(density, x).item() == pytest.approx(1.0, abs=1e-7)
    mean = likelihood.expectation(parameters[:1]).item()
    assert mean == pytest.approx(torch.trapezoid(x * density, x).item(), abs=1e-7)
    # In float32 too, where coth(h) - 1/h has no digits left near zero.
    single = likelihood.expectation(parameters[:1].float()).item()
    assert single == pytest.approx(mean, abs=1e-6)
    draws = likelihood.draw(torch.full((40_000, 1), parameter), generator())
    assert 0 <= draws.min() <= draws.max() <= 1
    deviation = draws.std().item() / 200
    assert draws.mean().item() == pytest.approx(mean, abs=4 * deviation + 1e-6)


@pytest.mark.parametrize("log_rate", [-4.0, 0.0, 3.0])
def test_poisson_probabilities_sum_to_one(log_rate):
    counts = torch.arange(200.0, dtype=torch.float64)[:, None]
    cost = module("poisson").reconstruction(counts, torch.full_like(counts, log_rate))
    assert torch.exp(-cost).sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("likelihood", WITH_VARIANCE)
def test_columns_with_a_variance_are_densities(likelihood):
    x = torch.linspace(-60, 60, 200_001)[:, None]
    density = torch.exp(-LIKELIHOODS[likelihood]([0.7], None).reconstruction(x, torch.ones(1)))
    assert torch.trapezoid(density.double(), x[:, 0].double()).item() == pytest.approx(1.0)


def test_one_variance_for_all_columns_is_one_in_the_units_of_the_data():
    units = Standardization(np.zeros(3), np.array([2.0, 4.0, 1.0]), np.array([0, 0, 1], bool))
    start, floor = starting_variances("laplace", "shared", units)
    likelihood = LIKELIHOODS["laplace"](start, floor, is_shared=True)
    in_units_of_the_data = likelihood.log_variance.detach().numpy() + 2 * np.log(units.scale)
    np.testing.assert_allclose(in_units_of_the_data, np.log(10.0), atol=1e-5)
    assert likelihood.excess_log_variance.shape == (1,)


def test_a_learned_variance_stays_above_that_of_rounding():
    """Uniform noise on steps of a column has a twelfth of their square."""
    units = Standardization(
        np.zeros(5), np.array([2.0, 2.0, 100, 1, 1e-200]), np.zeros(5, bool)
    )
    steps = np.array([0.3, 1.0, 1e-3, 0.0, 1e-201])
    shares = [0.3**2 / 12 / 4, 0.01, 1e-6, 1e-6, 0.01 / 12]
    _, floor = starting_variances("gaussian", "learned", units, "auto", steps)
    np.testing.assert_allclose(np.exp(floor), shares)
    _, floor = starting_variances("gaussian", "learned", units, 0.2, steps)
    np.testing.assert_allclose(np.exp(floor), 0.2)


def test_variances_of_whole_numbers_stay_above_that_of_rounding(small_vae, clusters):
    whole = np.round(clusters / clusters.std(axis=0) * [1, 2, 5, 10][: clusters.shape[1]])
    for floor, shares in (("auto", 1 / 12 / whole.var(axis=0)), (1e-4, 1e-4)):
        vae = small_vae(variance_floor=floor, max_epochs=1).fit(whole)
        found = vae.net_.module_.decoder.likelihood.log_variance_floor.exp()
        np.testing.assert_allclose(found, np.clip(shares, 1e-6, 1e-2), rtol=1e-5)


def test_the_best_shared_variance_is_the_mean_squared_error():
    """The closed form of Rybkin, Daniilidis and Levine, arXiv 2006.13202."""
    x = torch.randn(50, 3, generator=generator())
    mse = x.square().mean().item()
    likelihood = GaussianLikelihood(np.full(3, np.log(mse)), np.full(3, -20.0), is_shared=True)
    likelihood.reconstruction(x, torch.zeros(50, 3)).mean().backward()
    assert likelihood.excess_log_variance.grad.item() == pytest.approx(0.0, abs=1e-5)


@pytest.fixture
def rows_of(clusters):
    """Rows that a likelihood has a density for, in three clusters."""
    in_unit_interval = (clusters - clusters.min()) / np.ptp(clusters)
    rng = np.random.default_rng(0)
    return {
        "gaussian": clusters,
        "laplace": clusters,
        "student_t": clusters,
        "bernoulli": in_unit_interval,
        "continuous_bernoulli": in_unit_interval,
        "negative_binomial": rng.poisson(
            20 * in_unit_interval * rng.gamma(5, 0.2, in_unit_interval.shape)
        ).astype(float),
        "poisson": rng.poisson(20 * in_unit_interval).astype(float),
    }


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("convert", [np.float64, np.float32])
def test_estimator_learns_draws_and_decodes(small_vae, rows_of, likelihood, convert):
    X = rows_of[likelihood].astype(convert)
    vae = small_vae(likelihood=likelihood, max_epochs=60).fit(X)
    assert vae.margin_ > 0.5
    assert vae.history_[-1]["loss"] < vae.history_[0]["loss"] - 0.5
    codes = np.repeat(vae.transform(X[:1]), 20_000, axis=0)
    expected = vae.inverse_transform(codes[:1])[0]
    drawn = vae._inference.draw_given(codes, generator())
    tolerance = 5 * drawn.std(axis=0) / 20_000**0.5 + 1e-6
    assert (abs(drawn.mean(axis=0) - expected) < tolerance).all()
    sampled = vae.sample(500)
    for rows in (drawn, sampled):
        if likelihood in ("bernoulli", "continuous_bernoulli"):
            assert rows.min() >= 0
            assert rows.max() <= 1
        if likelihood in OF_COUNTS:
            assert (rows == rows.round()).all()
            assert rows.min() >= 0
    np.testing.assert_allclose(sampled.mean(axis=0), X.mean(axis=0), atol=0.5 * X.std())


@pytest.mark.parametrize("decoder_variance", [0.3, "learned", "shared"])
def test_laplace_elbo_and_variance_are_in_the_units_of_x(small_vae, wine, decoder_variance):
    c = 1000.0
    setting = {"likelihood": "laplace", "alignment_weight": 0, "max_epochs": 20}
    is_number = isinstance(decoder_variance, float)
    vae = small_vae(decoder_variance=decoder_variance, **setting).fit(wine)
    scaled_variance = c**2 * decoder_variance if is_number else decoder_variance
    scaled = small_vae(decoder_variance=scaled_variance, **setting).fit(c * wine)
    expected = vae.score(wine) - wine.shape[1] * np.log(c)
    assert scaled.score(c * wine) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("likelihood", WITH_VARIANCE)
def test_shared_variance_is_learned_near_the_squared_error(small_vae, clusters, likelihood):
    vae = small_vae(
        likelihood=likelihood, decoder_variance="shared", max_epochs=200, alignment_weight=0
    ).fit(clusters)
    module = vae.net_.module_
    learned = module.decoder.likelihood.log_variance.detach().numpy()
    in_units_of_x = np.exp(learned) * vae._fitted.units.scale**2
    np.testing.assert_allclose(in_units_of_x, in_units_of_x[0], rtol=1e-5)
    error = np.square(clusters - vae.inverse_transform(vae.transform(clusters))).mean()
    assert 0.5 * error < in_units_of_x[0] < 3 * error


def test_training_goes_on_from_one_kind_of_variance_to_another(small_vae, clusters):
    vae = small_vae().partial_fit(clusters)
    for decoder_variance in ("shared", 1.0, "shared", "learned"):
        vae.set_params(decoder_variance=decoder_variance).partial_fit(clusters)
        assert np.isfinite(vae.score(clusters))
    lent = small_vae(decoder_variance="shared", warm_start=vae).fit(clusters)
    assert np.isfinite(lent.score(clusters))


def test_encoder_sees_counts_on_a_logarithmic_scale(small_vae, rows_of):
    X = rows_of["poisson"]
    vae = small_vae(likelihood="poisson", size=None).fit(X)
    encoder = vae.net_.module_.encoder
    counts = torch.as_tensor(X[:5], dtype=torch.float32)
    with torch.no_grad():
        expected = encoder.layers(torch.log1p(counts)).chunk(2, dim=1)
        for found, wanted in zip(encoder(counts), expected, strict=True):
            torch.testing.assert_close(found, wanted)
    # A difference that linear units would have lost beyond the encoder's bound.
    assert not torch.equal(encoder(counts + 100)[0], encoder(counts + 200)[0])
    again = pickle.loads(pickle.dumps(vae))
    np.testing.assert_array_equal(again.transform(X), vae.transform(X))


def test_counts_alone_cannot_be_negative_by_tag(small_vae):
    for likelihood in LIKELIHOODS:
        tags = small_vae(likelihood=likelihood).__sklearn_tags__()
        assert tags.input_tags.positive_only == (likelihood in OF_COUNTS)


@pytest.mark.parametrize(
    ("likelihood", "value", "message"),
    [
        ("poisson", -1.0, "whole numbers of at least 0, got a least value of -1"),
        ("poisson", 0.5, "got fractions"),
        ("bernoulli", 1.5, r"wants X in \[0, 1\]"),
        ("continuous_bernoulli", -0.1, r"wants X in \[0, 1\]"),
    ],
)
def test_rows_without_a_density_are_refused(small_vae, rows_of, likelihood, value, message):
    X = rows_of[likelihood].copy()
    vae = small_vae(likelihood=likelihood, max_epochs=1)
    fitted = small_vae(likelihood=likelihood, max_epochs=40).fit(X)
    X[3, 1] = value
    with pytest.raises(ValueError, match=message):
        vae.fit(X)
    assert not vae.__sklearn_is_fitted__()
    with pytest.raises(ValueError, match=message):
        fitted.score_samples(X)


@pytest.mark.parametrize("decoder", [None, "autoregressive"])
@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_models_of_every_likelihood_are_certified(small_vae, clusters, likelihood, decoder):
    X = np.round(5 * (clusters - clusters.min()))
    if likelihood in ("bernoulli", "continuous_bernoulli"):
        X = X / X.max()
    vae = small_vae(likelihood=likelihood, decoder=decoder, max_epochs=40).fit(X)
    report = ConstantCollapseCertificate().certify(vae, X)
    assert report.margin_reconstruction is not None
    assert report.teacher_information == pytest.approx(vae.teacher_information_)
