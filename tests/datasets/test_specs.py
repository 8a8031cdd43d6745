"""The front door: what each spec opens, and what it says of one that opens nothing."""

import re
from pathlib import Path

import numpy as np
import pytest
from published_formats import (
    write_cifar10,
    write_cifar100,
    write_mnist,
    write_tiny_imagenet,
)

from skvae.datasets import (
    cifar10,
    cifar100,
    digits,
    fashion_mnist,
    load,
    load_array,
    load_idx,
    patches,
    tiny_imagenet,
)

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UnverifiedDataWarning")
PARTS = {"data", "target", "test_data", "test_target", "image_shape", "target_names"}


def test_digits_are_those_of_the_function():
    dataset = load("digits")
    assert set(dataset) == PARTS
    np.testing.assert_array_equal(dataset.data, digits())
    assert dataset.target.shape == (1797,)
    assert dataset.image_shape == (1, 8, 8)
    assert dataset.test_data is None
    assert dataset.test_target is None


@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_an_array_on_disk_is_mapped(tmp_path, as_path):
    X = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "X.npy", X)
    dataset = load(as_path(tmp_path / "X.npy"))
    assert set(dataset) == PARTS
    assert isinstance(dataset.data, np.memmap)
    np.testing.assert_array_equal(dataset.data, X)
    assert [key for key in PARTS if dataset[key] is not None] == ["data"]


@pytest.mark.parametrize(("spec", "n_samples"), [("patches", 10_000), ("patches:70", 70)])
def test_patches_have_test_rows_of_their_own(spec, n_samples):
    dataset = load(spec, dtype="uint8")
    for subset, data, target in (
        ("train", dataset.data, dataset.target),
        ("test", dataset.test_data, dataset.test_target),
    ):
        expected = patches(n_samples, subset=subset, dtype="uint8")
        np.testing.assert_array_equal(data, expected.data)
        np.testing.assert_array_equal(target, expected.target)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "idx"])
def test_idx_folders_give_both_subsets(tmp_path, name):
    written = write_mnist(tmp_path, end=".gz")
    dataset = load(f"{name}:{tmp_path}", dtype="uint8")
    assert set(dataset) == PARTS
    for subset, data, target in (
        ("train", dataset.data, dataset.target),
        ("test", dataset.test_data, dataset.test_target),
    ):
        images, labels = written[subset]
        np.testing.assert_array_equal(data, images.reshape(-1, 784))
        np.testing.assert_array_equal(target, labels)
    assert (dataset.target_names is None) == (name == "idx")


