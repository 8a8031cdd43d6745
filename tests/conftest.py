"""Data and estimators that several test files share."""

import sys

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import settings
from sklearn.datasets import load_iris, load_wine

from skvae import GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.datasets import digits

matplotlib.use("Agg")
# A busy machine is no failure.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    # What a test has not imported it has drawn nothing with.
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def set_threads():
    """Set torch's number of threads; what it was before comes back after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def iris():
    X = load_iris().data
    X.setflags(write=False)
    return X


@pytest.fixture(scope="session")
def wine():
    """Load a small table whose columns differ in scale by a factor of thousands."""
    X = load_wine().data
    X.setflags(write=False)
    return X


@pytest.fixture(scope="session")
def digit_images():
    X = digits()
    X.setflags(write=False)
    return X


@pytest.fixture(scope="session")
def clusters():
    """Three clusters in four columns: what any teacher with three components tells apart."""
    rng = np.random.default_rng(0)
    centers = np.array([[4.0, 0, 0, 1], [0, 4.0, 0, 1], [0, 0, 4.0, 1]])
    X = np.concatenate([center + 0.5 * rng.standard_normal((60, 4)) for center in centers])
    X.setflags(write=False)
    return X


@pytest.fixture(scope="session")
def small_vae():
    """Make an unfitted estimator that trains in a moment, on all rows."""

    def make(**parameters):
        setting = {
            "latent_dim": 3,
            "hidden_layer_sizes": (16,),
            "teacher": GaussianMixtureTeacher(n_components=3, scaling="columns"),
            "witness": "linear",
            "alignment_target": None,
            "max_epochs": 5,
            "batch_size": 128,
            "ema_decay": None,
            "early_stopping": False,
            "n_iter_no_change": 10,
            "lr": 1e-2,
            "device": "cpu",
            "random_state": 0,
        }
        return TeacherGuidedVAE(**{**setting, **parameters})

    return make


@pytest.fixture(scope="session")
def fitted(small_vae, clusters):
    """Fit an estimator that is certified; tests must not change it."""
    return small_vae(max_epochs=60).fit(clusters)
