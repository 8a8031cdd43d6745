"""The strong decoder: what each column may depend on, its density, draws, and collapse."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skvae import ConstantCollapseCertificate, rescue
from skvae.nets.autoregressive import MaskedConvolutions, MaskedDense
from skvae.nets.counts import RowSizes
from skvae.nets.likelihoods import LIKELIHOODS, OF_COUNTS
from skvae.nets.networks import AutoregressiveDecoder

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dependence(layers, latent_dim, n_features):
    """Largest derivatives, at some points, by the code and by the columns in their order."""
    of_code = torch.zeros(n_features, latent_dim)
    of_columns = torch.zeros(n_features, n_features)
    for seed in range(3):
        latent = torch.randn(1, latent_dim, generator=generator(seed))
        x = torch.randn(1, n_features, generator=generator(seed + 100))
        by_code, by_x = torch.autograd.functional.jacobian(layers, (latent, x))
        of_code = torch.maximum(of_code, by_code[0, :, 0].abs())
        of_columns = torch.maximum(of_columns, by_x[0, :, 0].abs())
    order = list(layers.order)
    return of_code[order], of_columns[order][:, order]


@settings(max_examples=30)
@given(
    n_features=st.integers(1, 9),
    latent_dim=st.integers(1, 4),
    hidden=st.lists(st.integers(1, 12), max_size=3),
    seed=st.integers(0, 99),
)
def test_no_column_depends_on_itself_or_a_later_one(n_features, latent_dim, hidden, seed):
    layers = MaskedDense(n_features, latent_dim, hidden, generator(seed))
    of_code, of_columns = dependence(layers, latent_dim, n_features)
    assert torch.triu(of_columns).abs().max() == 0
    assert (of_code.amax(dim=1) > 0).all()


def test_every_column_depends_on_all_before_it():
    layers = MaskedDense(6, 2, (5,), generator())
    _, of_columns = dependence(layers, 2, 6)
    assert (of_columns[torch.tril_indices(6, 6, -1).unbind()] > 0).all()


@settings(max_examples=30)
@given(
    image_shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    channels=st.lists(st.integers(1, 6), min_size=1, max_size=2),
    seed=st.integers(0, 99),
)
def test_no_pixel_depends_on_itself_or_a_later_one(image_shape, channels, seed):
    n_features = int(np.prod(image_shape))
    layers = MaskedConvolutions(image_shape, 2, channels, generator(seed))
    assert sorted(layers.order) == list(range(n_features))
    _, of_columns = dependence(layers, 2, n_features)
    assert torch.triu(of_columns).abs().max() == 0


def test_every_pixel_depends_on_the_code_and_on_the_ones_before_it():
    layers = MaskedConvolutions((2, 3, 3), 2, (8, 8), generator())
    of_code, of_columns = dependence(layers, 2, 18)
    assert (of_code.amax(dim=1) > 0).all()
    assert (of_columns[torch.tril_indices(18, 18, -1).unbind()] > 0).all()
    # Colour by colour within a pixel, pixels row by row.
    assert layers.order[:4] == [0, 9, 1, 10]


def small_decoder(likelihood, n_features=3):
    log_variance = np.log(np.linspace(0.3, 0.6, n_features))
    layers = MaskedDense(n_features, 2, (8,), generator(1))
    for weights in layers.parameters():
        weights.data *= 3
    return AutoregressiveDecoder(layers, LIKELIHOODS[likelihood](log_variance, None))


def test_probabilities_of_all_binary_rows_sum_to_one():
    decoder = small_decoder("bernoulli", 5)
    rows = torch.tensor(list(itertools.product([0.0, 1.0], repeat=5)))
    latent = torch.full((32, 2), 0.4)
    total = torch.exp(-decoder.reconstruction(rows, decoder(latent, rows))).sum()
    assert total.item() == pytest.approx(1.0, abs=1e-5)


def test_draws_are_as_frequent_as_their_probability():
    decoder = small_decoder("bernoulli")
    n_draws = 20_000
    draws = decoder.draw(torch.full((n_draws, 2), 0.4), generator(2))
    rows = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    with torch.no_grad():
        latent = torch.full((8, 2), 0.4)
        probability = torch.exp(-decoder.reconstruction(rows, decoder(latent, rows)))
    places = (draws @ torch.tensor([4.0, 2.0, 1.0])).long()
    found = torch.bincount(places, minlength=8) / n_draws
    error = (probability * (1 - probability) / n_draws).sqrt()
    assert ((found - probability).abs() < 5 * error).all()


def test_gaussian_draws_have_the_conditional_means_and_variances():
    decoder = small_decoder("gaussian")
    latent = torch.full((20_000, 2), 0.4)
    draws = decoder.draw(latent, generator(2))
    with torch.no_grad():
        residuals = draws - decoder(latent, draws)
    np.testing.assert_allclose(residuals.mean(dim=0), 0.0, atol=0.03)
    np.testing.assert_allclose(residuals.var(dim=0), np.linspace(0.3, 0.6, 3), rtol=0.06)
    np.testing.assert_allclose(np.corrcoef(residuals.T)[np.triu_indices(3, 1)], 0, atol=0.03)


@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_expectation_feeds_itself_back(likelihood):
    decoder = small_decoder(likelihood)
    latent = torch.randn(4, 2, generator=generator(3))
    rows = decoder.expectation(latent)
    with torch.no_grad():
        torch.testing.assert_close(decoder.likelihood.expectation(decoder(latent, rows)), rows)


def test_rows_are_needed_beside_their_codes():
    with pytest.raises(ValueError, match="needs the rows beside their codes"):
        small_decoder("gaussian")(torch.zeros(1, 2))


@pytest.fixture(scope="module")
def dependent():
    """Two clusters, told by the first column; each other column repeats the one before."""
    rng = np.random.default_rng(0)
    first = 2 * (np.arange(400) % 2) - 1 + 0.1 * rng.standard_normal(400)
    X = np.column_stack([first, first, first, first]) + 0.1 * rng.standard_normal((400, 4))
    X.setflags(write=False)
    return X


@pytest.fixture(scope="module")
def strong_vae(small_vae):
    """Make an estimator with a decoder that can do without a code."""

    def make(**parameters):
        setting = {
            "decoder": "autoregressive",
            "hidden_layer_sizes": (32,),
            "teacher__n_components": 2,
            "max_epochs": 60,
            "batch_size": 40,
        }
        return small_vae().set_params(**{**setting, **parameters})

    return make


def test_strong_decoder_collapses_by_itself_and_is_certified_with_alignment(
    strong_vae, dependent
):
    certificate = ConstantCollapseCertificate(latent="sample")
    # Between the variance of a column, 1, and the largest eigenvalue of all four, 4: a code
    # pays where each column has to be told, and not where the first tells the others.
    plain = {"alignment_weight": 0, "decoder_variance": 1.5}
    weak = strong_vae(decoder=None, **plain).fit(dependent)
    assert certificate.certify(weak, dependent).rate > 0.3
    collapsed = strong_vae(**plain).fit(dependent)
    report = certificate.certify(collapsed, dependent)
    assert report.rate < 0.01
    assert report.active_units == 0
    assert report.verdict == "collapsed"
    aligned = strong_vae(alignment_weight=10, decoder_variance=1.5).fit(dependent)
    assert certificate.certify(aligned, dependent).certified
    rescued, _, after = rescue(collapsed, dependent)
    assert after.certified
    assert rescued.decoder == "autoregressive"


@pytest.mark.parametrize("architecture", ["dense", "conv"])
@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_estimator_with_either_decoder(strong_vae, dependent, architecture, likelihood):
    X = (dependent - dependent.min()) / np.ptp(dependent)
    if likelihood in OF_COUNTS:
        X = np.round(5 * X)
    vae = strong_vae(
        architecture=architecture,
        image_shape=(1, 2, 2),
        channels=(4,),
        likelihood=likelihood,
        max_epochs=2,
    ).fit(X)
    assert np.isfinite(vae.score_samples(X)).all()
    decoded = vae.inverse_transform(vae.transform(X[:5]))
    assert decoded.shape == (5, 4)
    np.testing.assert_array_equal(decoded, vae.inverse_transform(vae.transform(X[:5])))
    np.testing.assert_array_equal(vae.sample(3), vae.sample(3))
    again = pickle.loads(pickle.dumps(vae))
    np.testing.assert_array_equal(again.score_samples(X), vae.score_samples(X))
    same = strong_vae(**vae.get_params(deep=False)).fit(X)
    np.testing.assert_array_equal(same.score_samples(X), vae.score_samples(X))


def test_strong_decoder_scores_what_a_weak_one_needs_a_code_for(
    strong_vae, small_vae, dependent
):
    setting = {"alignment_weight": 0, "decoder_variance": 0.05, "latent_dim": 1}
    strong = strong_vae(**setting, beta=100.0).fit(dependent)
    weak = strong_vae(**setting, beta=100.0, decoder=None).fit(dependent)
    assert strong.posterior_kl(dependent).sum(axis=1).mean() < 0.01
    assert strong.score(dependent) > weak.score(dependent) + 1


def test_large_counts_are_told_apart():
    decoder = AutoregressiveDecoder(
        MaskedDense(4, 1, (8,), torch.Generator().manual_seed(0)),
        LIKELIHOODS["poisson"](None, None),
        sizes=RowSizes(),
    )
    rows = torch.tensor([[20.0] * 4, [500.0] * 4])
    with torch.no_grad():
        one, other = decoder(torch.zeros(2, 1), rows)
    assert one[0] == other[0]
    assert (one[1:] != other[1:]).all()
