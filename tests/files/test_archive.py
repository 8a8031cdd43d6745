"""A file holds what was written, whole or not at all, and nothing that is read runs."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from skvae.exceptions import FileFormatError, OtherVersionWarning
from skvae.files import archive as module
from skvae.files.archive import ARRAYS, RECORD, SCALARS, read_archive, write_archive

SOME = {"rate": 0.1, "of": [1, None, True, "é\x00"], "inner": {"a": (1, (2.5,))}}
WEIGHTS = {"w": np.arange(6.0).reshape(2, 3), "n": np.array(7, dtype=np.uint64)}

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), inner)
    ),
    max_leaves=10,
)
arrays = st.sampled_from(sorted(SCALARS)).flatmap(
    lambda name: npst.arrays(name, npst.array_shapes(min_dims=0, min_side=0, max_dims=3))
)


def same(one, other):
    """Equality with types, signs of zero, and NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.skvae"


@pytest.fixture
def written(path):
    write_archive(path, "model", SOME, WEIGHTS)
    return path


def rewritten(path, members, **infos):
    """Write a zip of these members, sound by itself."""
    with zipfile.ZipFile(path, "w") as changed:
        for name, content in members:
            changed.writestr(name, content, **infos)


def members(path):
    with zipfile.ZipFile(path) as opened:
        return [(info.filename, opened.read(info)) for info in opened.infolist()]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    record=st.dictionaries(st.sampled_from("abc"), plain), named=st.lists(arrays, max_size=3)
)
def test_what_is_read_is_what_was_written(path, record, named):
    written = {f"array {number}": array for number, array in enumerate(named)}
    write_archive(path, "model", record, written)
    found, read = read_archive(path, "model")
    assert same(found, record)
    assert read.keys() == written.keys()
    for name, array in written.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes()
        assert read[name].flags.writeable


def test_numbers_of_numpy_keep_their_types(path):
    record = {name: np.dtype(name).type(1) for name in SCALARS} | {"nan": np.float32("nan")}
    write_archive(path, "model", record, {})
    assert same(read_archive(path, "model")[0], record)


def test_arrays_with_gaps_and_of_the_other_order_of_bytes_are_written_as_they_read(path):
    X = np.arange(24.0).reshape(4, 6)
    written = {"gaps": X[::2, ::3], "fortran": X.T, "swapped": X.astype(">f8")}
    write_archive(path, "model", {}, written)
    for name, array in read_archive(path, "model")[1].items():
        np.testing.assert_array_equal(array, written[name])


@pytest.mark.parametrize(
    ("record", "place"),
    [
        ({"a": [1, {"b": object()}]}, r"record\.a\[1\]\.b is a object"),
        ({"a": {1: 2}}, r"record\.a has the key 1"),
        ({"$float": "nan"}, "the key '.float'"),
        ({"a": b"bytes"}, r"record\.a is a bytes"),
        ({"a": OrderedDict()}, r"record\.a is a OrderedDict"),
        ({"a": np.longdouble(1)}, r"record\.a is a longdouble"),
    ],
)
def test_what_is_not_plain_is_refused_by_name_and_leaves_the_old_file(written, record, place):
    before = written.read_bytes()
    with pytest.raises(TypeError, match=place):
        write_archive(written, "model", record, {})
    assert written.read_bytes() == before
    assert os.listdir(written.parent) == [written.name]


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.array([None]), np.zeros(2, dtype=complex)]
)
def test_arrays_of_other_than_numbers_are_refused_by_name(path, array):
    with pytest.raises(TypeError, match="The array 'odd' is of"):
        write_archive(path, "model", {}, {"odd": array})
    assert not path.exists()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_at_any_step_leaves_the_old_file_and_nothing_beside_it(
    written, monkeypatch, error, step
):
    before = written.read_bytes()

    def fail(*args):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(error):
        write_archive(written, "model", {"new": 1}, {})
    monkeypatch.undo()
    assert written.read_bytes() == before
    assert os.listdir(written.parent) == [written.name]


KILLED = """
import os, sys
import numpy as np
from pathlib import Path
from skvae.files import archive

path, most = sys.argv[1], int(sys.argv[2])
class Dying:
    def __init__(self, file):
        self.file, self.left = file, most
    def __getattr__(self, name):
        return getattr(self.file, name)
    def write(self, content):
        part = bytes(content)[:self.left]
        self.file.write(part)
        self.left -= len(part)
        if not self.left:
            self.file.flush()
            os._exit(9)
        return len(content)
whole = archive.write_whole
archive.write_whole = lambda path, write: whole(path, lambda file: write(Dying(file)))
archive.write_archive(path, "model", {"new": 1}, {"w": np.ones(9)})
"""


@pytest.mark.parametrize("most", [1, 300, 10**9])
def test_killed_at_any_byte_the_old_file_or_the_new_one_is_there(written, most):
    done = subprocess.run([sys.executable, "-c", KILLED, str(written), str(most)], check=False)
    record, _ = read_archive(written, "model")
    assert (done.returncode, record) == ((9, SOME) if most < 10**6 else (0, {"new": 1}))


def test_the_same_values_make_the_same_file(written, tmp_path):
    write_archive(tmp_path / "again", "model", SOME, WEIGHTS)
    assert (tmp_path / "again").read_bytes() == written.read_bytes()


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_archive(tmp_path / "none", "model")
    with pytest.raises(FileNotFoundError):
        write_archive(tmp_path / "no folder" / "a", "model", {}, {})
    with pytest.raises(IsADirectoryError):
        write_archive(tmp_path, "model", {}, {})
    assert os.listdir(tmp_path) == []


