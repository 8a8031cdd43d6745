"""Images: their shapes, the convolutional nets, and an estimator that is given either."""

import copy
import doctest
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE, rescue
from skvae.nets.convolutions import ResidualBlock, convolutional_decoder, convolutional_encoder
from skvae.rows import RowFingerprint
from skvae.rows.images import flatten_images, resolve_image_shape
from skvae.rows.scaling import Standardization
from skvae.vae.inference import CHUNK_IMAGES

IMAGE_SHAPE = (2, 5, 6)
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    """Three patterns in noise, of two channels and an odd height."""
    rng = np.random.default_rng(0)
    patterns = rng.standard_normal((3, *IMAGE_SHAPE))
    X = patterns[np.arange(180) % 3] + 0.3 * rng.standard_normal((180, *IMAGE_SHAPE))
    X.setflags(write=False)
    return X


@pytest.fixture(scope="module")
def conv_vae():
    """Make an unfitted convolutional estimator that trains in a moment."""

    def make(**parameters):
        setting = {
            "architecture": "conv",
            "image_shape": IMAGE_SHAPE,
            "channels": (4, 8),
            "latent_dim": 3,
            "teacher": GaussianMixtureTeacher(n_components=3),
            "max_epochs": 3,
            "batch_size": 128,
            "early_stopping": False,
            "lr": 1e-2,
            "device": "cpu",
            "random_state": 0,
        }
        return TeacherGuidedVAE(**{**setting, **parameters})

    return make


@pytest.fixture(scope="module")
def fitted_conv(conv_vae, images):
    """Fit an estimator that is certified; tests must not change it."""
    return conv_vae(max_epochs=30).fit(images)


@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 32, 32), (3, 48, 40), (1, 64, 64)])
def test_images_of_usual_sizes_come_back_in_their_shape(image_shape):
    encoder = convolutional_encoder(image_shape, 3, (4, 4), generator())
    decoder = convolutional_decoder(image_shape, 3, (4, 4), generator())
    x = torch.zeros(2, int(np.prod(image_shape)))
    assert encoder(x).shape == (2, 6)
    assert decoder(torch.zeros(2, 3)).shape == (2, *image_shape)


@pytest.mark.parametrize("size", range(1, 16))
def test_any_size_is_halved_and_doubled_back(size):
    image_shape = (1, size, 17 - size)
    encoder = convolutional_encoder(image_shape, 2, (2, 3, 4), generator())
    decoder = convolutional_decoder(image_shape, 2, (2, 3, 4), generator())
    assert encoder(torch.zeros(1, size * (17 - size))).shape == (1, 4)
    assert decoder(torch.zeros(1, 2)).shape == (1, *image_shape)


def test_residual_block_begins_as_the_identity_and_learns():
    block = ResidualBlock(3, generator())
    x = torch.randn(2, 3, 4, 4, generator=generator(1))
    torch.testing.assert_close(block(x), x)
    block(x).square().sum().backward()
    assert block.second.weight.grad.abs().max() > 0


