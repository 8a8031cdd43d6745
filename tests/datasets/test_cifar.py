"""CIFAR-10 and CIFAR-100: both versions agree, damage is refused, and no pickle runs code."""

import hashlib
import pickle
import re
import warnings

import numpy as np
import pytest
from published_formats import (
    CIFAR10_NAMES,
    COARSE_NAMES,
    FINE_NAMES,
    python2_pickle,
    write_cifar10,
    write_cifar100,
)

from skvae.datasets import cifar, cifar10, cifar100
from skvae.exceptions import UnverifiedDataWarning

# What is read here has too few rows to be the published data.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UnverifiedDataWarning")
VERSIONS = ["python", "binary"]


def test_the_pickles_written_here_are_what_the_usual_recipe_reads():
    value = {b"data": np.arange(6, dtype=np.uint8).reshape(2, 3), b"labels": [1, 2]}
    # NumPy itself warns that the module was renamed since these files were written.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        read = pickle.loads(python2_pickle(value), encoding="bytes")
    np.testing.assert_array_equal(read[b"data"], value[b"data"])
    assert read[b"labels"] == [1, 2]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("subset", ["train", "test"])
def test_cifar10_is_read_batch_by_batch(tmp_path, version, subset):
    rows, labels = write_cifar10(tmp_path, version)[subset]
    dataset = cifar10(tmp_path, subset=subset, dtype="uint8")
    np.testing.assert_array_equal(dataset.data, rows)
    np.testing.assert_array_equal(dataset.target, labels)
    assert dataset.image_shape == (3, 32, 32)
    assert dataset.target_names == CIFAR10_NAMES
    scaled = cifar10(tmp_path, subset=subset).data
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, rows / np.float32(255))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("subset", ["train", "test"])
def test_cifar100_has_fine_and_coarse_labels(tmp_path, version, subset):
    rows, fine, coarse = write_cifar100(tmp_path, version)[subset]
    dataset = cifar100(tmp_path, subset=subset, dtype="uint8")
    np.testing.assert_array_equal(dataset.data, rows)
    np.testing.assert_array_equal(dataset.target, fine)
    assert dataset.target_names == FINE_NAMES
    dataset = cifar100(tmp_path, subset=subset, labels="coarse")
    np.testing.assert_array_equal(dataset.target, coarse)
    assert dataset.target_names == COARSE_NAMES


@pytest.mark.parametrize("version", VERSIONS)
def test_the_folder_that_holds_the_unpacked_one_will_do(tmp_path, version):
    inner = {"python": "cifar-10-batches-py", "binary": "cifar-10-batches-bin"}[version]
    rows, _ = write_cifar10(tmp_path / inner, version)["train"]
    np.testing.assert_array_equal(cifar10(tmp_path, dtype="uint8").data, rows)


