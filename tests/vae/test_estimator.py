"""What the estimator promises: reads, scores, units, repeatability, round trips."""

import copy
import pickle
import random
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from shared import READS
from sklearn.exceptions import NotFittedError

from skvae import TeacherGuidedVAE
from skvae.exceptions import UncertifiedWarning, WeakAlignmentWarning
from skvae.information import margin

each_read = pytest.mark.parametrize("read", READS.values(), ids=READS)


def test_shapes_and_types(fitted, clusters):
    assert fitted.transform(clusters).shape == (180, 3)
    assert fitted.posterior_kl(clusters).shape == (180, 3)
    assert fitted.score_samples(clusters).shape == (180,)
    assert fitted.inverse_transform(fitted.transform(clusters)).shape == clusters.shape
    assert fitted.sample(7).shape == (7, 4)
    assert isinstance(fitted.score(clusters), float)
    assert isinstance(fitted.margin_, float)
    assert fitted.device_ == "cpu"
    np.testing.assert_array_equal(
        fitted.get_feature_names_out(), [f"teacherguidedvae{i}" for i in range(3)]
    )


def test_data_frames_in_and_out(small_vae, clusters):
    frame = pd.DataFrame(clusters, columns=list("abcd"))
    vae = small_vae().set_output(transform="pandas").fit(frame)
    assert list(vae.transform(frame).columns) == list(vae.get_feature_names_out())
    assert list(vae.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="same order"):
        vae.transform(frame[list("dcba")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae.witness_log_proba(frame)
        vae.teacher_proba(frame)


def test_margin_is_that_of_the_training_rows_at_the_mean(fitted, clusters):
    T, log_q = fitted.teacher_proba(clusters), fitted.witness_log_proba(clusters)
    assert fitted.margin_ == pytest.approx(margin(T, log_q), abs=1e-6)
    assert 0 < fitted.margin_ < fitted.teacher_information_


def test_witness_gives_distributions(fitted, clusters):
    for latent in ("mean", "sample"):
        log_q = fitted.witness_log_proba(clusters, latent=latent)
        np.testing.assert_allclose(np.exp(log_q).sum(axis=1), 1.0, atol=1e-14)
    with pytest.raises(ValueError, match="'mean' or 'sample'"):
        fitted.witness_log_proba(clusters, latent="mode")


def test_draws_of_the_code_repeat_and_can_be_varied(fitted, clusters):
    read = fitted.witness_log_proba
    first = read(clusters, latent="sample")
    np.testing.assert_array_equal(first, read(clusters, latent="sample"))
    assert not np.array_equal(first, read(clusters, latent="sample", random_state=1))
    np.testing.assert_array_equal(fitted.sample(3), fitted.sample(3))
    assert not np.array_equal(fitted.sample(3), fitted.sample(3, random_state=1))
    for bad in (0, 2.5, "many"):
        with pytest.raises(ValueError, match="at least 1"):
            fitted.sample(bad)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_samples_look_like_the_data(small_vae, likelihood):
    rng = np.random.default_rng(0)
    X = rng.normal(50, 3, (500, 2)) if likelihood == "gaussian" else rng.random((500, 2)) < 0.3
    vae = small_vae(likelihood=likelihood, alignment_weight=0, max_epochs=100).fit(X)
    drawn = vae.sample(2000)
    deviation = X.std(axis=0)
    np.testing.assert_allclose(drawn.mean(axis=0), X.mean(axis=0), atol=0.25 * deviation.max())
    np.testing.assert_allclose(drawn.std(axis=0), deviation, rtol=0.25)
    if likelihood == "bernoulli":
        assert set(np.unique(drawn)) == {0.0, 1.0}


def test_inverse_transform_wants_codes(fitted):
    with pytest.raises(ValueError, match="latent_dim=3"):
        fitted.inverse_transform(np.zeros((2, 4)))


def test_everything_before_fit_says_not_fitted(clusters):
    for call in (*READS.values(), TeacherGuidedVAE.inverse_transform, TeacherGuidedVAE.score):
        with pytest.raises(NotFittedError):
            call(TeacherGuidedVAE(), clusters)
    with pytest.raises(NotFittedError):
        TeacherGuidedVAE().sample()


@pytest.mark.parametrize("decoder_variance", [0.3, "learned"])
def test_elbo_and_variance_are_in_the_units_of_x(small_vae, wine, decoder_variance):
    """Rescaling every column by c moves the log density by its log determinant."""
    c = 1000.0
    setting = {"alignment_weight": 0, "max_epochs": 20}
    fixed = decoder_variance != "learned"
    vae = small_vae(decoder_variance=decoder_variance, **setting).fit(wine)
    scaled_variance = c**2 * decoder_variance if fixed else decoder_variance
    scaled = small_vae(decoder_variance=scaled_variance, **setting).fit(c * wine)
    expected = vae.score(wine) - wine.shape[1] * np.log(c)
    assert scaled.score(c * wine) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(scaled.transform(c * wine), vae.transform(wine), atol=1e-3)
    np.testing.assert_allclose(
        scaled.inverse_transform(scaled.transform(c * wine)),
        c * vae.inverse_transform(vae.transform(wine)),
        rtol=1e-3,
    )


def test_score_is_the_elbo_at_beta_one_and_independent_of_training_weights(fitted, clusters):
    total = fitted.score_samples(clusters).astype(float)
    assert fitted.score(clusters) == pytest.approx(total.mean())
    reweighted = copy.deepcopy(fitted).set_params(beta=7.0, alignment_weight=3.0)
    np.testing.assert_array_equal(
        reweighted.score_samples(clusters), fitted.score_samples(clusters)
    )


def test_score_of_a_collapsed_model_is_a_gaussian_log_density(small_vae, clusters):
    """With a useless code and a fixed variance the ELBO is the density of one Gaussian."""
    variance = 50.0
    vae = small_vae(alignment_weight=0, decoder_variance=variance, max_epochs=300).fit(clusters)
    squares = ((clusters - clusters.mean(axis=0)) ** 2).sum(axis=1)
    density = -0.5 * (squares / variance + 4 * np.log(2 * np.pi * variance))
    assert vae.score(clusters) == pytest.approx(density.mean(), abs=5e-3)


@each_read
def test_results_do_not_depend_on_the_rows_beside_them(fitted, clusters, read):
    if read is READS["witness at a sample"]:
        pytest.skip("its noise is drawn row after row")
    together = read(fitted, clusters)
    apart = np.concatenate([read(fitted, clusters[i : i + 50]) for i in range(0, 180, 50)])
    np.testing.assert_allclose(apart, together, rtol=1e-5, atol=1e-5)


def test_chunks_of_rows_join_without_a_seam(fitted, clusters):
    many = np.tile(clusters, (12, 1))
    codes = fitted.transform(many)
    assert len(codes) == 2160
    np.testing.assert_allclose(codes[-180:], codes[:180], atol=1e-5)


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_same_seed_same_weights_and_history_to_the_bit(small_vae, clusters):
    first, second = (small_vae(early_stopping=True).fit(clusters) for _ in range(2))
    for one, other in zip(
        first.net_.module_.state_dict().values(),
        second.net_.module_.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(one, other)

    def untimed(vae):
        return [{k: v for k, v in record.items() if k != "seconds"} for record in vae.history_]

    assert untimed(first) == untimed(second)
    other = small_vae(random_state=1).fit(clusters)
    assert not np.array_equal(other.transform(clusters), first.transform(clusters))


def test_number_of_threads_does_not_change_a_bit(small_vae, digit_images, set_threads):
    codes = []
    for n in (1, 2):
        set_threads(n)
        codes.append(small_vae(teacher=None).fit(digit_images).transform(digit_images))
        assert torch.get_num_threads() == n
    np.testing.assert_array_equal(*codes)


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_global_random_states_are_neither_read_nor_changed(small_vae, clusters, seed):
    def states():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = states()
    vae = small_vae(random_state=seed, early_stopping=True).fit(clusters)
    vae.partial_fit(clusters)
    for read in READS.values():
        read(vae, clusters)
    vae.sample(3)
    assert states() == before


def test_global_torch_settings_do_not_reach_inside(small_vae, clusters):
    expected = small_vae().fit(clusters).transform(clusters)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            vae = small_vae().fit(clusters)
        assert vae.sample(2).shape == (2, 4)
        np.testing.assert_array_equal(vae.transform(clusters), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("trip", ["pickle", "joblib", "deepcopy"])
def test_round_trips_keep_every_bit_and_add_nothing(fitted, clusters, tmp_path, trip):
    if trip == "pickle":
        copied = pickle.loads(pickle.dumps(fitted))
    elif trip == "joblib":
        joblib.dump(fitted, tmp_path / "vae.joblib")
        copied = joblib.load(tmp_path / "vae.joblib")
    else:
        copied = copy.deepcopy(fitted)
    assert vars(copied).keys() == vars(fitted).keys()
    assert copied.history_ == fitted.history_
    for read in READS.values():
        np.testing.assert_array_equal(read(copied, clusters), read(fitted, clusters))
    copied.partial_fit(clusters)
    assert copied.n_iter_ == fitted.n_iter_ + 1


def test_pickle_holds_little_more_than_the_weights(small_vae, clusters):
    vae = small_vae(hidden_layer_sizes=(256, 256)).fit(np.tile(clusters, (50, 1)))
    weights = 4 * sum(parameter.numel() for parameter in vae.net_.module_.parameters())
    assert len(pickle.dumps(vae)) < weights + 10_000


def test_learned_variance_is_about_the_variance_of_the_residuals(small_vae, clusters):
    vae = small_vae(max_epochs=300, alignment_weight=0).fit(clusters)
    residuals = clusters - vae.inverse_transform(vae.transform(clusters))
    decoder = vae.net_.module_.decoder
    learned = (
        decoder.likelihood.log_variance.exp().detach().numpy() * vae._fitted.units.scale**2
    )
    assert np.all(learned > 0.5 * residuals.var(axis=0))
    assert np.all(learned < 3 * residuals.var(axis=0))


def test_weight_not_above_beta_is_warned_of(small_vae, clusters):
    for weight, beta in ((1.0, 1.0), (2.0, 4.0)):
        with pytest.warns(WeakAlignmentWarning, match="not above beta"):
            small_vae(alignment_weight=weight, beta=beta).fit(clusters)
    with warnings.catch_warnings():
        warnings.simplefilter("error", WeakAlignmentWarning)
        small_vae(alignment_weight=0).fit(clusters)
        small_vae(alignment_weight=1.0, beta=0.0, max_epochs=60).fit(clusters)


def test_uncertified_training_is_warned_of_where_alignment_was_asked_for(small_vae, clusters):
    with pytest.warns(
        UncertifiedWarning, match="margin on the training rows.*alignment_weight"
    ):
        small_vae(lr=1.0, max_epochs=1).fit(clusters)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UncertifiedWarning)
        small_vae(alignment_weight=0).fit(clusters)
        small_vae(max_epochs=60).fit(clusters)


def test_witness_can_be_trained_on_the_mean(small_vae, clusters):
    vae = small_vae(witness_input="mean", max_epochs=60).fit(clusters)
    at_mean = vae.witness_log_proba(clusters)
    assert margin(vae.teacher_proba(clusters), at_mean) == pytest.approx(vae.margin_, abs=1e-6)
    assert vae.history_[-1]["margin"] == pytest.approx(vae.margin_, abs=0.1)


def test_weight_decay_shrinks_weights_and_leaves_the_boundary_alone(small_vae, clusters):
    plain, decayed = (
        small_vae(alignment_weight=0, weight_decay=decay, max_epochs=50).fit(clusters)
        for decay in (0.0, 1.0)
    )
    norm = [vae.net_.module_.encoder.layers[0].weight.norm().item() for vae in (plain, decayed)]
    assert norm[1] < norm[0]
    assert decayed.margin_ == pytest.approx(0.0, abs=1e-6)


def test_partial_fit_goes_on_where_it_stopped(small_vae, clusters):
    vae = small_vae(random_state=3)
    margins = []
    for _ in range(30):
        vae.partial_fit(clusters)
        margins.append(vae.margin_)
    assert vae.n_iter_ == len(vae.history_) == 30
    assert margins[-1] > margins[0] + 0.5
    vae.partial_fit(clusters[:1])
    assert vae.n_iter_ == 31
    assert np.isfinite(vae.history_[-1]["loss"])


def test_partial_fit_is_one_epoch_of_fit(small_vae, clusters):
    whole = small_vae(max_epochs=3).fit(clusters)
    step_by_step = small_vae()
    for _ in range(3):
        step_by_step.partial_fit(clusters)
    np.testing.assert_array_equal(step_by_step.transform(clusters), whole.transform(clusters))


def test_partial_fit_obeys_settings_changed_in_between(small_vae, clusters):
    vae = small_vae().partial_fit(clusters)
    before = vae.transform(clusters)
    vae.set_params(lr=1e-12).partial_fit(clusters)
    np.testing.assert_allclose(vae.transform(clusters), before, atol=1e-6)


@pytest.mark.parametrize("variances", [("learned", 1.0), (1.0, "learned"), (1.0, 2.0)])
def test_partial_fit_survives_a_change_of_the_decoder_variance(small_vae, clusters, variances):
    first, second = variances
    vae = small_vae(decoder_variance=first).partial_fit(clusters)
    vae.set_params(decoder_variance=second).partial_fit(clusters)
    moments = [len(state) for state in vae.net_.optimizer_.moments().values()]
    assert len(moments) == len(list(vae.net_.module_.parameters()))
    assert np.isfinite(vae.score(clusters))
    vae.set_params(decoder_variance=first, warm_start=True).fit(clusters)
    assert vae.n_iter_ == 7


def test_partial_fit_carries_the_moments_of_the_optimiser_on(small_vae, clusters):
    vae = small_vae().partial_fit(clusters).partial_fit(clusters)
    steps = {float(state["step"]) for state in vae.net_.optimizer_.moments().values()}
    assert steps == {4.0}


def test_warnings_turned_into_errors_leave_the_estimator_as_it_was(small_vae, clusters):
    vae = small_vae().fit(clusters)
    before = dict(vars(vae))
    vae.set_params(lr=1.0, max_epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UncertifiedWarning)
        with pytest.raises(UncertifiedWarning):
            vae.fit(clusters)
    assert {**vars(vae), "lr": 1e-2, "max_epochs": 5} == before


def test_parameters_are_kept_as_given_and_searchable():
    vae = TeacherGuidedVAE(hidden_layer_sizes=[4, 5])
    assert vae.get_params()["hidden_layer_sizes"] == [4, 5]
    assert all(name in vae.get_params() for name in vae._parameter_constraints)
    with pytest.raises(TypeError):
        TeacherGuidedVAE(8)


@pytest.mark.parametrize(
    "bad",
    [
        {"latent_dim": 0},
        {"hidden_layer_sizes": (8, 0)},
        {"hidden_layer_sizes": (8.0,)},
        {"hidden_layer_sizes": (True,)},
        {"hidden_layer_sizes": 8.0},
        {"alignment_weight": -1},
        {"beta": -0.1},
        {"likelihood": "binomial"},
        {"decoder_variance": 0},
        {"decoder_variance": "fixed"},
        {"witness_input": "mode"},
        {"batch_size": 0},
        {"max_epochs": 0},
        {"lr": 0},
        {"validation_fraction": 1.0},
        {"device": 0},
        {"warm_start": "yes"},
        {"teacher": "gmm"},
    ],
)
def test_parameters_out_of_range_are_refused_by_name(small_vae, clusters, bad):
    vae = small_vae(**bad)
    with pytest.raises(ValueError, match=next(iter(bad))):
        vae.fit(clusters)
    assert not hasattr(vae, "n_features_in_")


def test_every_documented_attribute_exists_and_every_one_is_documented(small_vae, clusters):
    fitted = small_vae(witness="simplex", max_epochs=20).fit(clusters)
    documented = TeacherGuidedVAE.__doc__.split("Attributes\n")[1].split("See Also")[0]
    names = {line.split(" : ")[0].strip() for line in documented.splitlines() if " : " in line}
    public = {name for name in vars(fitted) if name.endswith("_") and not name.startswith("_")}
    made_on_access = {"device_", "encoder_", "decoder_", "witness_", "likelihood_"}
    assert names - {"feature_names_in_"} - made_on_access == public, names ^ public
    assert all(hasattr(fitted, name) for name in made_on_access)


def test_codes_are_read_at_once_as_they_are_one_by_one(fitted, clusters):
    readings = fitted.read_codes(clusters, [3, None])
    mean, log_variance = fitted.posterior(clusters)
    np.testing.assert_array_equal(readings.mean, mean)
    np.testing.assert_array_equal(readings.log_variance, log_variance)
    np.testing.assert_array_equal(readings.kl, fitted.posterior_kl(clusters))
    np.testing.assert_array_equal(readings.log_witness_mean, fitted.witness_log_proba(clusters))
    for state, log_q in zip([3, None], readings.log_witness_samples, strict=True):
        np.testing.assert_array_equal(
            log_q, fitted.witness_log_proba(clusters, "sample", random_state=state)
        )
    assert fitted.read_codes(clusters).log_witness_samples == []
