"""Files of finished runs: whole or not there, told when damaged."""

import errno
import json
import os
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skvae.exceptions import DamagedResultWarning
from skvae.protocol.results_folder import (
    ResultsFolder,
    check_names,
    content_hash,
    identity_of,
    plain,
)

RECORD = {"elbo": -1.25, "history": [{"epoch": 1, "loss": 0.1}], "probe": None, "arm": "vae"}


def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_is_told_with_the_path_wherever_it_is_met(tmp_path, monkeypatch, call):
    folder = ResultsFolder(tmp_path)
    folder.write("one", RECORD)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        folder.write("two", RECORD)
    # As it comes out of a worker process, too.
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert error.errno == errno.ENOSPC
        assert str(tmp_path / "two.json") in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]
    assert folder.read("one") == RECORD


def unwritable(path):
    """Places that nobody can write to, root included."""
    (path / "file").write_text("a file")
    (path / "broken").symlink_to(path / "nowhere")
    return {
        "a file": path / "file",
        "below a file": path / "file" / "runs",
        "far below a file": path / "file" / "deep" / "runs",
        "a broken link": path / "broken",
        "too long": path / "new" / ("n" * 300),
        "no path": path / "\0",
    }


@pytest.mark.parametrize(
    "place", ["a file", "below a file", "far below a file", "a broken link"]
)
def test_folder_that_cannot_be_made_is_told_with_its_path(tmp_path, place):
    folder = ResultsFolder(unwritable(tmp_path)[place])
    assert folder.read("one") is None
    refuse(folder, tmp_path)


@pytest.mark.parametrize("place", ["too long", "no path"])
def test_name_that_no_folder_can_have_is_told(tmp_path, place):
    refuse(ResultsFolder(unwritable(tmp_path)[place]), tmp_path)


def refuse(folder, tmp_path):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="must be a folder that can be written to") as caught:
        folder.check_writable()
    assert str(folder.path) in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("exists", [True, False])
def test_trial_of_a_folder_leaves_nothing_be_it_full_or_not(tmp_path, monkeypatch, exists):
    path = tmp_path / "new" / "runs"
    if exists:
        path.mkdir(parents=True)
    ResultsFolder(path).check_writable()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        ResultsFolder(path).check_writable()
    assert str(path) in str(caught.value)
    assert path.exists() == exists
    assert len(list(tmp_path.rglob("*"))) == (2 if exists else 0)


def test_folder_without_permission_is_told(tmp_path, monkeypatch):
    def denied(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "mkdir", denied)
    with pytest.raises(PermissionError, match=r"new must be a folder .*\(Permission denied\)"):
        ResultsFolder(tmp_path / "new").check_writable()


@given(
    st.dictionaries(
        st.text(),
        st.floats(allow_nan=False) | st.text() | st.lists(st.floats(-1, 1)) | st.none(),
    )
)
def test_every_record_comes_back_as_it_was(tmp_path_factory, record):
    folder = ResultsFolder(tmp_path_factory.getbasetemp() / "records")
    folder.write("one", record)
    assert folder.read("one") == record


def test_any_byte_that_changes_is_seen(tmp_path):
    folder = ResultsFolder(tmp_path)
    folder.write("one", RECORD)
    file = tmp_path / "one.json"
    content = file.read_bytes()
    assert json.loads(content)["run"] == RECORD
    for place in range(len(content)):
        file.write_bytes(
            content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
        )
        with pytest.warns(DamagedResultWarning, match="one.json is damaged"):
            assert folder.read("one") is None


