"""Witnesses that are not linear: what they read, what they promise, where they cannot work."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import ConstantCollapseCertificate, PrecomputedTeacher, rescue
from skvae.information import design_alpha, margin, teacher_information
from skvae.information.simplex import (
    analytic_code,
    escape_force,
    simplex_vertices,
)
from skvae.nets.witnesses import LinearWitness, MLPWitness, SimplexWitness

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")


def distributions(n_components, n_samples=20):
    rng = np.random.default_rng(0)
    return 0.9 * rng.dirichlet(np.linspace(0.3, 2, n_components), n_samples) + (
        0.1 / n_components
    )


def test_mlp_witness_is_its_definition_and_starts_on_the_boundary():
    average = np.array([0.2, 0.3, 0.5])
    generator = torch.Generator().manual_seed(0)
    witness = MLPWitness(4, average, generator)
    z = torch.randn(7, 4, generator=generator)
    np.testing.assert_allclose(witness(z).detach().exp(), np.tile(average, (7, 1)), rtol=1e-6)
    with torch.no_grad():
        witness.head.weight.normal_(generator=generator)
        log_q = witness(z)
        first, last = witness.hidden[0][0], witness.head
        hidden = np.maximum(z.numpy() @ first.weight.numpy().T + first.bias.numpy(), 0)
        logits = hidden @ last.weight.numpy().T + last.bias.numpy()
    expected = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    np.testing.assert_allclose(log_q, expected, atol=1e-5)


def test_mlp_witness_tells_apart_what_no_plane_does():
    # Exclusive or: the classes are the signs of the product of two columns.
    z = np.random.default_rng(0).standard_normal((2000, 2)).astype(np.float32)
    T = np.where(z[:, :1] * z[:, 1:] > 0, [0.95, 0.05], [0.05, 0.95])
    margins = {}
    for witness in (
        LinearWitness(2, T.mean(axis=0)),
        MLPWitness(2, T.mean(axis=0), torch.Generator().manual_seed(0)),
    ):
        optimizer = torch.optim.Adam(witness.parameters(), lr=0.02)
        for _ in range(200):
            optimizer.zero_grad()
            log_q = witness(torch.from_numpy(z))
            (-torch.from_numpy(T).float() * log_q).sum(dim=1).mean().backward()
            optimizer.step()
        margins[type(witness)] = margin(T, log_q.detach())
    assert margins[LinearWitness] < 0.01
    assert margins[MLPWitness] > 0.9 * teacher_information(T)


def test_mlp_witness_certifies_and_without_alignment_stays_constant(small_vae, clusters):
    certificate = ConstantCollapseCertificate(latent="sample", confidence=0.95)
    aligned = small_vae(witness="mlp", max_epochs=60).fit(clusters[::2])
    assert certificate.score(aligned, clusters[1::2]) > 0
    collapsed = small_vae(witness="mlp", max_epochs=5, alignment_weight=0).fit(clusters[::2])
    assert certificate.score(collapsed, clusters[1::2]) < 0
    log_q = collapsed.witness_log_proba(clusters)
    np.testing.assert_allclose(np.ptp(log_q, axis=0), 0, atol=1e-9)


def test_mlp_witness_is_copied_by_a_warm_start_and_forgotten_when_asked(small_vae, clusters):
    donor = small_vae(witness="mlp", max_epochs=30).fit(clusters)
    unmoved = {"lr": 1e-12, "max_epochs": 1}
    kept = rescue(donor, clusters, **unmoved).estimator
    np.testing.assert_allclose(
        kept.witness_log_proba(clusters), donor.witness_log_proba(clusters), atol=1e-5
    )
    fresh = rescue(donor, clusters, reset_witness=True, **unmoved).estimator
    constant = np.tile(donor.average_teacher_, (len(clusters), 1))
    np.testing.assert_allclose(np.exp(fresh.witness_log_proba(clusters)), constant, rtol=1e-4)
    # A witness of another kind begins where it does without a donor.
    linear = rescue(donor, clusters, witness="linear", **unmoved).estimator
    np.testing.assert_allclose(np.exp(linear.witness_log_proba(clusters)), constant, rtol=1e-4)


@pytest.mark.parametrize("n_components", [2, 3, 10, 200])
def test_simplex_witness_reads_analytic_codes_without_error(n_components):
    T = distributions(n_components)
    average = T.mean(axis=0)
    witness = SimplexWitness(n_components + 3, average, scale=2.0)
    codes = np.random.default_rng(1).standard_normal((len(T), n_components + 3))
    codes[:, : n_components - 1] = analytic_code(T, 2.0, average)
    log_q = witness(torch.as_tensor(codes, dtype=torch.float32))
    np.testing.assert_allclose(log_q.exp(), T, rtol=1e-4)


def test_simplex_witness_is_its_definition_and_has_nothing_to_train():
    average = np.array([0.2, 0.3, 0.5])
    witness = SimplexWitness(4, average, scale=1.5)
    z = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    logits = 1.5 * z[:, :2].numpy() @ simplex_vertices(3) + np.log(average)
    expected = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    np.testing.assert_allclose(witness(z), expected, atol=1e-6)
    np.testing.assert_allclose(witness(torch.zeros(1, 4)).exp()[0], average, rtol=1e-6)
    assert not list(witness.parameters())


def test_simplex_witness_exerts_the_escape_force():
    T = distributions(5)
    witness = SimplexWitness(4, T.mean(axis=0), scale=2.0)
    z = torch.zeros(len(T), 4, requires_grad=True)
    log_q = witness(z)
    target = torch.as_tensor(T, dtype=torch.float32)
    (target * (target.log() - log_q)).sum().backward()
    expected = escape_force(T, log_q.detach().double().log_softmax(1).numpy(), scale=2.0)
    np.testing.assert_allclose(-z.grad, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1


def test_simplex_witness_refuses_a_code_that_is_too_short():
    with pytest.raises(ValueError, match="5 components reads 4 dimensions, got latent_dim=3"):
        SimplexWitness(3, [0.2] * 5, scale=1.0)


@pytest.fixture(scope="module")
def simplex_vae(small_vae):
    def make(**parameters):
        return small_vae(**{"witness": "simplex", "max_epochs": 60, **parameters})

    return make


@pytest.fixture(scope="module")
def fitted_simplex(simplex_vae, clusters):
    return simplex_vae().fit(clusters)


@pytest.mark.parametrize("witness_input", ["sample", "mean"])
def test_training_reaches_the_margin_that_was_designed(simplex_vae, clusters, witness_input):
    # A decoder that gains nothing from the code takes nothing from the margin either.
    vae = simplex_vae(witness_input=witness_input, decoder_variance=500.0, max_epochs=150).fit(
        clusters
    )
    T = vae.teacher_proba(clusters)
    design = design_alpha(T, 2.0, 1.0, 10.0, T.mean(axis=0), witness_input)
    assert vae.design_ == pytest.approx(design, rel=1e-6)
    assert vae.designed_margin_ == vae.design_.margin
    reached = vae.history_[-1]["margin"]
    assert reached > vae.designed_margin_ - 0.02
    assert reached < teacher_information(T)


def test_simplex_margin_is_certified_at_both_reads(fitted_simplex, clusters):
    report = ConstantCollapseCertificate(latent="sample").certify(fitted_simplex, clusters)
    assert report.certified
    assert report.lower_bound_mean > 0


def test_design_is_there_only_where_the_witness_is_known(fitted, simplex_vae, clusters):
    assert not hasattr(fitted, "design_")
    vae = simplex_vae(alignment_weight=0, max_epochs=2).fit(clusters)
    assert not hasattr(vae, "designed_margin_")
    vae.set_params(alignment_weight=10).fit(clusters)
    assert vae.designed_margin_ > 0
    vae.set_params(witness="linear").fit(clusters)
    assert not hasattr(vae, "design_")


def test_design_is_printed_before_training(simplex_vae, clusters, capsys):
    simplex_vae(max_epochs=1, verbose=2).fit(clusters)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("Designed margin at the sample:")


def test_simplex_witness_with_too_few_dimensions_says_what_to_change(simplex_vae, clusters):
    with pytest.raises(ValueError, match=r"K = 3 .*2 dimensions.*latent_dim=1.*raise latent"):
        simplex_vae(latent_dim=1).fit(clusters)
    assert simplex_vae(latent_dim=2, max_epochs=1).fit(clusters).n_iter_ == 1


def test_simplex_witness_wants_a_teacher_without_zeros(simplex_vae, clusters):
    T = np.eye(3)[np.repeat([0, 1, 2], 60)]
    vae = simplex_vae(teacher=PrecomputedTeacher())
    with pytest.raises(ValueError, match=r"360 probabilities of exactly 0.*floor"):
        vae.fit(clusters, X_teacher=T)
    assert not vae.__sklearn_is_fitted__()


@pytest.mark.parametrize("scale", [0.0, -1.0, "wide"])
def test_scale_is_positive(simplex_vae, clusters, scale):
    with pytest.raises(ValueError, match="witness_scale"):
        simplex_vae(witness_scale=scale).fit(clusters)


def test_streaming_keeps_the_witness_and_its_design(simplex_vae, clusters):
    vae = simplex_vae(lr=1e-3).partial_fit(clusters)
    before, design = vae.net_.module_.witness.log_average.clone(), vae.design_
    vae.partial_fit(clusters[:1]).partial_fit(clusters[60:])
    assert torch.equal(vae.net_.module_.witness.log_average, before)
    assert vae.design_ is design
    vae.set_params(beta=2.0).partial_fit(clusters)
    assert not hasattr(vae, "design_")
    assert not hasattr(vae, "designed_margin_")


def test_weights_move_between_witnesses_of_both_kinds(
    fitted, fitted_simplex, small_vae, clusters
):
    unmoved = {"lr": 1e-12, "max_epochs": 1}
    vae = small_vae(teacher=None, warm_start=fitted_simplex, **unmoved).fit(clusters)
    np.testing.assert_allclose(
        vae.transform(clusters), fitted_simplex.transform(clusters), atol=1e-5
    )
    # The linear witness it was given is new, and so on the boundary.
    assert vae.margin_ == pytest.approx(0.0, abs=1e-6)
    vae = small_vae(
        teacher=None, warm_start=fitted, witness="simplex", witness_scale=0.5, **unmoved
    ).fit(clusters)
    np.testing.assert_allclose(vae.transform(clusters), fitted.transform(clusters), atol=1e-5)
    assert vae.net_.module_.witness.directions.norm(dim=1)[0] == pytest.approx(0.5)


def test_scale_is_a_setting_of_the_model_to_be_trained(fitted_simplex, simplex_vae, clusters):
    vae = simplex_vae(
        teacher=None, warm_start=fitted_simplex, witness_scale=1.0, lr=1e-12, max_epochs=1
    ).fit(clusters)
    assert vae.net_.module_.witness.directions.norm(dim=1)[0] == pytest.approx(1.0)


def test_simplex_model_survives_pickle_and_clone(fitted_simplex, clusters):
    loaded = pickle.loads(pickle.dumps(fitted_simplex))
    np.testing.assert_array_equal(
        loaded.witness_log_proba(clusters), fitted_simplex.witness_log_proba(clusters)
    )
    assert loaded.design_ == fitted_simplex.design_
    again = clone(fitted_simplex).fit(clusters)
    np.testing.assert_array_equal(again.transform(clusters), fitted_simplex.transform(clusters))


def test_all_of_it_in_pipelines_searches_and_cross_validation(simplex_vae, clusters, tmp_path):
    X = np.random.default_rng(0).permutation(clusters)
    vae = simplex_vae(prefit_epochs=5, guard=0.2, memory=str(tmp_path), max_epochs=20)
    pipeline = make_pipeline(StandardScaler(), vae)
    certificate = ConstantCollapseCertificate()
    search = GridSearchCV(
        pipeline,
        {
            "teacherguidedvae__witness_scale": [1.0, 3.0],
            "teacherguidedvae__prefit_alpha": ["design", 0.5],
            "teacherguidedvae__guard": [None, 0.3],
        },
        scoring=certificate,
        cv=2,
        error_score="raise",
    ).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0
    scores = cross_validate(
        vae.set_params(guard=0.1), X, scoring=certificate, cv=2, error_score="raise"
    )
    assert (scores["test_score"] > 0).all()


@pytest.mark.parametrize(("share", "stable"), [(0.97, True), (1.03, False)])
def test_collapse_under_a_linear_witness_is_stable_up_to_the_maximal_correlation(share, stable):
    """docs/simplex.rst, Proposition 6, by the exact Hessian in one dimension."""
    T = torch.as_tensor(distributions(3, n_samples=8))
    average = T.mean(dim=0)
    deviation = (T - average) / average.sqrt()
    largest = torch.linalg.eigvalsh(deviation.T @ deviation / len(T))[-1]
    weight = share / largest
    nodes, mass = np.polynomial.hermite_e.hermegauss(40)
    noise, mass = torch.as_tensor(nodes), torch.as_tensor(mass / mass.sum())

    def objective(parameters):
        mean, log_variance, bias, slope = parameters.split([len(T), len(T), 3, 3])
        z = mean[:, None] + torch.exp(log_variance / 2)[:, None] * noise
        log_q = torch.log_softmax(z[..., None] * slope + bias + average.log(), dim=-1)
        cost = -(T[:, None] * log_q).sum(dim=-1) @ mass
        rate = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
        return (weight * cost + rate).mean()

    collapsed = torch.zeros(2 * len(T) + 6, dtype=torch.float64)
    gradient = torch.autograd.functional.jacobian(objective, collapsed)
    hessian = torch.autograd.functional.hessian(objective, collapsed)
    assert gradient.abs().max() < 1e-12
    least = torch.linalg.eigvalsh(hessian)[0].item()
    assert (least > -1e-9) == stable
    if not stable:
        assert least < -1e-4
