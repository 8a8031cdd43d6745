"""Counts: their densities, the sizes of rows, where rates start, and that training holds."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.linear_model import Ridge
from sklearn.metrics import adjusted_rand_score

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.nets.counts import NegativeBinomialLikelihood, PoissonLikelihood, RowSizes
from skvae.nets.likelihoods import OF_COUNTS
from skvae.objective import negative_binomial_reconstruction, poisson_reconstruction
from skvae.rows.counts import CountUnits, position_of_size
from skvae.training.records import advice_on_divergence

# What is asked here shows after a few epochs.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")

COUNTS = ["total", None, 0]


def uneven(seed=0, n_samples=300, n_features=30, spread=1.0):
    """Draw counts in five clusters whose totals vary by far more than their shares do."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(n_features, 0.3), size=5)
    labels = rng.integers(5, size=n_samples)
    totals = np.exp(rng.normal(6, spread, n_samples))
    return rng.poisson(totals[:, None] * shares[labels]).astype(float), labels, totals


@given(
    x=st.integers(0, 20_000),
    log_mean=st.floats(-8, 9),
    log_dispersion=st.floats(-6, 18),
)
def test_negative_binomial_is_that_of_scipy(x, log_mean, log_dispersion):
    numbers = [torch.tensor([[value]]) for value in (float(x), log_mean, log_dispersion)]
    found = negative_binomial_reconstruction(numbers[0], numbers[1], numbers[2][0]).item()
    # As float32 has them.
    mean, dispersion = (np.exp(each.double().item()) for each in numbers[1:])
    # By sums of logarithms: the gamma function of a large dispersion has no digits left.
    steps = np.arange(x)
    expected = -(
        np.log1p(steps / dispersion).sum()
        + x * (np.log(mean) - np.log1p(mean / dispersion))
        - dispersion * np.log1p(mean / dispersion)
        - np.log(np.arange(1, x + 1)).sum()
    )
    assert found == pytest.approx(expected, rel=2e-5, abs=2e-5 * (1 + x))


def test_negative_binomial_sums_to_one_and_has_the_variance_it_says():
    counts = torch.arange(4000.0, dtype=torch.float64)[:, None]
    log_mean, log_dispersion = torch.full_like(counts, 2.0), torch.tensor([-0.5]).double()
    cost = negative_binomial_reconstruction(counts, log_mean, log_dispersion)
    probability = torch.exp(-cost)
    mean = (probability * counts[:, 0]).sum()
    variance = (probability * (counts[:, 0] - mean) ** 2).sum()
    assert probability.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert mean.item() == pytest.approx(np.exp(2), rel=1e-6)
    assert variance.item() == pytest.approx(np.exp(2) + np.exp(4) / np.exp(-0.5), rel=1e-4)


def test_negative_binomial_of_scipy():
    x = np.array([0, 1, 7, 40])
    mean, dispersion = 5.0, 0.7
    expected = stats.nbinom(dispersion, dispersion / (dispersion + mean)).logpmf(x)
    parameters = torch.tensor(x)[:, None].float(), torch.full((4, 1), np.log(mean))
    found = negative_binomial_reconstruction(
        *parameters, torch.tensor([np.log(dispersion)], dtype=torch.float32)
    )
    np.testing.assert_allclose(-found, expected, rtol=1e-5)