def test_feature_maps_and_weights_lie_channels_last():
    encoder = convolutional_encoder((3, 8, 8), 2, (4, 8), generator())
    strided = [layer for layer in encoder.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(strided) == 6
    for layer in strided:
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert encoder[:4](torch.zeros(5, 192)).is_contiguous(memory_format=torch.channels_last)


def test_initial_weights_are_private_and_repeatable():
    before = torch.get_rng_state()
    one, other = (convolutional_decoder((1, 8, 8), 2, (4,), generator()) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_no_row_of_a_batch_changes_another(fitted_conv, images):
    module = fitted_conv.net_.module_.train()
    rows = torch.from_numpy(fitted_conv._fitted.units.apply(images.reshape(180, -1)))
    together, alone = module.encoder(rows[:9])[0], module.encoder(rows[:1])[0]
    torch.testing.assert_close(together[:1], alone, rtol=1e-5, atol=1e-6)


def test_weights_count_as_often_as_they_are_used(conv_vae, images):
    net = conv_vae(channels=(4,)).fit(images).net_
    # A stage of 4 channels halves 5 x 6 to 3 x 3; the upsampling makes 6 x 6 from 3 x 3, four
    # channels for each of the 2 from kernels of 2 x 2, at the edges of 3 x 3 places.
    block = 2 * 4 * 4 * 9 * 9
    encoder = 2 * 4 * 9 * 9 + block + 36 * 6
    decoder = 3 * 36 + block + 4 * 8 * 4 * 16
    assert net.module_.multiply_adds == encoder + decoder
    assert net.is_small()
    net = copy.copy(net)
    net.batch_size = 2**26 // (encoder + decoder) + 1
    assert not net.is_small()


def test_rows_and_images_are_the_same(fitted_conv, conv_vae, images):
    rows = images.reshape(180, -1)
    of_rows = conv_vae(max_epochs=30).fit(rows)
    assert of_rows.history_[-1]["loss"] == fitted_conv.history_[-1]["loss"]
    assert fitted_conv.n_features_in_ == 60
    assert fitted_conv.image_shape_ == IMAGE_SHAPE
    for method in ("transform", "score_samples", "witness_log_proba", "teacher_proba"):
        read = getattr(fitted_conv, method)
        np.testing.assert_array_equal(read(images), read(rows))
    certificate = ConstantCollapseCertificate(latent="sample")
    report = certificate.certify(fitted_conv, images)
    assert report.to_dict() == certificate.certify(fitted_conv, rows).to_dict()
    assert report.certified
    assert report.rows == "training"
    assert fitted_conv.inverse_transform(fitted_conv.transform(images)).shape == (180, 60)
    assert fitted_conv.sample(4).shape == (4, 60)


def test_images_are_reconstructed_better_than_by_their_mean(conv_vae, images):
    vae = conv_vae(max_epochs=60, decoder_variance=0.1).fit(images)
    rows = images.reshape(180, -1)
    error = np.square(vae.inverse_transform(vae.transform(images)) - rows).mean()
    assert error < 0.5 * rows.var(axis=0).mean()


def test_shape_is_taken_from_images_where_it_is_not_given(conv_vae, images):
    vae = conv_vae(image_shape=None).fit(images)
    assert vae.image_shape_ == IMAGE_SHAPE
    assert vae.image_shape is None
    vae.partial_fit(images.reshape(180, -1)[:20])
    assert vae.transform(images.reshape(180, -1)).shape == (180, 3)


def test_dense_layers_take_images_too(conv_vae, images):
    vae = conv_vae(architecture="dense").fit(images)
    assert vae.transform(images).shape == (180, 3)
    with pytest.raises(ValueError, match="dim 4"):
        conv_vae(architecture="dense", image_shape=None).fit(images)


def test_images_as_lists_tensors_and_maps(fitted_conv, images, tmp_path):
    expected = fitted_conv.transform(images)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert np.shares_memory(flatten_images(mapped, IMAGE_SHAPE), mapped)
    for X in (images.tolist(), torch.tensor(images), mapped, np.asfortranarray(images)):
        np.testing.assert_array_equal(fitted_conv.transform(X), expected)


@pytest.mark.parametrize(
    ("X", "changes", "message"),
    [
        (np.zeros((9, 59)), {}, r"\(2, 5, 6\).*have 60 columns, got X of shape \(9, 59\)"),
        (np.zeros((9, 5, 6, 2)), {}, r"images of shape \(2, 5, 6\).*\(9, 5, 6, 2\).*moveaxis"),
        (np.zeros((9, 60)), {"image_shape": None}, "needs the shape of the images"),
        (np.zeros((9, 8, 8, 3)), {"image_shape": None}, "channels last"),
        (np.zeros((9, 60)), {"image_shape": (60,)}, "three positive integers"),
        (np.zeros((9, 60)), {"image_shape": (2, 5.0, 6)}, "three positive integers"),
        (np.zeros((9, 60)), {"channels": ()}, "at least one stage"),
        (np.zeros((9, 60)), {"channels": (4, 0)}, "channels must hold positive integers"),
        (np.zeros((9, 60)), {"architecture": "deep"}, "architecture"),
    ],
)
def test_shapes_that_contradict_each_other_are_refused(conv_vae, X, changes, message):
    vae = conv_vae(**changes)
    with pytest.raises(ValueError, match=message):
        vae.fit(X)
    assert not hasattr(vae, "n_features_in_")


def test_other_shapes_are_refused_after_fit(fitted_conv, images):
    with pytest.raises(ValueError, match="60 columns"):
        fitted_conv.transform(images[:, 0].reshape(180, -1))
    with pytest.raises(ValueError, match="images of shape"):
        fitted_conv.transform(images[:, :, :4])


def test_colours_behind_are_noticed_only_where_the_shape_is_guessed():
    X = np.zeros((2, 8, 8, 3))
    assert resolve_image_shape((8, 8, 3), "conv", X) == (8, 8, 3)
    assert resolve_image_shape(None, "conv", X.transpose(0, 3, 1, 2)) == (3, 8, 8)
    assert resolve_image_shape(None, "dense", X) is None


def test_channels_share_a_scale_and_keep_the_density(images):
    rows = images.reshape(180, -1) * np.repeat([1.0, 50.0], 30) + 7.0
    rows[:, 3] = 2.0
    units = Standardization.of(rows).pooled(2)
    for channel in (slice(0, 30), slice(30, 60)):
        np.testing.assert_allclose(units.center[channel], rows[:, channel].mean())
        np.testing.assert_allclose(units.scale[channel], rows[:, channel].std())
    assert units.constant.nonzero()[0].tolist() == [3]
    np.testing.assert_allclose(units.restore(units.apply(rows)), rows, rtol=1e-5)
    flat = Standardization.of(np.ones((5, 4))).pooled(2)
    np.testing.assert_array_equal(flat.scale, 1.0)


def test_constant_pixels_and_outliers_stay_finite(conv_vae, images):
    X = images.copy()
    X[:, :, 0] = 0.0
    vae = conv_vae().fit(X)
    X[0] = 1e6
    assert np.isfinite(vae.transform(X)).all()
    assert np.isfinite(vae.score_samples(X)).all()


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_same_seed_same_bits_whatever_the_threads(
    conv_vae, images, set_threads, likelihood, precision
):
    X = (images - images.min()) / np.ptp(images)
    before = torch.get_rng_state()
    setting = {"likelihood": likelihood, "precision": precision}
    first = conv_vae(**setting).fit(X)
    set_threads(2)
    second = conv_vae(**setting).fit(X)
    np.testing.assert_array_equal(first.transform(X), second.transform(X))
    assert torch.equal(torch.get_rng_state(), before)


def test_many_images_are_read_in_chunks_of_one_size(fitted_conv, images):
    X = np.concatenate([images, images])
    codes = fitted_conv.transform(X)
    np.testing.assert_array_equal(fitted_conv.transform(X[CHUNK_IMAGES:]), codes[CHUNK_IMAGES:])


def test_pickle_and_clone_keep_all(fitted_conv, images):
    again = pickle.loads(pickle.dumps(fitted_conv))
    np.testing.assert_array_equal(again.transform(images), fitted_conv.transform(images))
    assert clone(fitted_conv).get_params()["channels"] == (4, 8)


def test_grid_search_in_two_processes_gives_the_same_bits(conv_vae, images):
    grid = {"channels": [(4,), (4, 8)]}
    scores = [
        GridSearchCV(
            conv_vae(), grid, scoring=ConstantCollapseCertificate(), cv=2, n_jobs=n_jobs
        )
        .fit(images)
        .cv_results_["mean_test_score"]
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*scores)
    assert np.isfinite(scores[0]).all()


def test_weights_are_lent_and_rescued(conv_vae, images):
    setting = {"alignment_weight": 0, "decoder_variance": 50.0}
    donor = conv_vae(max_epochs=20, **setting).fit(images)
    state = pickle.dumps(donor)
    unmoved = conv_vae(warm_start=donor, lr=1e-12, max_epochs=1, **setting).fit(images)
    np.testing.assert_allclose(unmoved.transform(images), donor.transform(images), atol=1e-6)
    found = rescue(donor, images, max_epochs=40)
    assert not found.before.certified
    assert found.after.certified
    assert pickle.dumps(donor) == state


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": (4,)}, r"channels is \(4, 8\) in the fitted model"),
        ({"architecture": "dense"}, "architecture is 'conv' in the fitted model"),
        ({"image_shape": (1, 10, 6)}, r"image_shape is \(2, 5, 6\)"),
        ({"decoder": "autoregressive"}, "decoder is None in the fitted model"),
    ],
)
def test_other_layers_are_no_donor(conv_vae, fitted_conv, images, changes, message):
    vae = conv_vae(warm_start=FrozenEstimator(fitted_conv), **changes)
    with pytest.raises(ValueError, match=message):
        vae.fit(images.reshape(180, -1))


