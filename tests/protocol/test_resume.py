"""A protocol that is killed, interrupted or damaged ends as one that never was."""

import contextlib
import errno
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from skvae import protocol
from skvae.exceptions import DamagedResultWarning, InterruptedFitWarning
from skvae.protocol import csv_table, experiment, markdown_table, runs, teacher_panel
from skvae.training import VAENet

KILLS = 20
ARMS = ("prevention", "collapse", "rescue", "vae", "autoencoder")


# Held-out rows too few for a probe, which takes longer than all the rest.
TRAIN, TEST = slice(0, 60), slice(60, 68)


def rows():
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((12, 5))
    X = centers[rng.integers(0, 12, 68)] + 0.1 * rng.standard_normal((68, 5))
    return X[TRAIN], X[TEST]


def run(folder, **changes):
    options = {
        "arms": ARMS,
        "seeds": [0, 1],
        "teachers": "fixed:2",
        "epochs": 2,
        "device": "cpu",
        "setting": {"latent_dim": 2, "hidden_layer_sizes": [4]},
    }
    return protocol.run(rows(), folder=folder, **{**options, **changes})


def written(result):
    """Return the table, and every record but for the clock."""
    records = [{**record, "seconds": 0} for record in result["runs"]]
    for record in records:
        record["history"] = [{**epoch, "seconds": 0} for epoch in record["history"]]
    return csv_table(records), markdown_table(records), records


@pytest.fixture(scope="module")
def uninterrupted():
    return run(None)


@contextlib.contextmanager
def at_steps(function):
    """Call a function before each step of training and each file that is put in place."""
    step, replace = VAENet.train_step, os.replace

    def train_step(*args, **kwargs):
        function()
        return step(*args, **kwargs)

    def put(*args, **kwargs):
        function()
        return replace(*args, **kwargs)

    VAENet.train_step, os.replace = train_step, put
    yield
    VAENet.train_step, os.replace = step, replace


def kill_again_and_again(path):
    """Start the protocol in forks, and kill them; the number of files that each kill left."""
    calls = itertools.count()

    def start(folder, last):
        child = os.fork()
        if child == 0:
            with at_steps(lambda: next(calls) == last and os.kill(os.getpid(), signal.SIGKILL)):
                run(folder)
            os._exit(0)
        return child

    # What is imported on use is imported once, and forked.
    with at_steps(lambda: next(calls)):
        run(path / "counted")
    n_steps, calls = next(calls), itertools.count()

    drawn = np.random.default_rng(0)
    left = []
    number = 0
    while len(left) < KILLS:
        folder = path / str(number)
        child = start(folder, int(drawn.integers(0, n_steps // 2)))
        if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            left.append(len(list(folder.glob("*.json"))))
        else:
            # It had ended before: the next start has another folder.
            number += 1
    print(left)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_twenty_kills_change_no_bit(tmp_path, uninterrupted):
    # In a process of its own: forks of this one would inherit what other tests have left.
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    left = json.loads(done.stdout)
    assert len(left) == KILLS
    # Some were killed in the middle.
    assert set(left) - {0, len(uninterrupted["runs"])}
    for folder in tmp_path.iterdir():
        assert written(run(folder)) == written(uninterrupted)
        assert not list(folder.glob("*.partial"))


def count_fits(monkeypatch):
    fits = []
    fit = runs._fit

    def counted(parameters, *args, **kwargs):
        fits.append(parameters["alignment_weight"])
        return fit(parameters, *args, **kwargs)

    monkeypatch.setattr(runs, "_fit", counted)
    return fits


def test_second_start_does_only_what_is_missing(tmp_path, monkeypatch, uninterrupted):
    fits = count_fits(monkeypatch)
    run(tmp_path)
    # Two of prevention and rescue; collapse and two baselines once for both teachers.
    assert len(fits) == 2 * (2 + 2 + 3)
    fits.clear()
    resumed = []
    assert written(run(tmp_path, on_resume=resumed.append)) == written(uninterrupted)
    assert fits == []
    assert resumed == [len(uninterrupted["runs"])]
    # Rescue starts from collapse, which is trained again for it.
    (path,) = tmp_path.glob("rescue-seed1-teacher1-*.json")
    path.unlink()
    (tmp_path / (path.name + ".0a1b2c3d.partial")).write_text("killed while writing")
    assert written(run(tmp_path)) == written(uninterrupted)
    assert fits == [0.0, 10.0]
    assert not list(tmp_path.glob("*.partial"))


def test_more_seeds_arms_and_teachers_add_to_what_is_there(tmp_path, monkeypatch):
    fits = count_fits(monkeypatch)
    few = run(tmp_path, arms=["vae"], seeds=[0], teachers=1)
    assert len(fits) == 1
    more = run(tmp_path, arms=["vae"], seeds=[0], teachers=2)
    assert more["runs"][0] == few["runs"][0]
    other = run(tmp_path, arms=["vae"], seeds=[0], teachers=2, epochs=3)
    assert other["n_other_files"] == 2
    assert len(other["runs"][0]["history"]) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 3},
        {"teachers": "per-seed"},
        {"setting": {"latent_dim": 3}},
        {"arms": {"vae": {"alignment_weight": 0.0, "beta": 2.0}}},
    ],
    ids=["epochs", "teachers", "setting", "arm"],
)
def test_results_of_another_setup_are_left_alone(tmp_path, monkeypatch, change):
    run(tmp_path, arms=["vae"], seeds=[0])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    fits = count_fits(monkeypatch)
    run(tmp_path, **{"arms": ["vae"], "seeds": [0], **change})
    assert len(fits) == 1
    for path, content in before.items():
        assert path.read_bytes() == content


