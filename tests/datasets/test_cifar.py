"""CIFAR-10 and CIFAR-100: both versions agree, damage is refused, and no pickle runs code."""

import hashlib
import os
import pickle
import re
import tracemalloc
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

from skvae.datasets import cifar, cifar10, cifar100, unpickling
from skvae.datasets.unpickling import unpickle_batch
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


def test_the_names_written_here_are_the_published_file():
    names = b"airplane automobile bird cat deer dog frog horse ship truck".split()
    written = python2_pickle(
        {b"num_cases_per_batch": 10_000, b"label_names": names, b"num_vis": 3072}
    )
    assert hashlib.md5(written).hexdigest() == cifar.CIFAR10.meta[1]
    assert unpickle_batch(written, "batches.meta")[b"label_names"] == names


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
        ({b"data": [0], b"labels": [1]}, "rows of 3072 unsigned bytes, .*got list"),
        ({b"data": ROWS.astype("f8"), b"labels": [1, 2]}, "type b'f8', not unsigned bytes"),
        ({b"data": ROWS, b"fine_labels": [1, 2]}, "'labels' is not there. It is no batch of"),
        ({b"labels": [1, 2]}, "'data' is not there"),
        ({b"data": ROWS[:0], b"labels": []}, r"at least one; got \(0, 3072\)"),
        ({b"data": ROWS, b"labels": [1, 2**31]}, "from 0 to 9, got 2147483648 at index 1"),
        ({b"data": ROWS, b"labels": [1, 2**70]}, "has a number of 9 bytes"),
        ({b"data": ROWS, b"labels": [ROWS]}, "something other than numbers and strings"),
        ({b"data": ROWS, b"labels": {b"data": {}}}, "a dictionary has another within"),
        ({b"data": ROWS, 3: [1, 2]}, "a key that is no string"),
        ([1, 2], "holds no dictionary but a list"),
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
    assert whole.count(b"K\2M\0\x0c") == 1
    (tmp_path / "data_batch_1").write_bytes(whole.replace(b"K\2M\0\x0c", b"K\3M\0\x0c"))
    with pytest.raises(ValueError, match=r"shape \(3, 3072\) cannot have 6144 bytes"):
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
    # Other protocols are not read at all.
    message = (
        "it asks for '.*malicious" if protocol == 2 else "protocol 2 of pickle, of Python 2"
    )
    with pytest.raises(ValueError, match=f"{victim} .*{message}"):
        cifar10(tmp_path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "instructions",
    [
        b"cnumpy\nndarray\n}(U\4evilK\1ub.",  # a state for the class itself
        b"cnumpy\ndtype\nN}(U\4evilK\1u\x86b.",
        b"cnumpy\ndtype\n(U\1OtR.",  # an array of objects
        b"cnumpy\nndarray\n(K\2K\2tR.",  # an array of any size
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\2tU\1btR.",
        b"cnumpy\nndarray.tofile\n.",
        b"cnumpy\nndarray",
        b"c" + b"n" * 2_000_000,
        b"\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        b"Pnobody\n.",  # a persistent id
        b"\x82\1.",  # an extension code
        b"I" + b"9" * 1_000_000 + b"\n.",
        b"\x8b\xff\xff\xff\x7f.",  # a number of 2 GiB
        b"T\xff\xff\xff\x7fabc.",  # a string of 2 GiB
        b"T\xff\xff\xff\xff.",
        b"Nr\0\0\0\x20.",  # a place far out in the memo
        b"}j\0\0\0\x20.",
        b"})" + b"\x85" * 1_000_000 + b"K\1s.",  # a deep tuple, hashed
        b"U\1a)" + b"q\1h\1\x86" * 100 + b".",  # a tuple of twos, to the power of 100
        b"U\1a]q\1" + b"h\1" * 3 + b"e.",
        b"]q\1h\1a.",  # a list within itself
        b"}q\1U\1ah\1s.",
        b"}q\1(U\1ah\1\x85u.",
        b"(" * 200_000,
        b"K\1(K\2\x86.",  # what lies under a mark
        b"K\1K\1.",  # more than one value
        b"}.}",
        b"q\1.",
        b"a.",
        b"e.",
        b"R.",
        b".",
    ],
)
def test_abuse_of_what_is_admitted_is_refused(tmp_path, instructions):
    write_cifar10(tmp_path, "python")
    (tmp_path / "data_batch_1").write_bytes(b"\x80\2" + instructions)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"data_batch_1 (is damaged|was not loaded)"):
            cifar10(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**26


def test_instructions_are_counted(monkeypatch):
    written = python2_pickle({b"label_names": [b"cat"] * 10})
    monkeypatch.setattr(unpickling, "MAX_INSTRUCTIONS", 20)
    with pytest.raises(ValueError, match="has more than 20 instructions"):
        unpickle_batch(written, "batches.meta")


def test_a_recalled_string_and_a_long_are_read():
    # Python 2 recalls a string that comes again, and writes a long for a size on Windows.
    written = b"\x80\2}q\1(U\1aq\2\x8a\2\xe8\3U\1b]q\3(h\2h\2K\7eu."
    assert unpickle_batch(written, "batch") == {b"a": 1000, b"b": [b"a", b"a", 7]}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("name", ["train", "meta"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name):
    write_cifar100(tmp_path, "python")
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=f"CIFAR-100 lacks {name} in"):
        cifar100(tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_may_be_taken_in_memory_is_compared_first(tmp_path, version):
    write_cifar10(tmp_path, version)
    n_bytes = 20 * 3072
    assert cifar10(tmp_path, dtype="uint8", max_bytes=n_bytes + 4000).data.nbytes == n_bytes
    with pytest.raises(ValueError, match=r"images in .* would take .* and max_bytes is 61,440"):
        cifar10(tmp_path, max_bytes=n_bytes)
    names = {"python": "batches.meta", "binary": "batches.meta.txt"}[version]
    with (tmp_path / names).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=rf"{names} has 1,099,511,627,776 bytes, and such a"):
        cifar10(tmp_path)
    name = {"python": "data_batch_2", "binary": "data_batch_2.bin"}[version]
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"and max_bytes is 8,589,934,592"):
        cifar10(tmp_path)