def test_simplex_witness_prefit_guard_and_early_stopping_go_together(conv_vae, images):
    vae = conv_vae(
        witness="simplex", prefit_epochs=5, guard=0.1, early_stopping=True, max_epochs=20
    ).fit(images)
    assert vae.margin_ > 0.1


class Elsewhere(TorchDispatchMode):
    """Collect the operations whose results are not on the meta device."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        # The gradient of an image that is asked for no gradient is None.
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if any(tensor.device.type != "meta" for tensor in tensors):
            self.operations.append(str(func))
        return result


@pytest.mark.parametrize("decoder", [None, "autoregressive"])
@pytest.mark.parametrize("architecture", ["dense", "conv"])
def test_every_tensor_of_a_step_lands_on_the_device_of_the_model(
    conv_vae, images, architecture, decoder
):
    net = conv_vae(architecture=architecture, decoder=decoder, max_epochs=1).fit(images).net_
    net.module_.to("meta").train()
    batch = torch.zeros(8, 60, device="meta"), torch.zeros(8, 3, device="meta")
    with Elsewhere() as elsewhere:
        net._evaluate(batch, torch.Generator())[0].backward()
    assert set(elsewhere.operations) == {"aten.randn.generator"}


def test_a_fingerprint_knows_an_image_flat_or_not(images):
    rows = images.reshape(180, -1)
    assert RowFingerprint.of(images).share_of(rows) == 1.0


def test_examples_of_the_page_run():
    page = Path(__file__).parents[2] / "docs" / "images.rst"
    found = doctest.testfile(str(page), module_relative=False)
    assert found.attempted > 0
    assert found.failed == 0


def test_gradients_reach_an_encoder_that_has_turned_its_features_off():
    # As a long collapse leaves it: rectifiers without a slope below zero would be dead.
    generator = torch.Generator().manual_seed(0)
    encoder = convolutional_encoder((1, 8, 8), 2, (4, 6), generator)
    with torch.no_grad():
        for layer in encoder.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.bias.fill_(-100.0)
    encoder(torch.rand(5, 64, generator=generator)).sum().backward()
    assert encoder[1].weight.grad.abs().max() > 0
