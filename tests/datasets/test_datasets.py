"""Arrays on disk; the refusals are tested through the command line."""

import numpy as np
import pytest

from skvae.datasets import digits, load_array


def test_digits_are_images_in_the_unit_interval():
    X = digits()
    assert X.shape == (1797, 64)
    assert (X.min(), X.max()) == (0.0, 1.0)


def test_npy_is_mapped_and_not_read(tmp_path):
    X = np.arange(12.0).reshape(4, 3)
    np.save(tmp_path / "X.npy", X)
    loaded = load_array(str(tmp_path / "X.npy"))
    assert isinstance(loaded, np.memmap)
    assert not loaded.flags.writeable
    np.testing.assert_array_equal(loaded, X)


@pytest.mark.parametrize("names", [("only",), ("X", "y")])
def test_npz_gives_its_only_array_or_the_one_named_x(tmp_path, names):
    X = np.arange(12).reshape(4, 3)
    np.savez(tmp_path / "a.npz", **{name: X + i for i, name in enumerate(names)})
    np.testing.assert_array_equal(load_array(tmp_path / "a.npz"), X)


def test_pickled_objects_are_not_loaded(tmp_path):
    np.save(tmp_path / "o.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(ValueError, match="something other than numbers"):
        load_array(tmp_path / "o.npy")
