"""Every baseline trains, and is one of its own."""

import itertools

import numpy as np
import pytest

from skvae import TeacherGuidedVAE, protocol
from skvae.protocol import BASELINES


def test_protocol_shows_them():
    assert protocol.BASELINES is BASELINES
    assert len(BASELINES) >= 12


# Of the other parameters; "learned-variance" is told from "vae" by one that is not learned.
FIXED_VARIANCE = {"decoder_variance": 0.5}


def test_each_is_parameters_of_the_estimator_and_no_two_are_alike():
    defaults = TeacherGuidedVAE(**FIXED_VARIANCE).get_params()
    for parameters in BASELINES.values():
        assert parameters["alignment_weight"] == 0
        assert set(parameters) <= set(defaults)
        changed = {name for name, value in parameters.items() if value != defaults[name]}
        assert changed == set(parameters)
    for one, other in itertools.combinations(BASELINES.values(), 2):
        assert one != other


@pytest.fixture(scope="module")
def codes(small_vae, clusters):
    return {
        name: small_vae(**{"max_epochs": 2, "batch_size": 30, **FIXED_VARIANCE, **parameters})
        .fit(clusters)
        .transform(clusters)
        for name, parameters in BASELINES.items()
    }


def test_each_trains_another_model(codes):
    for one, other in itertools.combinations(codes.values(), 2):
        assert np.isfinite(one).all()
        assert not np.array_equal(one, other)
