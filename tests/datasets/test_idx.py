"""IDX files: the format in closed form, every kind of damage, and who is warned of what."""

import gzip
import hashlib
import os
import re
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from published_formats import idx_bytes, write_mnist

from skvae.datasets import fashion_mnist, idx, load_idx, mnist
from skvae.exceptions import UnverifiedDataWarning


def save(path, array):
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def test_header_is_the_one_of_the_format(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(bytes.fromhex("00000803 00000001 00000001 00000002 33ff"))
    np.testing.assert_array_equal(load_idx(path).data, np.float32([[0.2, 1.0]]))


@pytest.mark.parametrize("end", ["", ".gz"])
def test_pixels_are_scaled_exactly_or_kept(tmp_path, end):
    path = save(tmp_path / f"images{end}", IMAGES)
    scaled, raw = load_idx(path), load_idx(path, dtype="uint8")
    assert scaled.data.dtype == np.float32
    np.testing.assert_array_equal(scaled.data, IMAGES.reshape(2, 12) / np.float32(255))
    assert raw.data.dtype == np.uint8
    np.testing.assert_array_equal(raw.data, IMAGES.reshape(2, 12))
    assert scaled.image_shape == (1, 3, 4)
    assert scaled.target is None


@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=4, max_side=4)),
    st.sampled_from(["u1", "i1", "i2", "i4"]),
)
def test_what_was_written_is_read(tmp_path_factory, images, label_type):
    folder = tmp_path_factory.mktemp("idx")
    labels = np.arange(len(images), dtype=label_type)
    dataset = load_idx(
        save(folder / "images.gz", images), save(folder / "labels", labels), dtype="uint8"
    )
    np.testing.assert_array_equal(dataset.data, images.reshape(len(images), -1))
    np.testing.assert_array_equal(dataset.target, labels)
    shapes = {2: None, 3: (1, *images.shape[1:]), 4: images.shape[1:]}
    assert dataset.image_shape == shapes[images.ndim]


def test_every_truncation_is_refused(tmp_path):
    whole = idx_bytes(IMAGES)
    path = tmp_path / "images"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"is truncated|is no IDX file"):
            load_idx(path)


def test_every_truncation_of_a_compressed_file_is_refused(tmp_path):
    whole = gzip.compress(idx_bytes(IMAGES))
    path = tmp_path / "images.gz"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"is damaged|is no IDX file"):
            load_idx(path)


