"""Arrays on disk; the refusals are tested through the command line."""

import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from skvae.datasets import arrays, digits, load_array


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


def header(shape="(4, 3)", descr="'<f8'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


def npy(text, numbers=bytes(96), version=1, length=None):
    length = len(text) if length is None else length
    size = length.to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + numbers


def npz(path, content, method=zipfile.ZIP_DEFLATED, name="X.npy"):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, content)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "|u1", "|b1", "<i2", "<f2"])
def test_every_header_of_numpy_is_read(tmp_path, version, order, dtype):
    X = np.asarray(np.arange(12).reshape(4, 3) % 5, dtype=dtype, order=order)
    with (tmp_path / "X.npy").open("wb") as file:
        np.lib.format.write_array(file, X, version=(version, 0))
    npz(tmp_path / "X.npz", (tmp_path / "X.npy").read_bytes())
    for name in ("X.npy", "X.npz"):
        loaded = load_array(tmp_path / name)
        assert loaded.dtype == X.dtype
        assert loaded.flags[f"{order}_CONTIGUOUS"]
        np.testing.assert_array_equal(loaded, X)


@pytest.mark.parametrize(
    "text",
    [
        b"{'shape': (4L, 3L), 'fortran_order': False, 'descr': '<f8'}",  # of Python 2
        b"{'descr':'<f8','fortran_order':False,'shape':(4,3)}" + 1000 * b" ",
    ],
)
def test_headers_of_others_are_read(tmp_path, text):
    (tmp_path / "X.npy").write_bytes(npy(text))
    np.testing.assert_array_equal(load_array(tmp_path / "X.npy"), np.zeros((4, 3)))


UNREADABLE = "cannot be read: it is damaged, or holds something other than numbers"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", UNREADABLE),
        (b"\x93NUMPY", UNREADABLE),
        (npy(header(), version=4), UNREADABLE),
        (npy(header(), b"", version=2, length=2**32 - 1), UNREADABLE),
        (npy(header(), b"", length=2**16 - 1), UNREADABLE),
        (npy(header() + b" " * 2**14), UNREADABLE),
        (npy(b"[" * 4000), UNREADABLE),
        (npy(b"-" * 4000 + b"1"), UNREADABLE),
        (npy(header("(" + "1" * 3000 + "x)")), UNREADABLE),
        (npy(header("(" + "9" * 3000 + ",)")), UNREADABLE),
        (npy(header("(-4, -3)")), UNREADABLE),
        (npy(header("(4, 3), 'shape': (4, 3)")), UNREADABLE),
        (npy(b"{'descr': '<f8', 'shape': (4, 3), 'shape': (4, 3)}"), UNREADABLE),
        (npy(header(descr="'<f3'")), UNREADABLE),
        (npy(header(descr="'<M8[x]'")), UNREADABLE),
        (npy(header(descr="[('a', '<f8')]")), UNREADABLE),
        (npy(header(descr="'|O'")), r"matrix of numbers .* shape \(4, 3\) and type object"),
        (npy(header(descr="'<c16'")), "type complex128"),
        (npy(header(descr="'<M8[ns]'")), r"type datetime64\[ns\]"),
        (npy(header(descr="'|V999999999'")), "type .*V999999999"),
        (npy(header("()")), r"an array of shape \(\)"),
        (npy(header("(0, 9)"), b""), r"an array of shape \(0, 9\)"),
        (npy(header("(" + "9, " * 1000 + ")")), "matrix of numbers"),
        (npy(header(), bytes(95)), r"is truncated: .* promises 96 bytes .*\(4, 3\), got 95"),
        (npy(header(), bytes(97)), "is too long: .* got more"),
        (npy(header("(4, 30000000000)")), "is truncated: .* promises 960000000000 bytes"),
        (npy(header("(9999999999999999999, 9999999999999999999)")), "is truncated"),
    ],
)
def test_a_header_that_promises_no_matrix_is_refused(tmp_path, content, message):
    (tmp_path / "X.npy").write_bytes(content)
    npz(tmp_path / "X.npz", content)
    for name in ("X.npy", "X.npz"):
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=f"{name} .*{message}"):
                load_array(tmp_path / name)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2**20