def test_any_idx_files_will_do_for_idx(tmp_path):
    write_mnist(tmp_path, size=5)
    for path in tmp_path.glob("*labels*"):
        path.unlink()
    dataset = load(f"idx:{tmp_path}")
    assert (dataset.data.shape, dataset.test_data.shape) == ((12, 25), (5, 25))
    assert dataset.target is None
    assert dataset.test_target is None
    images = tmp_path / "t10k-images-idx3-ubyte"
    dataset = load(f"idx:{images}")
    assert (dataset.data.shape, dataset.test_data) == ((5, 25), None)
    images.unlink()
    assert load(f"idx:{tmp_path}").test_data is None
    (tmp_path / "train-images-idx3-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="lacks train-images-idx3-ubyte in"):
        load(f"idx:{tmp_path}")


def test_idx_subsets_of_different_sizes_are_refused(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write_mnist(tmp_path, size=5)
    write_mnist(other, size=6)
    for path in other.glob("t10k*"):
        path.replace(tmp_path / path.name)
    with pytest.raises(ValueError, match="rows of 25 pixels, as in training; got 36"):
        load(f"idx:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "write"), [("cifar10", write_cifar10), ("cifar100", write_cifar100)]
)
def test_cifar_folders_give_both_subsets(tmp_path, name, write):
    written = write(tmp_path, "python")
    dataset = load(f"{name}:{tmp_path}", dtype="uint8")
    for subset, data, target in (
        ("train", dataset.data, dataset.target),
        ("test", dataset.test_data, dataset.test_target),
    ):
        np.testing.assert_array_equal(data, written[subset][0])
        np.testing.assert_array_equal(target, written[subset][1])
    assert dataset.image_shape == (3, 32, 32)


def test_the_test_rows_of_tiny_imagenet_are_its_validation(tmp_path):
    write_tiny_imagenet(tmp_path / "tiny", n=2)
    dataset = load(f"tiny-imagenet:{tmp_path / 'tiny'}", dtype="uint8")
    assert (dataset.data.shape, dataset.test_data.shape) == ((6, 12288), (3, 12288))
    np.testing.assert_array_equal(dataset.target, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(dataset.test_target, [0, 1, 2])


def test_the_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_mnist(tmp_path)
    assert load("mnist:~").data.shape == (12, 784)
    assert load("idx:~/train-images-idx3-ubyte").data.shape == (12, 784)
    np.save(tmp_path / "X.npy", np.eye(3))
    np.savez(tmp_path / "X.npz", np.eye(3))
    for read in (load_array, lambda path: load(path).data):
        for path in ("~/X.npy", Path("~/X.npz")):
            np.testing.assert_array_equal(read(path), np.eye(3))
    images, labels = (f"~/t10k-{name}-ubyte" for name in ("images-idx3", "labels-idx1"))
    assert load_idx(images, labels).target.shape == (5,)
    for read in (cifar10, cifar100, tiny_imagenet, fashion_mnist):
        with pytest.raises(FileNotFoundError, match=re.escape(f"no folder {tmp_path}")):
            read("~/missing")
    with pytest.raises(FileNotFoundError, match=r"There is no file ~no such user"):
        load("~no such user/X.npy")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("mnist", write_mnist),
        ("fashion-mnist", write_mnist),
        ("idx", write_mnist),
        ("cifar10", lambda folder: write_cifar10(folder, "python")),
        ("cifar100", lambda folder: write_cifar100(folder, "binary")),
        ("tiny-imagenet", lambda folder: write_tiny_imagenet(folder / "tiny-imagenet-200", 1)),
    ],
)
def test_what_may_be_taken_in_memory_is_handed_on(tmp_path, name, write):
    write(tmp_path)
    assert load(f"{name}:{tmp_path}", max_bytes=10**6)
    with pytest.raises(ValueError, match="and max_bytes is 1,000: give a larger one"):
        load(f"{name}:{tmp_path}", max_bytes=1000)


def test_an_array_is_limited_where_it_is_read(tmp_path):
    np.save(tmp_path / "X.npy", np.eye(20))
    np.savez(tmp_path / "X.npz", np.eye(20))
    assert load(tmp_path / "X.npy", max_bytes=1000).data.shape == (20, 20)
    with pytest.raises(ValueError, match=r"X\.npz would take 3,200 bytes in memory"):
        load(tmp_path / "X.npz", max_bytes=1000)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (
            "imagenet",
            ValueError,
            "There is no data set 'imagenet': give digits, patches, mnist:",
        ),
        ("imagenet:folder", ValueError, "There is no data set 'imagenet:folder'"),
        ("", ValueError, "tiny-imagenet:FOLDER, or a .npy or .npz file."),
        ("cifar10", ValueError, "cifar10 needs the folder of its files: cifar10:FOLDER."),
        ("cifar10:", ValueError, "cifar10 needs the folder of its files: cifar10:FOLDER."),
        ("cifar10:no/such", FileNotFoundError, "There is no folder no"),
        ("patches:", ValueError, "patches:N wants a whole number of patches, got ''."),
        ("patches:few", ValueError, "patches:N wants a whole number of patches, got 'few'."),
        ("patches:0", ValueError, "n_samples must be a whole number of at least 1, got 0."),
        ("missing.npy", FileNotFoundError, "There is no file missing.npy."),
        ("x" * 5000, ValueError, "There is no data set 'xxx"),
        (f"{'x' * 5000}.npy", FileNotFoundError, "There is no file xxx"),
        ("null\0.npy", FileNotFoundError, "There is no file null"),
    ],
)
def test_what_opens_nothing_says_what_would(spec, error, message):
    with pytest.raises(error, match=re.escape(message)):
        load(spec)


def test_a_file_that_is_no_array_is_refused(tmp_path):
    (tmp_path / "table.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"must be a \.npy or \.npz file, got suffix '\.csv'"):
        load(str(tmp_path / "table.csv"))


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="dtype must be one of float32, uint8; got 'int'"):
        load("digits", dtype="int")