def test_a_flipped_byte_of_a_compressed_file_never_changes_the_pixels(tmp_path):
    whole = gzip.compress(idx_bytes(IMAGES))
    path = tmp_path / "images.gz"
    refused = 0
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 0xFF
        path.write_bytes(flipped)
        try:
            pixels = load_idx(path, dtype="uint8").data
        except ValueError:
            refused += 1
        else:
            np.testing.assert_array_equal(pixels, IMAGES.reshape(2, 12))
    # All but the time, the level and the system in the header of gzip.
    assert refused >= len(whole) - 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_bytes(IMAGES) + b"\0", "too long: its header promises 24 bytes"),
        (b"\0\1" + idx_bytes(IMAGES)[2:], "no IDX file: .*, got 00 01 08 03"),
        (b"\0\0\7\3" + idx_bytes(IMAGES)[4:], "no IDX file"),
        (b"\0\0\x08\0", "no IDX file"),
        (b"", "no IDX file: .* got nothing"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255, "no IDX file: .* from 1 to 4, got 00 00 08 ff"),
        (
            b"\0\0\x08\3" + b"\xff" * 12,
            "truncated: its header promises .* 16 bytes cannot hold",
        ),
        (b"\0\0\x08\4" + b"\0" * 4 + b"\xff" * 12, "must hold something"),
        (idx_bytes(IMAGES.astype("f4")), "as unsigned bytes.*type float32"),
        (idx_bytes(IMAGES[0, 0]), r"in 2 to 4 dimensions; got an array of shape \(4,\)"),
        (idx_bytes(IMAGES[:0]), r"shape \(0, 3, 4\)"),
    ],
)
def test_what_is_no_file_of_images_is_refused(tmp_path, content, message):
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_idx(tmp_path / "images")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(3, "u1"), "labels holds 3 labels for 2 images"),
        (np.int8([0, -1]), "from 0 to 65535, got -1 at index 1"),
        (np.zeros((2, 1), "u1"), r"one integer label an image, got an array of shape \(2, 1\)"),
        (np.zeros(2, "f4"), "type float32"),
        (np.int32([0, 2**31 - 1]), "from 0 to 65535, got 2147483647 at index 1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, message):
    images = save(tmp_path / "images", IMAGES)
    with pytest.raises(ValueError, match=message):
        load_idx(images, save(tmp_path / "labels", labels))


@pytest.mark.parametrize(
    ("promised", "state"),
    [
        (1, "too long: .* got more"),
        (2**26 + 1, "truncated: .* got 67108864"),
        (2**30, "cannot hold"),
    ],
)
@pytest.mark.parametrize("name", ["images", "labels"])
def test_a_compressed_file_is_read_as_far_as_it_promises(tmp_path, promised, state, name):
    header = bytes([0, 0, 8, 2, 0, 0, 0, 1]) + promised.to_bytes(4, "big")
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(header + bytes(2**26)))
    images = save(tmp_path / "images", IMAGES)
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match=f"bomb.gz is {state}" if "too" in state else state
        ):
            load_idx(path) if name == "images" else load_idx(images, path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What was promised, and came, is taken once.
    assert peak < 2**22 + (2**26 if promised == 2**26 + 1 else 0)


def test_what_may_be_taken_in_memory_is_compared_with_the_header(tmp_path):
    path = save(tmp_path / "images.gz", np.zeros((1000, 28, 28), "u1"))
    n_bytes = 1000 * 28 * 28
    assert load_idx(path, dtype="uint8", max_bytes=n_bytes).data.nbytes == n_bytes
    with pytest.raises(ValueError, match=r"would take 3,136,000 bytes .* max_bytes is 784,000"):
        load_idx(path, max_bytes=n_bytes)
    labels = save(tmp_path / "labels", np.zeros(1000, "u1"))
    with pytest.raises(ValueError, match=r"labels would take 8,000 bytes"):
        load_idx(save(tmp_path / "few", np.zeros((1000, 1), "u1")), labels, max_bytes=7999)
    write_mnist(tmp_path)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte would take 37,632 bytes"):
        mnist(tmp_path, max_bytes=10_000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(
        FileNotFoundError, match="pipe is no regular file, but a folder, a pipe"
    ):
        load_idx(tmp_path / "pipe")
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    os.mkfifo(tmp_path / "train-labels-idx1-ubyte")
    with pytest.raises(FileNotFoundError, match="MNIST lacks train-labels-idx1-ubyte"):
        mnist(tmp_path)


def test_options_are_checked_before_anything_is_read():
    with pytest.raises(ValueError, match="dtype must be one of float32, uint8; got 'float64'"):
        load_idx("missing", dtype="float64")
    with pytest.raises(ValueError, match="subset must be one of train, test; got 'val'"):
        mnist("missing", subset="val")
    with pytest.raises(FileNotFoundError, match=r"There is no file missing\."):
        load_idx("missing")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Write files that carry the checksums of the published ones."""
    written = write_mnist(tmp_path)
    sums = {
        path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()
    }
    monkeypatch.setattr(idx, "MNIST", idx.MNIST._replace(md5=sums))
    return tmp_path, written


@pytest.mark.parametrize("subset", ["train", "test"])
def test_published_files_are_read_without_a_warning(published, subset):
    folder, written = published
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = mnist(folder, subset=subset, dtype="uint8")
    images, labels = written[subset]
    np.testing.assert_array_equal(dataset.data, images.reshape(len(images), 784))
    np.testing.assert_array_equal(dataset.target, labels)
    assert dataset.target.dtype == np.int64
    assert dataset.image_shape == (1, 28, 28)
    assert dataset.target_names == list("0123456789")


def test_compressed_again_or_renamed_they_are_still_the_published_ones(published):
    folder, written = published
    for path in list(folder.iterdir()):
        path.with_name(path.name.replace("-idx", ".idx") + ".gz").write_bytes(
            gzip.compress(path.read_bytes(), compresslevel=1)
        )
        path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = mnist(folder, dtype="uint8")
    np.testing.assert_array_equal(dataset.data, written["train"][0].reshape(-1, 784))


@pytest.mark.parametrize("read", [mnist, fashion_mnist])
def test_other_sound_files_are_read_with_a_warning_that_points_here(tmp_path, read):
    write_mnist(tmp_path)
    with pytest.warns(
        UnverifiedDataWarning, match="train-labels-idx1-ubyte has another checksum"
    ) as caught:
        assert read(tmp_path).data.shape == (12, 784)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_missing_files_are_named_with_their_source(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    message = (
        f"Fashion-MNIST lacks t10k-labels-idx1-ubyte (or t10k-labels-idx1-ubyte.gz) in "
        f"{tmp_path}. Download the four .gz files in data/fashion of the GitHub repository"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        fashion_mnist(tmp_path, subset="test")
    with pytest.raises(NotADirectoryError, match="is a file: name the folder"):
        mnist(tmp_path / "train-images-idx3-ubyte")


def test_other_data_under_these_names_are_left_to_load_idx(tmp_path):
    write_mnist(tmp_path, size=20)
    with pytest.raises(
        ValueError, match=r"28 by 28 pixels.*\(12, 20, 20\).*load_idx reads any"
    ):
        mnist(tmp_path)
    write_mnist(tmp_path)
    labels = np.full(12, 26, np.uint8)
    save(tmp_path / "train-labels-idx1-ubyte", labels)
    with pytest.raises(ValueError, match=r"from 0 to 9, got 26 at index 0\. That is not MNIST"):
        mnist(tmp_path)
    dataset = load_idx(
        tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    )
    np.testing.assert_array_equal(dataset.target, labels)
