"""Patches: cut where they should be, apart in training and test, the same every time."""

import random
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from skvae.datasets import patches, photographs
from skvae.datasets.photographs import PHOTOGRAPHS, SIZES


@pytest.fixture
def numbered(monkeypatch):
    """Photographs whose three channels spell the number of the pixel."""

    def photograph(name):
        height, width = SIZES[name]
        numbers = np.arange(height * width).reshape(height, width)
        return np.stack([numbers >> 16, numbers >> 8, numbers], axis=-1).astype(np.uint8)

    monkeypatch.setattr(photographs, "_photograph", photograph)


def numbers(dataset):
    channels = dataset.data.reshape(-1, *dataset.image_shape).astype(int)
    return channels[:, 0] << 16 | channels[:, 1] << 8 | channels[:, 2]


@pytest.mark.parametrize("size", [1, 8, 31, 32, 75])
def test_no_pixel_is_in_patches_of_both_subsets(numbered, size):
    train, test = (
        patches(200, size=size, subset=subset, dtype="uint8", random_state=seed)
        for seed, subset in enumerate(("train", "test"))
    )
    for label in range(len(PHOTOGRAPHS)):
        of_train = np.unique(numbers(train)[train.target == label])
        of_test = np.unique(numbers(test)[test.target == label])
        assert of_train.size
        assert of_test.size
        assert not np.intersect1d(of_train, of_test).size


def test_a_patch_is_a_piece_of_its_photograph(numbered):
    dataset = patches(500, size=16, dtype="uint8")
    found = numbers(dataset)
    for label, name in enumerate(PHOTOGRAPHS):
        of_name = found[dataset.target == label]
        width = SIZES[name][1]
        window = np.arange(16)[:, None] * width + np.arange(16)
        np.testing.assert_array_equal(of_name - of_name[:, :1, :1], window[None] + 0 * of_name)
        columns = of_name % width
        assert (columns[:, :, -1] - columns[:, :, 0] == 15).all()


@pytest.mark.parametrize("shape", [(6, 9), (2, 8), (7, 7)])
def test_every_pixel_is_drawn_in_one_subset(numbered, monkeypatch, shape):
    monkeypatch.setitem(SIZES, "china", shape)
    train, test = (
        np.unique(
            numbers(patches(3000, size=1, subset=subset, photographs=["china"], dtype="uint8"))
        )
        for subset in ("train", "test")
    )
    height, width = shape
    np.testing.assert_array_equal(np.sort([*train, *test]), np.arange(height * width))


def test_a_quarter_of_the_cells_is_for_the_test():
    for name, (height, width) in SIZES.items():
        areas = [
            sum(
                (bottom - top) * (right - left)
                for top, bottom, left, right in photographs._cells(name, 16, subset)
            )
            for subset in ("train", "test")
        ]
        assert sum(areas) == height * width
        assert areas[1] / sum(areas) == pytest.approx(0.25, abs=0.02)


def test_pixels_are_those_of_the_package():
    dataset = patches(3, size=16, photographs=("china",), dtype="uint8")
    china = load_sample_image("china.jpg")
    windows = np.lib.stride_tricks.sliding_window_view(china, (16, 16), axis=(0, 1))
    for row in dataset.data.reshape(-1, 3, 16, 16):
        corner = (windows[..., 0, 0] == row[:, 0, 0]).all(axis=-1)
        assert (windows[corner] == row).all(axis=(1, 2, 3)).any()


def test_photographs_are_drawn_evenly_and_scaled():
    dataset = patches(6000, size=8)
    assert dataset.data.shape == (6000, 192)
    assert dataset.data.dtype == np.float32
    assert dataset.data.min() >= 0
    assert dataset.data.max() <= 1
    assert dataset.image_shape == (3, 8, 8)
    assert dataset.target_names == list(PHOTOGRAPHS)
    # Five standard deviations of a binomial count.
    assert np.abs(np.bincount(dataset.target) - 1000).max() < 5 * np.sqrt(6000 * 5 / 36)
    raw = patches(6000, size=8, dtype="uint8")
    np.testing.assert_array_equal(dataset.data, raw.data / np.float32(255))


def test_a_seed_gives_the_same_patches_and_leaves_global_states_alone():
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    first, again = (patches(50, random_state=3, dtype="uint8") for _ in range(2))
    np.testing.assert_array_equal(first.data, again.data)
    np.testing.assert_array_equal(first.target, again.target)
    assert not np.array_equal(first.data, patches(50, random_state=4, dtype="uint8").data)
    longer = patches(80, random_state=3, dtype="uint8")
    np.testing.assert_array_equal(longer.data[:50], first.data)
    state = np.random.RandomState(0)
    patches(5, random_state=state)
    assert state.randint(1000) != np.random.RandomState(0).randint(1000)
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples must be a whole number of at least 1, got 0"),
        ({"size": 2.5}, "size must be a whole number of at least 1, got 2.5"),
        ({"size": 100}, "size=100 leave too few cells in astronaut, of 512 by 512"),
        ({"size": 1000, "photographs": ["china"]}, "too few cells in china"),
        ({"subset": "val"}, "subset must be one of train, test; got 'val'"),
        ({"dtype": "float64"}, "dtype must be one of float32, uint8"),
        ({"photographs": "china"}, "must be a sequence of names, got 'china'"),
        ({"photographs": ()}, r"must be a sequence of names, got \(\)"),
        ({"photographs": ["lena"]}, "must be one of china, .*, rocket; got 'lena'"),
        ({"photographs": ["china", "china"]}, "must name each once"),
    ],
)
def test_unusable_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        patches(**options)


def test_without_scikit_image_it_says_so_and_never_takes_fewer(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(ImportError, match=r"'skvae\[images\]' .* photographs=\('china', 'flow"):
        patches(5)
    assert patches(5, photographs=("china", "flower")).data.shape == (5, 3072)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="Photographs need Pillow"):
        patches(5, photographs=("china",))


def test_a_photograph_that_a_package_changed_is_refused(monkeypatch):
    monkeypatch.setattr(photographs, "load_sample_image", lambda name: np.zeros((9, 9, 3)))
    with pytest.raises(ValueError, match=r"china must be of shape \(427, 640, 3\).*got \(9, 9"):
        patches(5, photographs=("china",))