def test_other_rows_and_other_versions_are_another_setup(tmp_path, monkeypatch):
    fits = count_fits(monkeypatch)
    small = functools.partial(
        protocol.run, arms=["vae"], seeds=[0], epochs=1, device="cpu", folder=tmp_path
    )
    X_train, X_test = rows()
    small((X_train, X_test))
    small((X_train[::-1], X_test))
    small((X_train, X_test), (np.arange(60) % 2, np.arange(8) % 2))
    monkeypatch.setattr(experiment, "versions", lambda: {"skvae": "another"})
    small((X_train, X_test))
    assert len(fits) == 4
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "no JSON", "another record"])
def test_damaged_file_is_named_and_done_again(tmp_path, uninterrupted, damage):
    run(tmp_path)
    (path,) = tmp_path.glob("vae-seed0-teacher1-*.json")
    content = path.read_bytes()
    # A digit somewhere in the history.
    place = content.index(b'"elbo": ') + 12
    flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    damaged = {
        "cut": content[:-200],
        "flipped": flipped,
        "emptied": b"",
        "no JSON": b"\xff\x00",
        "another record": b'{"sha256": "", "run": {"elbo": 1.0}}',
    }
    path.write_bytes(damaged[damage])
    with pytest.warns(DamagedResultWarning, match=path.name) as warned:
        result = run(tmp_path)
    assert len(warned) == 1
    assert Path(warned[0].filename).name == "experiment.py"
    assert written(result) == written(uninterrupted)
    assert run(tmp_path)["runs"] == result["runs"]


def test_ctrl_c_keeps_what_is_finished(tmp_path, monkeypatch, uninterrupted):
    step = VAENet.train_step
    steps = []

    def interrupted(self, *args, **kwargs):
        steps.append(None)
        if len(steps) == 10:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(VAENet, "train_step", interrupted)
    with pytest.raises(InterruptedFitWarning):
        run(tmp_path)
    kept = len(list(tmp_path.glob("*.json")))
    assert 0 < kept < len(uninterrupted["runs"])
    resumed = []
    assert written(run(tmp_path, on_resume=resumed.append)) == written(uninterrupted)
    assert resumed == [kept]


