"""Private streams: repeatable, apart from each other, and silent."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from skvae._common.randomness import (
    derive_seed,
    draw_seed,
    seed_unset_random_states,
    torch_generator,
)


def test_integers_stand_for_themselves_and_none_for_fresh_entropy():
    assert draw_seed(7) == draw_seed(np.int64(7)) == 7
    state = np.random.get_state()[1].copy()
    assert draw_seed(None) != draw_seed(None)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_random_state_instances_are_drawn_from():
    state = np.random.RandomState(0)
    assert draw_seed(state) != draw_seed(state)
    assert draw_seed(np.random.RandomState(0)) == draw_seed(np.random.RandomState(0))


def test_streams_differ_by_name_epoch_and_seed_and_repeat():
    keys = [(0, "noise", 1), (0, "noise", 2), (0, "shuffle", 1), (1, "noise", 1)]
    seeds = {derive_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert derive_seed(0, "noise", 1) == derive_seed(0, "noise", 1)
    draws = [torch.rand(3, generator=torch_generator(0, "noise", 1)) for _ in range(2)]
    torch.testing.assert_close(*draws)


def test_only_unset_random_states_are_seeded():
    frozen = FrozenEstimator(GaussianMixture(2).fit(np.eye(3)))
    pipeline = make_pipeline(PCA(random_state=3), GaussianMixture(2), frozen)
    seed_unset_random_states(pipeline, 0)
    parameters = pipeline.get_params()
    assert parameters["pca__random_state"] == 3
    assert isinstance(parameters["gaussianmixture__random_state"], int)
    assert frozen.estimator.random_state is None


def test_negative_seed_is_refused_by_the_estimator(small_vae, clusters):
    with pytest.raises(ValueError, match="random_state"):
        small_vae(random_state=-1).fit(clusters)


@pytest.mark.parametrize("wrong", [1.5, 2.0, True, False, -1, "0", [0]])
def test_seeds_are_checked_and_not_truncated(fitted, wrong):
    with pytest.raises(ValueError, match="random_state must be a whole number"):
        draw_seed(wrong)
    with pytest.raises(ValueError, match="random_state must be a whole number"):
        fitted.sample(2, random_state=wrong)


def test_whole_numbers_of_any_kind_are_seeds():
    assert draw_seed(3) == draw_seed(np.int64(3)) == draw_seed(np.uint8(3)) == 3
