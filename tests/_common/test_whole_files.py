"""Files that are there whole or not at all."""

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