def test_published_files_are_read_without_a_warning(tmp_path, monkeypatch):
    write_cifar10(tmp_path, "python")

    def md5(name):
        return hashlib.md5((tmp_path / name).read_bytes()).hexdigest()

    monkeypatch.setattr(
        cifar,
        "CIFAR10",
        cifar.CIFAR10._replace(
            python={
                subset: {name: md5(name) for name in names}
                for subset, names in cifar.CIFAR10.python.items()
            },
            meta=("batches.meta", md5("batches.meta")),
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cifar10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes((tmp_path / "data_batch_2").read_bytes())
    with pytest.warns(UnverifiedDataWarning) as caught:
        cifar10(tmp_path)
    assert "published: data_batch_3 has another checksum." in str(caught[0].message)
    assert caught[0].filename == __file__


def test_a_binary_batch_is_known_by_its_number_of_rows(tmp_path):
    write_cifar100(tmp_path, "binary")
    with pytest.warns(UnverifiedDataWarning, match=r"train\.bin has 6 rows, not 50000"):
        cifar100(tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_missing_files_are_named_with_their_source(tmp_path, version):
    write_cifar10(tmp_path, version)
    end = {"python": "", "binary": ".bin"}[version]
    meta = {"python": "batches.meta", "binary": "batches.meta.txt"}[version]
    for name in (f"data_batch_2{end}", f"data_batch_4{end}", meta):
        (tmp_path / name).unlink()
    message = f"CIFAR-10 lacks data_batch_2{end}, data_batch_4{end}, {meta} in {tmp_path}. Down"
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        cifar10(tmp_path)


def test_an_empty_folder_says_where_it_looked_and_what_is_still_packed(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folders cifar-100-python and .*\. Download"):
        cifar100(tmp_path)
    (tmp_path / "cifar-100-binary.tar.gz").touch()
    with pytest.raises(FileNotFoundError, match=r"Unpack cifar-100-binary\.tar\.gz, which is"):
        cifar100(tmp_path)


def test_every_truncation_of_a_pickle_is_refused(tmp_path):
    write_cifar100(tmp_path, "python", n=1)
    whole = (tmp_path / "train").read_bytes()
    for length in [*range(200), *range(200, len(whole) - 100, 97), len(whole) - 1]:
        (tmp_path / "train").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="train is damaged, or no pickled batch"):
            cifar100(tmp_path)


@pytest.mark.parametrize("length", [0, 1, 3073, 3074 * 6 - 1])
def test_a_truncated_binary_batch_is_refused(tmp_path, length):
    write_cifar100(tmp_path, "binary")
    whole = (tmp_path / "train.bin").read_bytes()
    (tmp_path / "train.bin").write_bytes(whole[:length])
    with pytest.raises(ValueError, match=f"rows of 3074 bytes, got {length} bytes in all"):
        cifar100(tmp_path)


ROWS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({b"data": ROWS, b"labels": [1]}, "holds 1 labels for 2 images"),
        ({b"data": ROWS, b"labels": [1, 10]}, "from 0 to 9, got 10 at index 1"),
        ({b"data": ROWS, b"labels": [1, -1]}, "from 0 to 9, got -1 at index 1"),
        ({b"data": ROWS, b"labels": [1, b"2"]}, "a list of whole numbers"),
        ({b"data": ROWS, b"labels": ROWS}, "a list of whole numbers"),
        ({b"data": ROWS[:, :784], b"labels": [1, 2]}, r"rows of 3072 .*got \(2, 784\)"),
        ({b"data": [0], b"labels": [1]}, "rows of 3072 unsigned bytes, got list"),
        ({b"data": ROWS.astype("f8"), b"labels": [1, 2]}, "type b'f8', not unsigned bytes"),
        ({b"data": ROWS, b"fine_labels": [1, 2]}, "'labels' is not there. It is no batch of"),
        ({b"labels": [1, 2]}, "'data' is not there"),
        ([ROWS], "holds no dictionary but a list"),
    ],
)
def test_a_batch_of_the_wrong_structure_is_refused(tmp_path, batch, message):
    write_cifar10(tmp_path, "python")
    (tmp_path / "data_batch_2").write_bytes(python2_pickle(batch))
    with pytest.raises(ValueError, match=f"data_batch_2.*{message}"):
        cifar10(tmp_path)


def test_an_array_whose_bytes_do_not_fill_its_shape_is_refused(tmp_path):
    write_cifar10(tmp_path, "python")
    whole = python2_pickle({b"data": ROWS, b"labels": [1, 2]})
    rows, more = (b"J" + number.to_bytes(4, "little") for number in (2, 3))
    # The first number two is the height of the array.
    (tmp_path / "data_batch_1").write_bytes(whole.replace(rows, more, 1))
    with pytest.raises(ValueError, match="cannot reshape array"):
        cifar10(tmp_path)


def test_binary_labels_and_names_are_checked(tmp_path):
    write_cifar10(tmp_path, "binary")
    (tmp_path / "batches.meta.txt").write_text("airplane\nautomobile\n")
    with pytest.raises(ValueError, match=r"batches\.meta\.txt must name 10 classes, got 2"):
        cifar10(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(ValueError, match="from 0 to 9, got 10 at index 0"):
        cifar10(tmp_path, subset="test")


@pytest.mark.parametrize(
    "names",
    [{}, {b"label_names": b"cat"}, {b"label_names": [3] * 10}, {b"label_names": [b"a"]}],
)
def test_names_of_the_wrong_structure_are_refused(tmp_path, names):
    write_cifar10(tmp_path, "python")
    (tmp_path / "batches.meta").write_bytes(python2_pickle(names))
    with pytest.raises(ValueError, match=r"batches\.meta must"):
        cifar10(tmp_path)


class Call:
    """Pickles as a call, the way in which a malicious file runs code."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def malicious(tmp_path):
    import os
    import subprocess

    trace = str(tmp_path / "trace")
    return [
        Call(os.system, f"touch {trace}"),
        Call(eval, f"open({trace!r}, 'w')"),
        Call(subprocess.check_call, ["touch", trace]),
        Call(getattr, np.ndarray, "tofile"),
        Call(np.fromfile, trace),
        np.zeros(2),
        {b"data": ROWS, b"labels": [Call(open, trace, "w")]},
    ]


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("victim", ["data_batch_1", "batches.meta"])
def test_a_malicious_pickle_runs_nothing(tmp_path, number, protocol, victim):
    write_cifar10(tmp_path, "python")
    (tmp_path / victim).write_bytes(pickle.dumps(malicious(tmp_path)[number], protocol))
    with pytest.raises(ValueError, match=r"was not loaded: it asks for .* malicious"):
        cifar10(tmp_path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "instructions",
    [
        b"cnumpy\nndarray\n}(T\4\0\0\0evilJ\1\0\0\0ub.",  # a state for the class itself
        b"cnumpy\ndtype\nN}(T\4\0\0\0evilJ\1\0\0\0u\x86b.",
        b"cnumpy\ndtype\n(T\1\0\0\0OtR.",  # an array of objects
        b"cnumpy\nndarray.tofile\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        b"Pnobody\n.",  # a persistent id
        b"\x82\1.",  # an extension code
    ],
)
def test_abuse_of_what_is_admitted_is_refused(tmp_path, instructions):
    write_cifar10(tmp_path, "python")
    (tmp_path / "data_batch_1").write_bytes(instructions)
    with pytest.raises(ValueError, match=r"data_batch_1 (is damaged|was not loaded)"):
        cifar10(tmp_path)
