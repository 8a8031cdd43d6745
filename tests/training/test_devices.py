"""Devices: their names, what they run out of, and models that move between them."""

import gc
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skvae import TeacherGuidedVAE
from skvae.exceptions import DeviceMemoryError
from skvae.training import VAENet
from skvae.training.devices import resolve_device


def test_device_names():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="must be 'auto', 'cpu'"):
        resolve_device("gpu0")
    with pytest.raises(ValueError, match="not available here"):
        resolve_device("cuda:99")


def test_missing_gpu_is_an_error_and_not_a_silent_change(small_vae, clusters):
    vae = small_vae(device="cuda:99")
    with pytest.raises(ValueError, match="device='auto'"):
        vae.fit(clusters)
    assert not hasattr(vae, "n_features_in_")


@pytest.mark.parametrize(
    ("batch_size", "advice"), [(64, "try batch_size=32, data_on_device"), (1, "a smaller net")]
)
def test_running_out_of_memory_names_the_batch_size_to_try(
    small_vae, clusters, monkeypatch, batch_size, advice
):
    def exhausted(self, *args, **kwargs):
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.\nMore of the same.")

    vae = small_vae(batch_size=batch_size).fit(clusters)
    before = vars(vae).copy()
    monkeypatch.setattr(VAENet, "train_step", exhausted)
    with pytest.raises(DeviceMemoryError, match=rf"{advice}.*Tried to allocate 2.00 GiB\.$"):
        vae.fit(clusters)
    assert vars(vae) == before


@pytest.mark.filterwarnings("ignore::skorch.exceptions.DeviceWarning")
def test_a_model_from_a_gpu_loads_without_one_and_says_so(small_vae, clusters):
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    vae = small_vae().fit(clusters)
    codes = vae.transform(clusters)
    # As a model that was fitted on a GPU is pickled there.
    vae.set_params(device="cuda")
    vae.net_.device = "cuda"
    with pytest.warns(UserWarning, match="CUDA") as caught:
        loaded = pickle.loads(pickle.dumps(vae))
    assert any("cpu" in str(warning.message) for warning in caught)
    assert loaded.device_ == "cpu"
    np.testing.assert_array_equal(loaded.transform(clusters), codes)
    # It does not go on training elsewhere than it was told to.
    with pytest.raises(ValueError, match="not available here"):
        loaded.fit(clusters)


def test_memory_is_flat_over_clones_and_fits(small_vae, clusters):
    def bytes_of_weights():
        gc.collect()
        with warnings.catch_warnings():
            # Some objects warn when they are asked what they are.
            warnings.simplefilter("ignore")
            weights = [found for found in gc.get_objects() if type(found) is nn.Parameter]
        return sum(weight.untyped_storage().nbytes() for weight in weights)

    before = bytes_of_weights()
    vae: TeacherGuidedVAE = small_vae(max_epochs=1, alignment_weight=0)
    held = []
    for _ in range(6):
        vae = clone(vae).fit(clusters)
        held.append(bytes_of_weights() - before)
    assert held[0] == held[-1] == max(held) > 0