def signed(path, changes, packed=None):
    """Change what a file says of itself, with the digest of what it then holds."""
    (_, text), (_, arrays) = members(path)
    packed = arrays if packed is None else packed
    content = {**json.loads(text), **changes}
    content["sha256"] = module._digest(content, packed)
    rewritten(path, [(RECORD, json.dumps(content)), (ARRAYS, packed)])


def test_another_kind_and_a_newer_format_are_named(written):
    with pytest.raises(FileFormatError, match="holds a model, and a report was asked for"):
        read_archive(written, "report")
    signed(written, {"format": 2})
    with pytest.raises(FileFormatError, match=r"is in format 2, and skvae .* update skvae"):
        read_archive(written, "model")


def test_another_major_version_is_warned_of(written):
    versions = json.loads(members(written)[0][1])["versions"]
    assert versions.keys() == {"skvae", "python", "numpy", "scikit-learn", "torch"}
    signed(written, {"versions": {**versions, "skvae": "7.0.0"}})
    with pytest.warns(OtherVersionWarning, match=r"was written by skvae 7\.0\.0"):
        assert read_archive(written, "model")[0] == SOME


def deep(levels):
    return "[" * levels + "]" * levels


RECORDS = {
    "empty": "",
    "no JSON": "{",
    "a list": "[]",
    "a number": "1",
    "no format": "{}",
    "a format of text": '{"format": "1"}',
    "format zero": '{"format": 0, "kind": "model"}',
    "nothing else": '{"format": 1, "kind": "model"}',
    "deep": deep(100_000),
    "a long number": '{"format": ' + "9" * 10_000 + "}",
    "twice": '{"format": 1, "format": 1}',
    "no text": b"\xff\xfe",
    "a pickle": pickle.dumps({}),
}


@pytest.mark.parametrize("text", RECORDS.values(), ids=RECORDS)
def test_a_record_that_is_none_is_refused(written, text):
    rewritten(written, [(RECORD, text), members(written)[1]])
    with pytest.raises(FileFormatError, match="is damaged, or no file of skvae"):
        read_archive(written, "model")


def header(entries, data=b""):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


PACKED = {
    "empty": b"",
    "a header longer than all": struct.pack("<Q", 2**60) + b"{}",
    "no header": header([]),
    "offsets beyond": header({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}),
    "a shape of more": header(
        {"a": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "a shape that overflows": header(
        {"a": {"dtype": "U8", "shape": [2**32, 2**32], "data_offsets": [0, 0]}}
    ),
    "a type that NumPy lacks": header(
        {"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, bytes(2)
    ),
    "a pickle": pickle.dumps([1]),
    "NumPy's own": b"\x93NUMPY\x01\x00",
}


@pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED)
def test_arrays_that_are_none_are_refused_though_signed(written, packed):
    signed(written, {}, packed)
    with pytest.raises(FileFormatError, match="is damaged, or no file of skvae"):
        read_archive(written, "model")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_are_swapped_or_others_are_refused(written, tmp_path):
    write_archive(tmp_path / "other", "model", SOME, {"w": np.ones((2, 3))})
    (record, text), (packed, content) = members(written)
    wrong = {
        "of another file": [(record, text), members(tmp_path / "other")[1]],
        "in the other order": [(packed, content), (record, text)],
        "under the other's name": [(record, content), (packed, text)],
        "a path": [("/" + record, text), (packed, content)],
        "a way up": [("../" + record, text), (packed, content)],
        "one alone": [(record, text)],
        "a third": [(record, text), (packed, content), ("more", b"")],
        "twice": [(record, text), (record, text)],
        "none": [],
    }
    for parts in wrong.values():
        rewritten(written, parts)
        with pytest.raises(FileFormatError, match="is damaged, or no file of skvae"):
            read_archive(written, "model")


def test_what_would_inflate_to_much_takes_no_memory(written):
    bomb = bytes(2**27)
    text = members(written)[0][1]
    tracemalloc.start()
    for parts in ([(RECORD, bomb), (ARRAYS, b"")], [(RECORD, text), (ARRAYS, bomb)]):
        rewritten(written, parts, compress_type=zipfile.ZIP_DEFLATED)
        tracemalloc.reset_peak()
        with pytest.raises(FileFormatError, match="out of all proportion"):
            read_archive(written, "model")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    # One that says to be small, and is not.
    lying = bytearray(written.read_bytes())
    directory = lying.rindex(b"PK\1\2")
    lying[directory + 24 : directory + 28] = struct.pack("<L", 1000)
    written.write_bytes(lying)
    tracemalloc.reset_peak()
    with pytest.raises(FileFormatError):
        read_archive(written, "model")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_directory_of_many_members_is_not_read(path):
    rewritten(path, [(str(number), b"") for number in range(2000)])
    with pytest.raises(FileFormatError, match="other members than two"):
        read_archive(path, "model")


def test_what_hardly_varies_is_read_back_though_it_would_shrink_to_nothing(path):
    write_archive(path, "model", {"zeros": [0] * 10_000}, {"w": np.zeros(100_000)})
    record, arrays = read_archive(path, "model")
    assert not np.any(record["zeros"])
    assert not arrays["w"].any()


def test_every_single_bit_is_told_or_is_of_no_account(written):
    whole = written.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.choice(8 * len(whole), 600, replace=False):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        written.write_bytes(changed)
        try:
            record, arrays = read_archive(written, "model")
        except FileFormatError:
            continue
        assert same(record, SOME)
        assert all(np.array_equal(arrays[name], WEIGHTS[name]) for name in WEIGHTS)


def test_a_zip_in_memory_is_what_any_reader_of_zips_reads(written):
    with zipfile.ZipFile(io.BytesIO(written.read_bytes())) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == [RECORD, ARRAYS]
