"""The precision of the products in training, where it is left to us."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from skvae import TeacherGuidedVAE
from skvae.datasets import digits
from skvae.model_selection import StackedGridSearchCV
from skvae.training import devices
from skvae.training.devices import LEAST_OF_BF16, precision_of_step

# Of the nets of `small_vae` 180 rows are more multiply-adds than this, and 20 rows less.
LEAST_STEP = 15_000


@pytest.fixture
def processor(monkeypatch):
    """Say what a processor is fast in, and from which size of step on it gains."""

    def say(is_fast, least=LEAST_STEP):
        monkeypatch.setattr(devices, "_is_fast_in_bf16", lambda device: is_fast)
        monkeypatch.setitem(LEAST_OF_BF16, "cpu", least)

    return say


@pytest.mark.parametrize("is_fast", [True, False])
def test_large_steps_are_in_bf16_where_the_processor_is_fast_in_it(processor, is_fast):
    processor(is_fast, LEAST_OF_BF16["cpu"])
    assert LEAST_OF_BF16["cpu"] == 2**25
    large = "bf16" if is_fast else "fp32"
    assert precision_of_step(2**25, "cpu") == large
    assert precision_of_step(2**25 - 1, "cpu") == "fp32"
    assert precision_of_step(2**32, "cuda:1") == large
    assert precision_of_step(2**32 - 1, "cuda") == "fp32"
    assert precision_of_step(2**60, "mps") == "fp32"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"instructions": True, "kernels": True}, "bf16"),
        # With AVX-512 alone the kernels are there, and convert.
        ({"instructions": False, "kernels": True}, "fp32"),
        ({"instructions": True, "kernels": False}, "fp32"),
        ({"instructions": None, "kernels": True}, "fp32"),
    ],
)
def test_a_processor_is_asked_for_instructions_and_kernels(monkeypatch, answers, expected):
    name = "_is_avx512_bf16_supported"
    if answers["instructions"] is None:
        # Of a torch that cannot be asked.
        monkeypatch.delattr(torch.cpu, name, raising=False)
    else:
        monkeypatch.setattr(torch.cpu, name, lambda: answers["instructions"], raising=False)
    monkeypatch.setattr(
        torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: answers["kernels"], raising=False
    )
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert precision_of_step(2**30, "cpu") == expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({}, "bf16"),
        ({"batch_size": 16}, "fp32"),
        ({"precision": "fp32"}, "fp32"),
        ({"decoder": "autoregressive"}, "bf16"),
        ({"architecture": "conv", "image_shape": (1, 2, 2), "channels": 8}, "bf16"),
        ({"encoder": lambda shape, latent_dim: nn.Linear(*shape, 2 * latent_dim)}, "fp32"),
    ],
)
def test_a_fit_says_what_it_took_and_has_its_bits(
    small_vae, clusters, processor, setting, expected
):
    processor(True)
    vae = small_vae(**{"precision": "auto", **setting}).fit(clusters)
    assert vae.precision_ == vae.net_.module_.precision == expected
    named = clone(vae).set_params(precision=expected).fit(clusters)
    np.testing.assert_array_equal(vae.transform(clusters), named.transform(clusters))


@pytest.mark.filterwarnings("error")
def test_a_processor_without_such_products_is_no_reason_to_warn(
    small_vae, clusters, monkeypatch
):
    for name in ("bf16", "fp16"):
        monkeypatch.setattr(
            torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", lambda: False, raising=False
        )
    vae = small_vae(precision="auto", max_epochs=60).fit(clusters)
    assert vae.precision_ == "fp32"


def test_each_call_chooses_by_its_own_batches(small_vae, clusters, processor):
    processor(True)
    vae = small_vae(precision="auto", batch_size="auto")
    assert vae.partial_fit(np.tile(clusters, (10, 1))).precision_ == "bf16"
    assert vae.partial_fit(clusters[:20]).precision_ == "fp32"
    vae.set_params(warm_start=True).fit(np.tile(clusters, (10, 1)))
    assert vae.precision_ == "bf16"


def test_a_file_has_what_was_taken(small_vae, clusters, processor, tmp_path):
    processor(True)
    vae = small_vae(precision="auto").partial_fit(clusters)
    vae.save(tmp_path / "model.skvae")
    processor(False)
    loaded = TeacherGuidedVAE.load(tmp_path / "model.skvae")
    assert (loaded.precision, loaded.precision_) == ("auto", "bf16")
    np.testing.assert_array_equal(loaded.transform(clusters), vae.transform(clusters))
    assert loaded.partial_fit(clusters).precision_ == "fp32"


class Killed(Callback):
    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3:
            raise InterruptedError


def test_a_checkpoint_goes_on_in_the_precision_that_it_began_with(
    small_vae, clusters, processor, tmp_path
):
    processor(True)
    whole = small_vae(precision="auto").fit(clusters)
    setting = {"precision": "auto", "checkpoint": tmp_path / "run.skvae"}
    with pytest.raises(InterruptedError):
        small_vae(callbacks=[Killed()], **setting).fit(clusters)
    processor(False)
    resumed = small_vae(**setting).fit(clusters)
    assert resumed.precision_ == whole.precision_ == "bf16"
    np.testing.assert_array_equal(resumed.transform(clusters), whole.transform(clusters))


def test_a_stack_is_trained_in_float32(small_vae, clusters, processor):
    processor(True)
    search = StackedGridSearchCV(
        small_vae(precision="auto", ema_decay=None), {"beta": [0.5, 1.0]}, cv=2
    )
    precisions = []

    def scored(vae, X, y=None):
        precisions.append(vae.precision_)
        return vae.score(X)

    search.set_params(scoring=scored).fit(clusters)
    assert set(precisions) == {"fp32"}
    assert search.best_estimator_.precision_ == "bf16"


def mixture(n_rows, rng):
    """Rows of 784 columns around ten centres, which differ in few directions."""
    directions = rng.standard_normal((8, 784)) / 3
    centers = rng.standard_normal((10, 8)) * 2
    codes = centers[rng.integers(10, size=n_rows)] + rng.standard_normal((n_rows, 8)) / 2
    return codes @ directions + 0.5 * rng.standard_normal((n_rows, 784))


def waves(n_rows, rng):
    """Rows of 256 samples of a wave of random pitch, phase and height."""
    pitch, phase, height = rng.uniform([1, 0, 0.5], [4, np.pi, 2], (n_rows, 3)).T[:, :, None]
    wave = height * np.sin(pitch * np.linspace(0, 2 * np.pi, 256) + phase)
    return wave + 0.3 * rng.standard_normal(wave.shape)


def enlarged(n_rows, rng):
    """Digits of 8 x 8, each pixel four times as wide and as high, with noise of its own."""
    images = digits()[rng.permutation(1797)[:n_rows]].reshape(-1, 8, 8)
    large = images.repeat(4, axis=1).repeat(4, axis=2).reshape(-1, 1024)
    return large + 2.0 * rng.standard_normal(large.shape)


@pytest.mark.parametrize("draw", [mixture, waves, enlarged])
def test_bf16_is_as_good_as_fp32_on_large_steps(draw):
    rng = np.random.default_rng(0)
    X = draw(1400, rng).astype(np.float32)
    X_train, X_test = X[:1000], X[1000:]
    scores = {"fp32": [], "bf16": []}
    for precision, found in scores.items():
        for seed in range(3):
            vae = TeacherGuidedVAE(
                latent_dim=8,
                hidden_layer_sizes=(128,),
                precision=precision,
                max_epochs=12,
                device="cpu",
                random_state=seed,
            )
            with warnings.catch_warnings():
                # Whether this processor is slow in it is no matter here.
                warnings.simplefilter("ignore")
                found.append(vae.fit(X_train).score(X_test))
    exact, half = (np.array(found) for found in scores.values())
    noise = max(np.ptp(exact), 1e-3 * abs(exact.mean()))
    assert abs(half.mean() - exact.mean()) < noise
