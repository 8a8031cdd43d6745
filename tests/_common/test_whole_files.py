"""Files that are there whole or not at all."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from skvae._common.whole_files import write_whole


def test_failed_write_leaves_no_partial_file(tmp_path):
    (tmp_path / "kept.json").write_text("before")

    def half(file):
        file.write(b"half")
        raise OSError("disk full")

    for name in ("new.json", "kept.json"):
        with pytest.raises(
            OSError, match=rf"{tmp_path / name} could .* \(disk full\): make room"
        ):
            write_whole(tmp_path / name, half)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_each_of_many_that_write_to_one_path_writes_a_whole_file(tmp_path):
    path = tmp_path / "model.skvae"
    path.with_name("model.skvae.0a1b2c3d.partial").write_text("killed while writing")
    path.with_name("model.skvae.bak").write_text("of somebody else")
    all_write = threading.Barrier(4)

    def write(number):
        def half_and_half(file):
            file.write(bytes([number]) * 50)
            # All have written a half when the first one goes on.
            all_write.wait(timeout=60)
            file.write(bytes([number]) * 50)

        write_whole(path, half_and_half)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert path.read_bytes() in [bytes([number]) * 100 for number in range(4)]
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "model.skvae",
        "model.skvae.bak",
    ]
