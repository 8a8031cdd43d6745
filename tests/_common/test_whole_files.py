"""Files that are there whole or not at all."""

import errno
import os
import shutil
import threading
import time
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


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "model.skvae", tmp_path / "model.skvae"
    link.symlink_to(target)
    for content in (b"first", b"second"):
        write_whole(link, lambda file, content=content: file.write(content))
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert len(list((tmp_path / "store").iterdir())) == 1


@pytest.mark.parametrize("is_link", [False, True])
def test_a_pipe_is_written_to_and_not_replaced(tmp_path, is_link):
    """So are devices: one who may write to their folder must not put a file in their place."""
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if is_link:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    # Opened for reading too, or to open it waits for a reader.
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(path, lambda file: file.write(b"all"))
        assert os.read(reader, 10) == b"all"
        with pytest.raises(OSError, match=f"{path} could not be written.*make room"):
            write_whole(path, lambda file: full())
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert len(list(tmp_path.iterdir())) == 1 + is_link


def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_two_that_write_one_file_do_not_write_into_each_other(tmp_path):
    path = tmp_path / "model.skvae"

    def first(file):
        file.write(b"first")
        write_whole(path, lambda other: other.write(b"the second, which is longer"))
        file.write(b" and whole")

    write_whole(path, first)
    assert path.read_bytes() == b"first and whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_may_be_as_long_as_a_name_may_be(tmp_path):
    path = tmp_path / ("n" * 255)
    write_whole(path, lambda file: file.write(b"all"))
    assert path.read_bytes() == b"all"


def test_each_of_many_that_write_to_one_path_writes_a_whole_file(tmp_path):
    path = tmp_path / "model.skvae"
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
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_one_left_is_removed_in_time(tmp_path):
    path, other = tmp_path / "model.skvae", tmp_path / "other.skvae"

    def killed(file):
        (partial,) = tmp_path.glob(".*.part")
        for name in ("1", "2"):
            shutil.copy(partial, partial.with_name(f"{partial.name[:18]}{name}.part"))

    write_whole(path, killed)
    first, second = sorted(tmp_path.glob(".*.part"))
    hour_ago = time.time() - 3700
    os.utime(first, (hour_ago, hour_ago))
    write_whole(other, lambda file: None)
    assert first.exists()
    write_whole(path, lambda file: None)
    assert set(tmp_path.iterdir()) == {path, other, second}