def test_file_under_another_name_is_named_and_done_again(tmp_path, uninterrupted):
    run(tmp_path)
    (path,) = tmp_path.glob("prevention-seed0-teacher0-*.json")
    content = path.read_bytes()
    # Another arm, seed, teacher or set-up: each intact, and none that which is asked for.
    run(tmp_path, arms=["prevention"], epochs=3)
    for pattern in (
        "collapse-seed0-teacher0-*.json",
        "prevention-seed1-teacher0-*.json",
        "prevention-seed0-teacher1-*.json",
        "prevention-seed0-teacher0-*.json",
    ):
        other = next(each for each in tmp_path.glob(pattern) if each != path)
        shutil.copy(other, path)
        with pytest.warns(
            DamagedResultWarning, match=f"{path.name} holds the run {other.stem}"
        ):
            result = run(tmp_path)
        assert written(result) == written(uninterrupted)
        assert written(run(tmp_path)) == written(uninterrupted)
        assert len(path.read_bytes()) == pytest.approx(len(content), abs=100)


def test_folder_that_cannot_be_written_is_refused_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file")
    monkeypatch.setattr(teacher_panel, "GaussianMixtureTeacher", None)
    for folder in (tmp_path / "file", tmp_path / "file" / "runs", str(tmp_path / "file")):
        with pytest.raises(OSError, match=f"{folder} must be a folder that can be written to"):
            run(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folder_that_holds_all_runs_need_not_be_written_to(tmp_path, monkeypatch):
    wanted = run(tmp_path, arms=["vae"])
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    assert run(tmp_path, arms=["vae"]) == wanted


def test_full_disk_is_told_with_the_path_and_finished_runs_stay(
    tmp_path, monkeypatch, uninterrupted
):
    replace = os.replace

    def full(source, target):
        if len(list(tmp_path.glob("*.json"))) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            run(tmp_path)
    assert f"{tmp_path}{os.sep}" in str(caught.value)
    assert caught.value.__notes__[0].startswith("This was ")
    assert len(list(tmp_path.iterdir())) == 3
    resumed = []
    assert written(run(tmp_path, on_resume=resumed.append)) == written(uninterrupted)
    assert resumed == [3]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_callback_that_raises_ends_the_call_with_what_is_finished(
    tmp_path, n_jobs, uninterrupted
):
    calls = []

    def stop(number):
        calls.append(number)
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        run(tmp_path, on_resume=stop, n_jobs=n_jobs)
    assert calls == [0]
    assert not list(tmp_path.iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LookupError, match="enough"):
            run(tmp_path, on_progress=stop, n_jobs=n_jobs)
    assert len(calls) == 2
    kept = len(list(tmp_path.glob("*.json")))
    assert calls[1] <= kept < len(uninterrupted["runs"])
    assert written(run(tmp_path)) == written(uninterrupted)


DEADLY = """
import os, pathlib, signal, time
from torch import nn

class Deadly(nn.Linear):
    def __init__(self, shape, latent_dim):
        # By then another run is finished.
        while not list(pathlib.Path(os.environ["SKVAE_TEST_RUNS"]).glob("fine-*.json")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED = """
import os
from concurrent.futures.process import BrokenProcessPool
import numpy as np
from deadly import Deadly
from skvae import protocol

folder = os.environ["SKVAE_TEST_RUNS"]
X = np.random.default_rng(0).normal(size=(60, 4))
options = {
    "seeds": [0], "epochs": 1, "device": "cpu", "folder": folder,
    "setting": {"latent_dim": 2, "hidden_layer_sizes": [4]},
}
try:
    protocol.run(X, arms={"fine": {}, "deadly": {"encoder": Deadly}}, n_jobs=2, **options)
except BrokenProcessPool as error:
    assert f"finished runs are kept in {folder}" in str(error), error
    assert "SIGKILL" in str(error), error
    found = []
    protocol.run(X, arms={"fine": {}}, on_resume=found.append, **options)
    assert found == [1]
    print("told")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_worker_process_is_told_and_finished_runs_stay(tmp_path):
    (tmp_path / "deadly.py").write_text(DEADLY)
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "SKVAE_TEST_RUNS": str(tmp_path / "runs"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "told\n", done.stderr
    assert not list((tmp_path / "runs").glob("*.partial"))


if __name__ == "__main__":
    kill_again_and_again(Path(sys.argv[1]))