def test_record_under_another_name_is_told_from_a_damaged_one(tmp_path):
    folder = ResultsFolder(tmp_path)
    for name in ("one", "two"):
        folder.write(name, RECORD)
    shutil.copy(tmp_path / "two.json", tmp_path / "one.json")
    with pytest.warns(DamagedResultWarning, match="one.json holds the run two: that run is"):
        assert folder.read("one") is None
    assert folder.read("two") == RECORD
    # A name that was changed with it does not fit the sum.
    (tmp_path / "one.json").write_text(
        (tmp_path / "two.json").read_text().replace('"two"', '"one"')
    )
    with pytest.warns(DamagedResultWarning, match="one.json is damaged"):
        assert folder.read("one") is None


def test_others_are_counted(tmp_path):
    folder = ResultsFolder(tmp_path / "not there yet")
    assert folder.others(set()) == 0
    for name in ("one", "two", "three"):
        folder.write(name, RECORD)
    assert folder.others({"two"}) == 2


def test_name_is_that_of_a_file_and_changes_with_the_description():
    names = {
        identity_of({"epochs": 3}, "vae-seed0"),
        identity_of({"epochs": 4}, "vae-seed0"),
        identity_of({"epochs": 3}, "vae-seed1"),
        identity_of({"epochs": 3}, "../vae 1"),
    }
    assert len(names) == 4
    assert not any(set("/ ") & set(name) for name in names)
    assert identity_of({"a": 1, "b": 2}, "vae") == identity_of({"b": 2, "a": 1}, "vae")
    # No file system takes much more than this.
    long = [identity_of({}, 200 * "v" + end) for end in "ab"]
    assert len(set(long)) == 2
    assert max(map(len, long)) < 200


def test_hash_tells_entries_order_shape_and_type(tmp_path):
    X = np.arange(12.0).reshape(4, 3)
    others = [X[::-1], X.reshape(3, 4), X.astype(np.float32), X + np.eye(4, 3), None]
    assert len({content_hash(array) for array in [X, *others]}) == 6
    np.save(tmp_path / "X.npy", X)
    assert content_hash(np.load(tmp_path / "X.npy", mmap_mode="r")) == content_hash(X)
    assert content_hash(np.asfortranarray(X)) == content_hash(X)
    words = np.array(["a", "b"], dtype=object)
    assert content_hash(words) != content_hash(words[::-1])


def test_plain_values_pass_through_json():
    value = {"sizes": (np.int64(3), 2), "variance": np.float64(0.1), "layer": dict}
    assert plain(value) == {"sizes": [3, 2], "variance": 0.1, "layer": "builtins.dict"}
    with pytest.raises(ValueError, match="got object"):
        plain({"a": object()})


def test_functions_that_share_a_name_are_refused():
    def layers(width):
        return lambda shape, latent_dim: width

    one, other = layers(1), layers(2)
    assert plain(one) == plain(other)
    for unnamed in (one, layers, type("<lambda>", (), {})):
        with pytest.raises(ValueError, match="define it at the top of a module"):
            check_names({"vae": {"sizes": (2,), "encoder": [unnamed]}})
    check_names({"vae": {"sizes": (np.int64(2), 3), "encoder": dict, "lr": None}})


@pytest.mark.filterwarnings("ignore::skvae.exceptions.DamagedResultWarning")
def test_of_five_hundred_damaged_records_none_is_taken_for_a_whole_one(tmp_path):
    folder = ResultsFolder(tmp_path)
    record = {"arm": "vae", "seed": 0, "report": {"margin": 0.25, "rows": [1, 2, 3]}}
    folder.write("vae-seed0", record)
    (path,) = tmp_path.glob("*.json")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(500):
        damaged = bytearray(whole)
        place = int(rng.integers(0, len(whole)))
        kind = number % 4
        if kind == 0:
            damaged[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del damaged[place:]
        elif kind == 2:
            damaged[place:place] = rng.bytes(int(rng.integers(1, 20)))
        else:
            other = int(rng.integers(0, len(whole)))
            damaged[place], damaged[other] = damaged[other], damaged[place]
        path.write_bytes(bytes(damaged))
        found = folder.read("vae-seed0")
        assert found is None or (bytes(damaged) == whole and found == record)