def test_large_dispersion_is_a_poisson_and_gradients_are_numbers():
    x = torch.tensor([[0.0, 3.0, 5000.0]])
    log_mean = torch.log(torch.tensor([[1.0, 4.0, 5100.0]])).requires_grad_()
    for log_dispersion in (-20.0, 0.0, 2.3, 20.0):
        dispersion = torch.full((3,), log_dispersion, requires_grad=True)
        cost = negative_binomial_reconstruction(x, log_mean, dispersion)
        (gradient,) = torch.autograd.grad(cost.sum(), dispersion)
        assert torch.isfinite(cost).all()
        assert torch.isfinite(gradient).all()
    torch.testing.assert_close(cost, poisson_reconstruction(x, log_mean), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", [PoissonLikelihood, NegativeBinomialLikelihood])
@pytest.mark.parametrize("size", COUNTS)
def test_entries_that_are_not_observed_leave_the_sum(kind, size):
    rng = torch.Generator().manual_seed(0)
    x = torch.poisson(torch.full((6, 4), 8.0), generator=rng) + 1
    parameters = torch.randn(6, 4, generator=rng)
    likelihood = kind(counts=CountUnits.of(x.numpy(), size))
    everywhere = torch.ones(6, 4, dtype=torch.bool)
    whole = likelihood.reconstruction(x, parameters)
    torch.testing.assert_close(likelihood.reconstruction(x, parameters, everywhere), whole)
    parts = 0
    for column in range(4):
        observed = torch.zeros(6, 4, dtype=torch.bool)
        observed[:, column] = True
        part = likelihood.reconstruction(x, parameters, observed)
        # An exposure is given.
        assert (column == size) == bool((part == 0).all())
        parts = parts + part
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("size", ["total", 1])
def test_rates_are_in_proportion_to_the_size(size):
    X = np.array([[2.0, 4.0, 6.0], [10.0, 8.0, 0.0], [1.0, 1.0, 1.0]])
    likelihood = PoissonLikelihood(counts=CountUnits.of(X, size))
    x, parameters = torch.tensor(X, dtype=torch.float32), torch.zeros(3, 3)
    rates = likelihood.log_mean(parameters, x).exp().detach()
    sizes = X.sum(axis=1) if size == "total" else X[:, 1]
    np.testing.assert_allclose(rates / rates[0], np.tile(sizes / sizes[0], (3, 1)).T, rtol=1e-5)
    # A row of the typical size is what is expected where there is no row.
    typical = int(np.argsort(sizes)[1])
    counted = [0, 2] if size == 1 else [0, 1, 2]
    expected = likelihood.expectation(parameters)
    np.testing.assert_allclose(expected[0, counted], rates[typical, counted], rtol=1e-5)
    # At the start the rates are the mean ones: all counts over all sizes.
    np.testing.assert_allclose(
        rates[:, counted].sum(axis=0), X[:, counted].sum(axis=0) + 0.5, rtol=1e-5
    )
    if size == 1:
        drawn = likelihood.draw(parameters, torch.Generator().manual_seed(0))
        assert (drawn[:, 1] == np.median(X[:, 1])).all()
        assert (expected[:, 1] == np.median(X[:, 1])).all()


def test_layers_see_no_size():
    x = torch.tensor([[3.0, 5.0, 2.0]])
    sizes = RowSizes(CountUnits("total", 20.0, np.zeros(3)))
    shown = sizes.log_counts(x)
    torch.testing.assert_close(shown, torch.log1p(2 * x))
    torch.testing.assert_close(sizes.log_counts(7 * x), shown)
    # A row without a count.
    assert torch.equal(sizes.log_counts(torch.zeros(1, 3)), torch.zeros(1, 3))
    assert torch.isfinite(torch.log(sizes.relative(torch.zeros(1, 3)))).all()
    # A row by its exposure; and in the memory at hand.
    by_column = RowSizes(CountUnits(1, 20.0, np.zeros(3)))
    torch.testing.assert_close(by_column.log_counts(x), torch.log1p(4 * x))
    out = x.clone()
    assert by_column.log_counts(out, out) is out
    torch.testing.assert_close(out, torch.log1p(4 * x))


@pytest.mark.parametrize("likelihood", OF_COUNTS)
def test_code_and_teacher_are_of_shares_and_not_of_size(small_vae, likelihood):
    X, labels, totals = uneven()
    settings = {"likelihood": likelihood, "teacher": None, "max_epochs": 30, "latent_dim": 4}
    vae = small_vae(**settings).fit(X)
    as_raw = small_vae(**settings, size=None).fit(X)

    def of_teacher(model):
        return adjusted_rand_score(labels, model.teacher_proba(X).argmax(axis=1))

    def of_codes(model):
        found = KMeans(5, n_init=5, random_state=0).fit_predict(model.transform(X))
        return adjusted_rand_score(labels, found)

    def of_size(model):
        codes = model.transform(X)
        return (
            Ridge()
            .fit(codes[::2], np.log(totals[::2]))
            .score(codes[1::2], np.log(totals[1::2]))
        )

    assert vae.teacher_.size_ == "total"
    assert as_raw.teacher_.size_ is None
    assert of_teacher(vae) > 0.6 > 0.4 > of_teacher(as_raw)
    assert of_codes(vae) > 0.9
    assert of_size(vae) + 0.3 < 0.6 < of_size(as_raw)
    # Of nothing but shares: a row counted three times as long has the same code.
    np.testing.assert_allclose(vae.transform(3 * X), vae.transform(X), atol=2e-5)
    assert ConstantCollapseCertificate().certify(vae, X).margin_mean > 0.5


@pytest.mark.parametrize("likelihood", OF_COUNTS)
@pytest.mark.parametrize("size", ["total", None])
def test_training_begins_at_the_mean_rates(small_vae, likelihood, size):
    X, _, _ = uneven(spread=1.5)
    settings = {"likelihood": likelihood, "size": size, "max_epochs": 1, "lr": 1e-12}
    vae = small_vae(**settings, early_stopping=False, batch_size=len(X)).fit(X)
    counts = vae.net_.module__counts
    sizes = X.sum(axis=1, keepdims=True) if size else np.ones((len(X), 1))
    np.testing.assert_allclose(counts.typical_size, np.median(sizes))
    rates = np.exp(counts.log_rates) * sizes / counts.typical_size
    constant = -stats.poisson(rates).logpmf(X).sum(axis=1).mean()
    # Untrained layers double or halve a rate.
    if likelihood == "poisson":
        assert vae.history_[0]["reconstruction"] < 3 * constant
    assert vae.history_[0]["elbo"] > -1e5


@pytest.mark.parametrize("likelihood", OF_COUNTS)
def test_uneven_counts_do_not_diverge(likelihood):
    for seed in range(3):
        X, _, _ = uneven(seed, n_samples=200, n_features=100, spread=2.0)
        for size in ("total", None):
            vae = TeacherGuidedVAE(
                likelihood=likelihood, size=size, max_epochs=8, random_state=seed
            ).fit(X)
            assert all(np.isfinite(record["elbo"]) for record in vae.history_)
            assert vae.history_[0]["elbo"] > -1e6


def test_exposure_by_name_leaves_the_likelihood_and_its_rates_are_found(small_vae):
    import pandas as pd

    rng = np.random.default_rng(0)
    years = rng.uniform(0.2, 30, 400)
    kind = rng.integers(2, size=400)
    rates = np.array([[1.0, 4.0], [5.0, 0.5]])[kind]
    events = rng.poisson(rates * years[:, None])
    X = pd.DataFrame({"fires": events[:, 0], "years": years, "floods": events[:, 1]})
    vae = small_vae(
        likelihood="poisson",
        size="years",
        latent_dim=2,
        max_epochs=60,
        teacher=GaussianMixtureTeacher(n_components=2),
    ).fit(X)
    assert vae.net_.module__counts.size == vae.teacher_.size_ == 1
    typical = np.median(years)
    decoded = vae.inverse_transform(vae.transform(X))
    np.testing.assert_allclose(decoded[:, 1], typical, rtol=1e-6)
    for which in (0, 1):
        found = decoded[kind == which][:, [0, 2]].mean(axis=0) / typical
        np.testing.assert_allclose(found, rates[kind == which][0], rtol=0.15)
    # The sizes of rows are given: only events have a density.
    log_likelihood = vae.log_likelihood(X, vae.transform(X))
    of_rows = decoded[:, [0, 2]] * (years / typical)[:, None]
    expected = stats.poisson(of_rows).logpmf(events).sum(axis=1)
    np.testing.assert_allclose(log_likelihood, expected, rtol=1e-3, atol=1e-3)
    X.loc[3, "years"] = 0.0
    with pytest.raises(ValueError, match="must be positive, got 0"):
        vae.transform(X)


def test_a_size_is_told_to_mixtures_that_were_not_told_one(small_vae):
    X, _, _ = uneven(n_samples=100)
    settings = {"likelihood": "poisson", "max_epochs": 1}
    for size, expected in [("auto", "total"), (None, None), (2, 2)]:
        X[:, 2] += 1
        teacher = GaussianMixtureTeacher(n_components=3, size=size)
        vae = small_vae(**settings, teacher=teacher).fit(X)
        assert vae.teacher_.size_ == expected
        assert teacher.size == size
    # Another view need be no counts.
    vae = small_vae(**settings, teacher=GaussianMixtureTeacher(n_components=3))
    assert vae.fit(X, X_teacher=X[:, :4] - 50).teacher_.size_ is None
    assert GaussianMixtureTeacher(n_components=3).fit(X).size_ is None


def test_teacher_of_counts_is_that_of_logs_of_normalised_counts():
    X, _, _ = uneven(n_samples=200)
    shown = np.log1p(X / X.sum(axis=1, keepdims=True) * np.median(X.sum(axis=1)))
    settings = {"n_components": 4, "random_state": 0}
    teacher = GaussianMixtureTeacher(**settings, size="total").fit(X)
    expected = GaussianMixtureTeacher(**settings).fit(shown)
    np.testing.assert_allclose(
        teacher.predict_proba(X), expected.predict_proba(shown), atol=1e-8
    )
    with pytest.raises(ValueError, match="wants counts of at least 0"):
        GaussianMixtureTeacher(**settings, size="total").fit(X - 5)


def test_positions_and_names_of_sizes():
    assert position_of_size("total", 3, None) == "total"
    assert position_of_size("total", 1, None) is None
    assert position_of_size(None, 3, None) is None
    assert position_of_size(-1, 3, None) == 2
    assert position_of_size("b", 2, ["a", "b"]) == 1
    # A column of this name is meant where there is one.
    assert position_of_size("total", 2, ["a", "total"]) == 1
    with pytest.raises(ValueError, match="size='c' must be"):
        position_of_size("c", 2, ["a", "b"])
    with pytest.raises(ValueError, match="below n_features=2"):
        position_of_size(2, 2, None)


def test_sizes_without_counts_and_of_another_donor_are_refused(small_vae, clusters):
    with pytest.raises(ValueError, match='likelihood="gaussian" has none'):
        small_vae(size=0).fit(clusters)
    X, _, _ = uneven(n_samples=100)
    donor = small_vae(likelihood="poisson", max_epochs=1).fit(X)
    with pytest.raises(ValueError, match="size is 'total' in the fitted model and None"):
        small_vae(likelihood="poisson", size=None, warm_start=donor).fit(X)
    # What rows are measured by goes on with the weights.
    lent = small_vae(likelihood="poisson", warm_start=donor, max_epochs=1).fit(X[:50] * 3)
    assert lent.net_.module__counts is donor.net_.module__counts


def test_advice_names_what_the_net_has(small_vae, clusters):
    X, _, _ = uneven(n_samples=100)
    of_counts = small_vae(likelihood="poisson", max_epochs=1).fit(X).net_
    assert "decoder_variance" not in advice_on_divergence(of_counts)
    assert "max_grad_norm" in advice_on_divergence(of_counts)
    assert "decoder_variance" in advice_on_divergence(
        small_vae(max_epochs=1).fit(clusters).net_
    )


@pytest.mark.parametrize("likelihood", OF_COUNTS)
@pytest.mark.parametrize("size", COUNTS)
def test_saved_models_of_counts_are_what_they_were(small_vae, likelihood, size, tmp_path):
    X, _, _ = uneven(n_samples=100)
    X[:, 0] += 1
    vae = small_vae(likelihood=likelihood, size=size, max_epochs=2).fit(X)
    vae.save(tmp_path / "model.skvae")
    again = TeacherGuidedVAE.load(tmp_path / "model.skvae")
    assert again.size == size
    for read in ("transform", "score_samples", "teacher_proba"):
        np.testing.assert_array_equal(getattr(again, read)(X), getattr(vae, read)(X))
    np.testing.assert_array_equal(again.sample(5), vae.sample(5))
    assert np.isfinite(again.set_params(warm_start=True).fit(X).score(X))