def test_an_archive_is_read_as_far_as_its_array_promises(tmp_path):
    path = tmp_path / "bomb.npz"
    tracemalloc.start()
    try:
        for n_bytes, message in ((96, "too long"), (2**26 + 8, "truncated: .* got 67108864")):
            npz(path, npy(header(f"({n_bytes // 8}, 1)"), bytes(2**26)))
            tracemalloc.reset_peak()
            with pytest.raises(ValueError, match=f"bomb.npz is {message}"):
                load_array(path)
            _, peak = tracemalloc.get_traced_memory()
            assert peak < 2**23 + (n_bytes if n_bytes > 96 else 0)
    finally:
        tracemalloc.stop()


def test_an_archive_without_a_single_array_is_refused(tmp_path):
    path = tmp_path / "X.npz"
    content = npy(header())
    npz(path, b"hello", name="readme.txt")
    with pytest.raises(ValueError, match=r"one that is named X; it holds none\."):
        load_array(path)
    npz(path, b"hello", name="X")
    with pytest.raises(ValueError, match=r"it holds none\."):
        load_array(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("X.npy", content)
    with pytest.raises(ValueError, match=r"it holds X, X\."):
        load_array(path)
    npz(path, content, method=zipfile.ZIP_LZMA)
    with pytest.raises(
        ValueError, match=r"X\.npz is compressed otherwise than by numpy\.savez"
    ):
        load_array(path)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(ValueError, match=UNREADABLE):
        load_array(path)
    npz(path, content, name="table.npy")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", b"hello")
    np.testing.assert_array_equal(load_array(path), np.zeros((4, 3)))


def test_a_want_of_memory_is_no_damage(tmp_path, monkeypatch):
    def read_promised(file, promised):
        raise MemoryError

    np.savez(tmp_path / "X.npz", np.eye(3))
    monkeypatch.setattr(arrays, "read_promised", read_promised)
    with pytest.raises(MemoryError):
        load_array(tmp_path / "X.npz")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(50, 3), (3, 50), (1, 150), (150, 1)])
def test_rows_with_holes_are_counted_block_by_block(tmp_path, monkeypatch, order, shape):
    monkeypatch.setattr(arrays, "BLOCK", 7)
    rng = np.random.default_rng(0)
    for _ in range(5):
        X = np.where(rng.random(shape) < 0.02, rng.choice([np.nan, np.inf], shape), 1.0)
        X[-1, -1] = np.nan
        np.save(tmp_path / "X.npy", np.asarray(X, order=order))
        holed = np.flatnonzero(~np.isfinite(X).all(axis=1))
        message = rf"in {len(holed)} of {len(X)} rows \(the first is row {holed[0]}\)"
        with pytest.raises(ValueError, match=message):
            load_array(tmp_path / "X.npy")


@pytest.mark.parametrize("shape", [(2**23, 1), (1, 2**23), (2**12, 2**11)])
@pytest.mark.parametrize("order", ["False", "True"])
def test_a_look_through_a_mapped_file_takes_little_memory(tmp_path, shape, order):
    text = header(str(shape), "'<f2'", order)
    with (tmp_path / "X.npy").open("wb") as file:
        file.write(npy(text, b""))
        file.truncate(file.tell() + 2**24)
    tracemalloc.start()
    try:
        assert load_array(tmp_path / "X.npy").shape == shape
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**22


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("end", [".npy", ".npz"])
def test_what_is_no_regular_file_is_refused(tmp_path, end):
    os.mkfifo(tmp_path / f"pipe{end}")
    (tmp_path / f"folder{end}").mkdir()
    (tmp_path / f"device{end}").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "device"):
        with pytest.raises(FileNotFoundError, match=f"{name}{end} is no regular file"):
            load_array(tmp_path / f"{name}{end}")


def test_pickled_objects_are_not_loaded(tmp_path):
    np.save(tmp_path / "o.npy", np.array([[{}]]), allow_pickle=True)
    np.savez(tmp_path / "o.npz", np.array([[{}]]))
    for name in ("o.npy", "o.npz"):
        with pytest.raises(ValueError, match=r"must hold a matrix of numbers.* type object"):
            load_array(tmp_path / name)
