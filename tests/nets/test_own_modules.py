"""A user's own encoder and decoder: copied or built in private, tried first, then trained."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from joblib import parallel_backend
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from torch import nn

from skvae import ConstantCollapseCertificate, rescue
from skvae._common.randomness import private_torch_state
from skvae.nets.own_modules import is_same_part, multiply_adds, own_module

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")


class OwnEncoder(nn.Module):
    """Means and log variances from heads of their own, behind dropout."""

    def __init__(self, shape, latent_dim):
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(int(np.prod(shape)), 12), nn.Tanh(), nn.Dropout(0.1)
        )
        self.mean = nn.Linear(12, latent_dim)
        self.log_variance = nn.Linear(12, latent_dim)

    def forward(self, x):
        features = self.body(x)
        return self.mean(features), self.log_variance(features)


def own_decoder(shape, latent_dim):
    layers = [nn.Linear(latent_dim, 12), nn.Tanh(), nn.Linear(12, int(np.prod(shape)))]
    return nn.Sequential(*layers, nn.Unflatten(1, shape))


OWN = {"encoder": OwnEncoder, "decoder": own_decoder}


def weights(module):
    return torch.cat([weight.detach().flatten() for weight in module.parameters()])


@pytest.mark.parametrize("image_shape", [None, (1, 2, 2)])
def test_classes_and_functions_are_built_and_trained(small_vae, clusters, image_shape):
    vae = small_vae(image_shape=image_shape, max_epochs=60, **OWN).fit(clusters)
    assert ConstantCollapseCertificate(latent="sample").certify(vae, clusters).certified
    assert isinstance(vae.net_.module_.encoder.layers[1], OwnEncoder)
    assert vae.inverse_transform(vae.transform(clusters)).shape == clusters.shape
    assert vae.sample(3).shape == (3, 4)
    error = np.square(vae.inverse_transform(vae.transform(clusters)) - clusters).mean()
    assert error < clusters.var(axis=0).mean()


def test_modules_of_rows_are_shown_rows_and_those_of_images_images(small_vae, clusters):
    shapes = []

    class Spy(nn.Module):
        def __init__(self, shape, latent_dim):
            super().__init__()
            shapes.append(shape)
            self.layer = nn.Linear(4, 2 * latent_dim)

        def forward(self, x):
            shapes.append(tuple(x.shape[1:]))
            return self.layer(x.flatten(1))

    small_vae(encoder=Spy).fit(clusters)
    assert set(shapes) == {(4,)}
    shapes.clear()
    small_vae(encoder=Spy, image_shape=(1, 2, 2)).fit(clusters)
    assert set(shapes) == {(1, 2, 2)}


def test_one_own_module_goes_with_layers_of_ours(small_vae, clusters):
    for changes in (
        {"encoder": OwnEncoder, "decoder": "autoregressive"},
        {"decoder": own_decoder, "architecture": "conv", "image_shape": (1, 2, 2)},
    ):
        vae = small_vae(**changes).fit(clusters)
        assert np.isfinite(vae.score_samples(clusters)).all()


def test_instance_is_where_training_starts_and_stays_as_it_was(small_vae, clusters):
    encoder, decoder = OwnEncoder((4,), 3), own_decoder((4,), 3)
    before = weights(encoder).clone(), weights(decoder).clone()
    vae = small_vae(encoder=encoder, decoder=decoder, lr=1e-12, max_epochs=1).fit(clusters)
    torch.testing.assert_close(weights(vae.net_.module_.encoder), before[0])
    vae.set_params(lr=1e-2, max_epochs=20).fit(clusters)
    assert not torch.allclose(weights(vae.net_.module_.encoder), before[0])
    assert torch.equal(weights(encoder), before[0])
    assert torch.equal(weights(decoder), before[1])
    assert encoder.training
    assert vae.encoder is encoder


def test_frozen_weights_of_an_instance_stay_frozen(small_vae, clusters):
    encoder = OwnEncoder((4,), 3).requires_grad_(False)
    vae = small_vae(encoder=encoder, weight_decay=0.1).fit(clusters)
    assert torch.equal(weights(vae.net_.module_.encoder), weights(encoder))


def test_a_frozen_encoder_cannot_be_prefitted(small_vae, clusters):
    encoder = OwnEncoder((4,), 3).requires_grad_(False)
    vae = small_vae(encoder=encoder, witness="simplex", prefit_epochs=2)
    with pytest.raises(ValueError, match=r"prefit_epochs=2 trains the encoder, and all"):
        vae.fit(clusters)
    assert not hasattr(vae, "net_")


def batch_normalised(shape, latent_dim):
    return nn.Sequential(nn.Linear(*shape, 8), nn.BatchNorm1d(8), nn.Linear(8, 2 * latent_dim))


@pytest.mark.parametrize(
    "changes",
    [{}, {"aggressive_steps": 2}, {"witness": "simplex", "prefit_epochs": 2}],
    ids=["plain", "aggressive", "prefit"],
)
def test_batch_normalisation_takes_a_last_batch_of_one_row(small_vae, clusters, changes):
    rows = clusters[np.random.default_rng(0).permutation(len(clusters))[:129]]
    vae = small_vae(encoder=batch_normalised, batch_size=64, **changes).fit(rows)
    assert np.isfinite(vae.score_samples(rows)).all()


def test_batch_normalisation_of_one_row_says_what_to_do(small_vae, clusters):
    vae = small_vae(encoder=batch_normalised)
    with pytest.raises(ValueError, match=r"a batch of one row, .* batch_size of at least 2"):
        vae.set_params(batch_size=1).fit(clusters)
    assert not hasattr(vae, "net_")
    vae.set_params(batch_size=64).partial_fit(clusters)
    before = vae.transform(clusters)
    with pytest.raises(ValueError, match="a batch of one row"):
        vae.partial_fit(clusters[:1])
    np.testing.assert_array_equal(vae.transform(clusters), before)


def test_same_seed_same_bits_and_the_global_state_stays(small_vae, clusters):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = small_vae(**OWN).fit(clusters)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    second = small_vae(**OWN).fit(clusters)
    np.testing.assert_array_equal(first.transform(clusters), second.transform(clusters))
    other = small_vae(random_state=1, **OWN).fit(clusters)
    assert not np.array_equal(first.transform(clusters), other.transform(clusters))


def test_state_comes_back_after_an_error():
    before = torch.get_rng_state()

    def fail():
        with private_torch_state(0):
            torch.rand(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_goes_on_with_other_noise(small_vae, clusters):
    vae = small_vae(encoder=OwnEncoder, lr=1e-12, max_epochs=1)
    vae.partial_fit(clusters).partial_fit(clusters)
    assert vae.history_[0]["rate"] != vae.history_[1]["rate"]


def test_lazy_layers_are_drawn_in_private(small_vae, clusters):
    def lazy(shape, latent_dim):
        return nn.LazyLinear(2 * latent_dim)

    before = torch.get_rng_state()
    one, other = (small_vae(encoder=lazy).fit(clusters) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(one.transform(clusters), other.transform(clusters))


def lazy_layers(width):
    return nn.Sequential(nn.LazyLinear(width), nn.Tanh(), nn.LazyLinear(6))


def test_training_goes_on_from_lazy_layers(small_vae, clusters):
    vae = small_vae(encoder=lazy_layers(8))
    assert len(vae.partial_fit(clusters).partial_fit(clusters).history_) == 2
    again = small_vae(encoder=lazy_layers(8), warm_start=True, lr=1e-12, max_epochs=1)
    first = again.fit(clusters).transform(clusters)
    np.testing.assert_allclose(again.fit(clusters).transform(clusters), first, atol=1e-6)
    borrower = small_vae(encoder=lazy_layers(8), warm_start=again, lr=1e-12, max_epochs=1)
    np.testing.assert_allclose(borrower.fit(clusters).transform(clusters), first, atol=1e-6)
    with pytest.raises(ValueError, match="encoder is"):
        small_vae(encoder=lazy_layers(9), warm_start=again).fit(clusters)


def wide_encoder(width, shape, latent_dim, *, activation=nn.Tanh):
    n_features = int(np.prod(shape))
    return nn.Sequential(
        nn.Linear(n_features, width), activation(), nn.Linear(width, 2 * latent_dim)
    )


def test_training_goes_on_from_a_copied_partial_function(small_vae, clusters):
    encoder = partial(wide_encoder, 8, activation=nn.ReLU)
    vae = small_vae(encoder=encoder, max_epochs=2).fit(clusters)
    again = pickle.loads(pickle.dumps(vae)).partial_fit(clusters)
    np.testing.assert_array_equal(
        again.transform(clusters), vae.partial_fit(clusters).transform(clusters)
    )
    clone(vae).set_params(warm_start=FrozenEstimator(vae)).fit(clusters)
    vae.set_params(encoder=partial(wide_encoder, 9, activation=nn.ReLU), warm_start=vae)
    with pytest.raises(ValueError, match="encoder is"):
        vae.fit(clusters)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (partial(wide_encoder, np.arange(3), activation=nn.ReLU), True),
        (partial(wide_encoder, torch.arange(3), activation=nn.ReLU), False),
        (partial(wide_encoder, np.arange(4), activation=nn.ReLU), False),
        (partial(wide_encoder, np.arange(3), activation=nn.Tanh), False),
        (partial(wide_encoder, np.arange(3)), False),
        (partial(wide_encoder, activation=nn.ReLU), False),
        (partial(own_decoder, np.arange(3), activation=nn.ReLU), False),
        (wide_encoder, False),
    ],
)
def test_partial_functions_are_the_same_by_all_that_they_hold(other, same):
    one = partial(wide_encoder, np.arange(3), activation=nn.ReLU)
    assert is_same_part(one, other) == is_same_part(other, one) == same


def linear(n_in, n_out):
    return lambda shape, latent_dim: nn.Linear(n_in, n_out)


def halves(shape, latent_dim):
    class Halves(nn.Module):
        def forward(self, x):
            return x[:, :2], x[:, :3]

    return Halves()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"encoder": linear(4, 5)},
            ValueError,
            r"encoder must map.*\(2, 6\).*returned \(2, 5\)",
        ),
        (
            {"encoder": halves},
            ValueError,
            r"encoder must map.*\(2, 3\); it returned \(\(2, 2\)",
        ),
        ({"encoder": linear(7, 6)}, ValueError, r"encoder fails on a tensor of shape \(2, 4\)"),
        (
            {"decoder": linear(3, 5)},
            ValueError,
            r"decoder must map.*\(2, 4\); it ret.*\(2, 5\)",
        ),
        ({"decoder": linear(2, 4)}, ValueError, r"decoder fails on a tensor of shape \(2, 3\)"),
        (
            {"decoder": linear(3, 5), "image_shape": (1, 2, 2)},
            ValueError,
            r"\(2, 4\) or \(2, 1, 2, 2\); it returned \(2, 5\)",
        ),
        ({"encoder": lambda shape, latent_dim: 3}, TypeError, "encoder must be a torch.nn"),
        ({"encoder": 3}, ValueError, "encoder"),
        ({"decoder": "strong"}, ValueError, "decoder"),
    ],
)
def test_modules_that_do_not_fit_are_refused_before_anything_is_fitted(
    small_vae, clusters, changes, error, message
):
    class Unfitted:
        def fit(self, X):
            raise AssertionError

        predict_proba = fit

    vae = small_vae(teacher=Unfitted(), **changes)
    with pytest.raises(error, match=message):
        vae.fit(clusters)
    assert not hasattr(vae, "net_")


def test_pickle_keeps_all(small_vae, clusters):
    vae = small_vae(encoder=OwnEncoder((4,), 3), decoder=own_decoder).fit(clusters)
    again = pickle.loads(pickle.dumps(vae))
    np.testing.assert_array_equal(again.score_samples(clusters), vae.score_samples(clusters))


def test_weights_are_lent_to_the_same_modules_alone(small_vae, clusters):
    instance = {"encoder": OwnEncoder((4,), 3)}
    for own in (OWN, instance):
        donor = small_vae(**own).fit(clusters)
        vae = small_vae(warm_start=FrozenEstimator(donor), lr=1e-12, max_epochs=1, **own)
        vae = clone(vae).fit(clusters)
        np.testing.assert_allclose(
            vae.transform(clusters), donor.transform(clusters), atol=1e-6
        )
    with pytest.raises(ValueError, match="encoder is"):
        small_vae(warm_start=donor).fit(clusters)
    with pytest.raises(ValueError, match="encoder is"):
        small_vae(warm_start=donor, encoder=nn.Linear(4, 6)).fit(clusters)


def test_rescue_and_continued_training(small_vae, clusters):
    collapsed = small_vae(alignment_weight=0, decoder_variance=50.0, max_epochs=40, **OWN).fit(
        clusters
    )
    _, before, after = rescue(collapsed, clusters, max_epochs=60)
    assert not before.certified
    assert after.certified
    vae = small_vae(warm_start=True, **OWN).fit(clusters)
    assert vae.fit(clusters).n_iter_ == 10


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search_in_two_jobs_gives_the_same_bits(small_vae, clusters, backend):
    search = GridSearchCV(
        small_vae(decoder=own_decoder, max_epochs=2),
        {"encoder": [OwnEncoder, OwnEncoder((4,), 3)], "alignment_weight": [2.0, 10.0]},
        scoring=ConstantCollapseCertificate(),
        cv=2,
    )
    alone = clone(search).fit(clusters[::3]).cv_results_["mean_test_score"]
    with parallel_backend(backend):
        together = search.set_params(n_jobs=2).fit(clusters[::3])
    np.testing.assert_array_equal(together.cv_results_["mean_test_score"], alone)


def test_multiply_adds_count_weights_as_often_as_they_are_used():
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 5)
    )
    x = torch.zeros(1, 2, 6, 6)
    assert multiply_adds(module, x) == 2 * 3 * 9 * 16 + 48 * 5
    assert module.training
    assert (module[1].running_mean == 0).all()


def test_what_a_function_made_is_a_module_of_its_own():
    instance = nn.Linear(4, 6)
    copy = own_module(instance, "encoder", (4,), 3, seed=0)
    assert copy is not instance
    assert torch.equal(copy.weight, instance.weight)
    one, other = (own_module(own_decoder, "decoder", (4,), 3, seed=0) for _ in range(2))
    assert torch.equal(weights(one), weights(other))


class Fickle(nn.Module):
    """A linear layer that, once told to, returns something else."""

    wrong = None

    def __init__(self, n_in, n_out):
        super().__init__()
        self.layer = nn.Linear(n_in, n_out)

    def forward(self, x):
        made = self.layer(x)
        return made if Fickle.wrong is None else Fickle.wrong(made)


def fickle_encoder(shape, latent_dim):
    return Fickle(shape[0], 2 * latent_dim)


def fickle_decoder(shape, latent_dim):
    return Fickle(latent_dim, shape[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda made: made[:-1], "encoder must return a row for each"),
        (lambda made: made[:, :-2], "codes of latent_dim=3"),
        (lambda made: made * float("nan"), "NaN or infinity"),
    ],
    ids=["a row less", "narrower", "NaN"],
)
def test_what_an_encoder_returns_later_is_checked(
    small_vae, clusters, monkeypatch, wrong, message
):
    vae = small_vae(encoder=fickle_encoder).fit(clusters)
    codes = vae.transform(clusters)
    monkeypatch.setattr(Fickle, "wrong", staticmethod(wrong))
    for call in (vae.transform, vae.posterior, vae.posterior_kl, vae.witness_log_proba):
        with pytest.raises(ValueError, match=message):
            call(clusters)
    monkeypatch.setattr(Fickle, "wrong", None)
    np.testing.assert_array_equal(vae.transform(clusters), codes)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_module_that_drops_a_row_in_training_is_named(small_vae, clusters, monkeypatch, part):
    make = {"encoder": fickle_encoder, "decoder": fickle_decoder}[part]
    # The trial rows are two, and so are let through.
    drop = staticmethod(lambda made: made[:-1] if len(made) > 2 else made)
    monkeypatch.setattr(Fickle, "wrong", drop)
    vae = small_vae(**{part: make})
    with pytest.raises(ValueError, match=f"{part} must return a row for each"):
        vae.fit(clusters)
    assert not hasattr(vae, "net_")
