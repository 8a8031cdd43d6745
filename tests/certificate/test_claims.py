"""The claims, each against a value that is known: these fail where a certificate would lie.

``tests/mutants.py`` makes the errors that they are there to see.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from skorch.history import History

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher
from skvae._common.randomness import torch_generator
from skvae.certificate import probe_in_turn, subjects
from skvae.exceptions import SeenRowsWarning
from skvae.information import (
    SequentialMargin,
    margin,
    margin_lower_bound,
    teacher_information,
)
from skvae.nets.networks import draw_latent
from skvae.training.stopping import StopOnPlateau
from skvae.vae.held_out import split_rows

FRACTION = 0.3


def floored(reference):
    """Mix a thousandth of the uniform distribution in, as is done to every reference."""
    return 0.999 * reference + 0.001 / len(reference)


def split(n_samples, seed=0):
    chosen, held_out, _ = split_rows(FRACTION, np.ones(n_samples, bool), seed)
    return chosen, held_out


class Remembering(GaussianMixtureTeacher):
    """A teacher that keeps the rows it was fitted to."""

    def fit(self, X, y=None):
        self.taught_ = np.array(X)
        return super().fit(X, y)


# One sample of rows, and which


@pytest.mark.parametrize("witness_input", ["sample", "mean"])
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_bound_of_an_epoch_is_that_of_the_held_out_rows(small_vae, clusters, witness_input):
    # Unbalanced, so that the averages over both parts are not alike.
    X = clusters[np.r_[:60, 60:75, 120:125]]
    vae = small_vae(
        early_stopping=True,
        validation_fraction=FRACTION,
        max_epochs=1,
        batch_size=4,
        lr=3e-2,
        witness_input=witness_input,
    ).fit(X)
    (record,) = vae.history_
    _, held_out = split(len(X))
    T = vae.teacher_proba(X[held_out])
    mean, log_variance = map(torch.from_numpy, vae.posterior(X[held_out]))
    generator = torch_generator(0, "validation")
    draws = [
        draw_latent(mean[i : i + 4], log_variance[i : i + 4], generator)
        for i in range(0, len(mean), 4)
    ]
    with torch.no_grad():
        codes = torch.cat(draws) if witness_input == "sample" else mean
        log_q = vae.net_.module_.witness(codes).numpy()
    expected = margin_lower_bound(T, log_q, floored(vae.average_teacher_))
    assert record["valid_lower_bound"] == pytest.approx(expected.lower_bound, abs=1e-5)
    assert record["valid_margin"] == pytest.approx(margin(T, log_q), abs=1e-5)


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_what_is_held_out_has_no_part_in_the_fit(small_vae, clusters):
    teacher = Remembering(n_components=3)
    vae = small_vae(
        teacher=teacher, early_stopping=True, validation_fraction=FRACTION, max_epochs=20
    ).fit(clusters)
    chosen, _ = split(len(clusters))
    kept = clusters[chosen]
    np.testing.assert_array_equal(vae.teacher_.taught_, kept)
    units = vae._fitted.units
    np.testing.assert_allclose(units.center, kept.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(units.scale, kept.std(axis=0), rtol=1e-12)
    T = vae.teacher_proba(kept)
    np.testing.assert_allclose(vae.average_teacher_, T.mean(axis=0), rtol=1e-6)
    assert vae.teacher_information_ == pytest.approx(teacher_information(T), rel=1e-6)
    assert vae.margin_ == pytest.approx(margin(T, vae.witness_log_proba(kept)), abs=1e-6)


def test_reference_of_a_report_is_the_average_over_the_training_rows(small_vae, clusters):
    # Half of the rows in one cluster, a tenth in another.
    vae = small_vae(max_epochs=30).fit(clusters[np.r_[:60, 60:108, 120:132]])
    T, log_q = vae.teacher_proba(clusters), vae.witness_log_proba(clusters)
    report = ConstantCollapseCertificate().certify(vae, clusters)
    by_reference = [
        margin_lower_bound(T, log_q, reference).lower_bound
        for reference in (floored(vae.average_teacher_), floored(T.mean(axis=0)))
    ]
    assert report.lower_bound_mean == pytest.approx(by_reference[0], abs=1e-9)
    assert abs(by_reference[1] - by_reference[0]) > 1e-6


def test_view_gap_is_the_margin_that_the_teacher_of_the_rows_takes(small_vae, clusters):
    view = clusters + 0.3 * np.random.default_rng(0).standard_normal(clusters.shape)
    vae = small_vae(max_epochs=30).fit(clusters, X_teacher=view)
    T, T_view = vae.teacher_proba(clusters), vae.teacher_proba(view)
    log_q = vae.witness_log_proba(clusters)
    report = ConstantCollapseCertificate().certify(vae, clusters, X_teacher=view)
    gap = margin(T_view, log_q) - margin(T, log_q)
    assert report.view_gap == pytest.approx(gap, abs=1e-12)
    # The identity of docs/mathematics.rst, with the entropies of the averages.
    expected = np.mean(np.sum((T_view - T) * log_q, axis=1))
    expected += entropy(T_view.mean(axis=0)) - entropy(T.mean(axis=0))
    assert report.view_gap == pytest.approx(expected, abs=1e-12)
    assert abs(gap) > 1e-3


def test_an_epoch_counts_by_its_held_out_margin():
    stop = StopOnPlateau(patience=5, tol=1e-4, guard=0.5)
    stop.handed_back_ = True
    for of_training, held_out in ((0.9, 0.1), (0.1, 0.9)):
        history = History([{"beta": 1.0, "margin": of_training, "valid_margin": held_out}])
        net = SimpleNamespace(history=history, criterion_=SimpleNamespace(beta=1.0))
        assert stop._counts(net) == (held_out >= 0.5)


def test_no_epoch_without_a_margin_is_better_than_one_with():
    stop = StopOnPlateau(patience=5, tol=0.0)
    criterion = SimpleNamespace(alignment_weight=10.0, judge=lambda loss, alignment: loss)
    net = SimpleNamespace(
        criterion_=criterion,
        kl_schedule=None,
        history=History(),
        module_=torch.nn.Linear(1, 1),
        verbose=0,
    )
    stop.on_train_begin(net)
    # Of an information of 1: the least loss has no margin, and that of 0.1 is none yet.
    for loss, found in (
        (1.0, 0.0),
        (0.5, 0.1),
        (4.0, 0.5),
        (3.0, 0.2),
        (0.1, 0.05),
        (3.5, 0.9),
    ):
        net.history.new_epoch()
        of_epoch = {"valid_loss": loss, "valid_margin": found, "valid_alignment": 1.0 - found}
        for name, value in {"epoch": len(net.history), **of_epoch}.items():
            net.history.record(name, value)
        stop.on_epoch_end(net)
    assert stop.best_epoch_ == 4
    assert stop.misses_ == 2


# The witness sees the code alone


def test_a_constant_encoder_leaves_a_witness_nothing(small_vae, clusters):
    vae = small_vae(max_epochs=1).fit(clusters)
    module = vae.net_.module_
    with torch.no_grad():
        for parameter in module.encoder.layers[-1].parameters():
            parameter.zero_()
        module.witness.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    at_mean = vae.witness_log_proba(clusters)
    np.testing.assert_array_equal(at_mean, np.tile(at_mean[:1], (len(clusters), 1)))
    # What it says at a sample is of the noise, which is the same for the rows in any order.
    in_turn = vae.witness_log_proba(clusters, latent="sample")
    np.testing.assert_array_equal(
        in_turn, vae.witness_log_proba(clusters[::-1], latent="sample")
    )
    for state in (0, None):
        one, other = (vae.read_codes(rows, [state]) for rows in (clusters, clusters[::-1]))
        np.testing.assert_array_equal(one.log_witness_mean, at_mean)
        np.testing.assert_array_equal(one.log_witness_samples[0], other.log_witness_samples[0])
    report = ConstantCollapseCertificate().certify(vae, clusters)
    assert report.margin_mean <= 1e-12
    assert report.lower_bound_mean < 0


# Noise


class Noise(BaseEstimator):
    """A collapsed model: what its witness says is drawn from the seed, and kept."""

    def __init__(self):
        self.drawn = []

    def draw(self, random_state, n_rows):
        noise = np.random.default_rng(random_state).standard_normal(n_rows)
        self.drawn.append(noise)
        return noise

    def teacher_proba(self, X):
        return np.eye(2)[X[:, 0] % 2]

    def witness_log_proba(self, X, latent="mean", random_state=None):
        logits = self.draw(random_state, len(X)) if latent == "sample" else np.zeros(len(X))
        odds = logits[:, np.newaxis] * [-0.5, 0.5]
        return odds - np.log(np.exp(odds).sum(axis=1, keepdims=True))

    def posterior(self, X):
        return np.zeros((len(X), 1)), np.zeros((len(X), 1))

    def transform(self, X):
        return np.zeros((len(X), 1))


class Reading(BaseEstimator):
    """A probe that keeps the codes it is fitted to and those it scores."""

    read: list = []  # noqa: RUF012 clones share it

    def fit(self, codes, T):
        return self

    def predict_log_proba(self, codes):
        self.read.append(codes[:, 0])
        return np.log(np.full((len(codes), 2), 0.5))


def assert_all_differ(numbers, n_expected):
    numbers = np.concatenate(numbers)
    assert len(numbers) == len(np.unique(numbers)) == n_expected


@pytest.fixture
def blocks_of_fifty(monkeypatch):
    monkeypatch.setattr(subjects, "BLOCK_ROWS", 50)


def test_no_two_batches_of_a_monitor_share_their_noise(blocks_of_fifty):
    X = np.arange(240)[:, np.newaxis]
    certificate = ConstantCollapseCertificate(latent="sample", n_draws=3)
    values = []
    for _ in range(2):
        model, monitor = Noise(), SequentialMargin([0.5, 0.5])
        for batch in np.split(X, 4):
            certificate.update(monitor, model, batch)
        assert_all_differ(model.drawn, 3 * 240)
        values.append(monitor.log_e_value)
    assert monitor.n_samples == 240
    assert values[0] == values[1]


def test_no_two_blocks_of_a_report_share_their_noise(blocks_of_fifty):
    X = np.arange(170)[:, np.newaxis]
    model = Noise()
    ConstantCollapseCertificate(latent="sample", n_draws=3).certify(model, X)
    assert_all_differ(model.drawn, 3 * 170)
    teacher = SimpleNamespace(predict_proba=Noise().teacher_proba)
    Reading.read.clear()
    ConstantCollapseCertificate(
        latent="sample", n_draws=2, teacher=teacher, witness=Reading()
    ).score(Noise(), X)
    # The first of five blocks of a probe is not scored.
    assert_all_differ(Reading.read, 2 * 136)


# Rows that were seen


def held_out_of(vae, X):
    """Which rows the model was not trained on."""
    return np.flatnonzero(vae._fitted.trained_on.absent(X))


@pytest.fixture(scope="module")
def shuffled(clusters):
    return clusters[np.random.default_rng(0).permutation(len(clusters))]


def test_report_says_whether_the_teacher_has_seen_the_rows(small_vae, shuffled):
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(shuffled[:90])
    vae = small_vae(teacher=FrozenEstimator(teacher)).fit(shuffled[90:150])
    given = ConstantCollapseCertificate(teacher=teacher)
    for rows, of_model, of_teacher in (
        (shuffled[:90], "held-out", "training"),
        (shuffled[90:150], "training", "held-out"),
        (shuffled[80:100], "mixed", "mixed"),
        (shuffled[150:], "held-out", "held-out"),
    ):
        report = ConstantCollapseCertificate().certify(vae, rows)
        assert (report.rows, report.teacher_rows) == (of_model, of_teacher)
        assert given.certify(vae.transform(rows), rows).teacher_rows == of_teacher


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_rows_that_a_donor_was_trained_on_are_not_held_out(small_vae, shuffled):
    setting = {"early_stopping": True, "validation_fraction": FRACTION, "max_epochs": 2}
    donor = small_vae(max_epochs=2).fit(shuffled[:90])
    # With the donor's teacher, which has seen the same rows, and with another.
    for teacher in (None, GaussianMixtureTeacher(n_components=2)):
        vae = small_vae(teacher=teacher, warm_start=donor, **setting).fit(shuffled)
        held_out = held_out_of(vae, shuffled)
        assert len(held_out) == round(FRACTION * 180)
        assert held_out.min() >= 90
        assert "valid_lower_bound" in vae.history_[-1]
    of_all = small_vae(max_epochs=2).fit(shuffled)
    with pytest.warns(SeenRowsWarning):
        vae = small_vae(teacher=None, warm_start=of_all, **setting).fit(shuffled)
    assert "valid_margin" in vae.history_[-1]
    assert "valid_lower_bound" not in vae.history_[-1]


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_rows_that_a_fitted_teacher_has_seen_are_not_held_out(small_vae, shuffled):
    setting = {"early_stopping": True, "validation_fraction": FRACTION, "max_epochs": 2}
    known = GaussianMixtureTeacher(n_components=3, random_state=0).fit(shuffled[:90])
    vae = small_vae(teacher=FrozenEstimator(known), **setting).fit(shuffled)
    assert held_out_of(vae, shuffled).min() >= 90
    assert "valid_lower_bound" in vae.history_[-1]
    # Nobody knows what this one was fitted to.
    unknown = GaussianMixture(3, random_state=0).fit(shuffled[:90])
    vae = small_vae(teacher=FrozenEstimator(unknown), **setting).fit(shuffled)
    assert "valid_margin" in vae.history_[-1]
    assert "valid_lower_bound" not in vae.history_[-1]


class NeverTwice(BaseEstimator):
    """A probe that fails on a code that it was fitted to."""

    def fit(self, codes, T):
        self.seen_ = set(codes[:, 0])
        return self

    def predict_log_proba(self, codes):
        assert not self.seen_ & set(codes[:, 0])
        return np.log(np.full((len(codes), 2), 0.5))


def test_no_probe_is_scored_on_a_copy_of_a_row_that_it_has_seen(clusters):
    kinds = np.repeat(np.arange(200), 2)
    codes = kinds[:, np.newaxis].astype(float)
    T = np.eye(2)[kinds % 2]
    for seed in range(5):
        rows, *_ = probe_in_turn(NeverTwice(), codes, T, seed, groups=kinds)
        unscored = np.setdiff1d(np.arange(400), rows)
        assert not set(kinds[rows]) & set(kinds[unscored])
    # A certificate finds the copies by itself.
    twice = np.repeat(clusters, 2, axis=0)
    teacher = GaussianMixtureTeacher(n_components=2, random_state=0).fit(clusters)
    by_probe = ConstantCollapseCertificate(teacher=teacher, witness=NeverTwice())
    assert by_probe.certify(twice, twice).has_copies


# Scores


def test_score_is_the_elbo_in_closed_form(small_vae, clusters):
    """With a linear decoder of one dimension the expectation over the posterior is known."""
    variance = 0.7
    X = clusters * [1.0, 3.0, 0.2, 1.0]
    vae = small_vae(
        latent_dim=1,
        hidden_layer_sizes=(),
        decoder_variance=variance,
        beta=4.0,
        alignment_weight=20.0,
        max_epochs=20,
    ).fit(X)
    offset, moved = vae.inverse_transform([[0.0], [1.0]])
    direction = moved - offset
    mean, log_variance = (part.astype(float) for part in vae.posterior(X))
    spread = np.exp(log_variance[:, 0])
    squares = np.square(X - offset - mean * direction).sum(axis=1)
    squares += spread * np.square(direction).sum()
    log_density = -0.5 * (squares / variance + X.shape[1] * np.log(2 * np.pi * variance))
    rate = 0.5 * (mean[:, 0] ** 2 + spread - 1 - log_variance[:, 0])
    assert rate.mean() > 0.1
    np.testing.assert_allclose(vae.score_samples(X), log_density - rate, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(vae.posterior_kl(X)[:, 0], rate, rtol=1e-4, atol=1e-5)
