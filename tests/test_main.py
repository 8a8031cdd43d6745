"""The command line, as a person types it."""

import errno
import json
import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from sklearn.utils import Bunch

from skvae import __version__, protocol
from skvae.__main__ import main
from skvae._commands import run as command_line
from skvae.exceptions import DeviceMemoryError
from skvae.training import VAENet


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 5))[rng.integers(0, 12, 300)] + 0.1 * rng.standard_normal(
        (300, 5)
    )
    path = tmp_path / "table.npy"
    np.save(path, X)
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_table_figure_and_file(table, tmp_path, capsys):
    out = tmp_path / "new" / "results"
    status = run(
        "--data", table, "--epochs", 100, "--seeds", 2, "--device", "cpu", "--out", out
    )
    printed = capsys.readouterr()
    assert status == 0
    lines = printed.out.splitlines()
    assert lines[0].split() == [
        *("arm", "seed", "I_T", "cost(mean)", "cost(sample)", "margin(mean)"),
        *("margin(sample)", "bound(sample)", "rate", "active", "ELBO", "verdict"),
    ]
    assert [line.split()[:2] for line in lines[1:7]] == [
        [arm, seed] for arm in ("prevention", "collapse", "rescue") for seed in "01"
    ]
    verdicts = [line.split()[-1] for line in lines[1:7]]
    assert verdicts == [*2 * ["certified"], *2 * ["collapsed"], *2 * ["certified"]]
    assert "not constant in x. It\nmeans no more." in printed.out
    assert "6/6" in printed.err
    assert sorted(path.name for path in out.iterdir()) == [
        *("arms.png", "margins.png", "results.csv", "results.json", "results.jsonl"),
        *("results.md", "runs"),
    ]
    lines = (out / "results.jsonl").read_text().splitlines()
    result = json.loads((out / "results.json").read_text())
    assert result["versions"]["skvae"] == __version__
    assert result["pattern_held"] is True
    assert result["n_train"] == 240
    assert len(result["runs"]) == len(list((out / "runs").iterdir())) == 6
    assert [json.loads(line) for line in lines] == result["runs"]
    assert (out / "results.csv").read_text().count("\n") == 7
    assert (out / "results.md").read_text().count("certified raw") == 1
    assert result["runs"][0]["history"][99]["epoch"] == 100
    assert (out / "margins.png").read_bytes().startswith(b"\x89PNG")


def test_pattern_that_does_not_hold_is_said_and_is_status_one(table, tmp_path, capsys):
    arguments = ("--epochs", 1, "--seeds", 1, "--device", "cpu", "--out", tmp_path)
    assert run("--data", table, *arguments) == 1
    printed = capsys.readouterr().out
    assert "The pattern did not hold. prevention, seed 0: expected margin_mean" in printed
    assert json.loads((tmp_path / "results.json").read_text())["pattern_held"] is False


def arrays(folder):
    X = np.ones((30, 3))
    np.save(folder / "constant.npy", X)
    np.save(folder / "few.npy", np.random.default_rng(0).normal(size=(6, 3)))
    np.savez(folder / "few.npz", np.load(folder / "few.npy"))
    np.save(folder / "ten.npy", 10 * np.random.default_rng(0).normal(size=(30, 3)))
    np.save(folder / "flat.npy", X[0])
    np.save(folder / "text.npy", X.astype(str))
    X[4, 1] = np.nan
    np.save(folder / "nan.npy", X)
    np.savez(folder / "two.npz", a=X, b=X)
    (folder / "damaged.npz").write_bytes((folder / "two.npz").read_bytes()[:40])
    (folder / "damaged.npy").write_text("not an array")
    np.savez_compressed(folder / "flipped.npz", X=np.arange(3000.0).reshape(30, 100))
    flipped = bytearray((folder / "flipped.npz").read_bytes())
    flipped[200:400] = bytes(200)
    (folder / "flipped.npz").write_bytes(flipped)
    np.save(folder / "huge.npy", 1e200 * np.random.default_rng(0).normal(size=(30, 3)))
    (folder / "taken" / "results.json").mkdir(parents=True)
    (folder / "table.csv").write_text("1,2\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds: expected a whole number of at least 1, got '0'"),
        (["--epochs", "many"], "--epochs: expected a whole number"),
        (["--jobs", "-1"], "--jobs: expected a whole number"),
        (["--speed", "9"], "unrecognized arguments: --speed 9"),
        (["--device", "abacus"], "device must be 'auto', 'cpu'"),
        (["--device", "cuda:99"], "device='cuda:99' is not available here"),
        (["--data", "missing.npy"], "There is no file missing.npy"),
        (["--data", "nan.npy"], "NaN or infinite values in 1 of 30 rows (the first is row 4)"),
        (["--data", "constant.npy"], "All rows of X are equal"),
        (["--data", "few.npy"], "The teacher is constant over these 2 rows"),
        (["--data", "flat.npy"], "must hold a matrix of numbers"),
        (["--data", "text.npy"], "must hold a matrix of numbers"),
        (["--data", "two.npz"], "must hold one array, or one that is named X; it holds a, b"),
        (["--data", "damaged.npz"], "damaged.npz cannot be read: it is damaged"),
        (["--data", "damaged.npy"], "damaged.npy cannot be read: it is damaged"),
        (["--data", "flipped.npz"], "flipped.npz cannot be read: it is damaged"),
        (["--data", "huge.npy"], "The covariance of X is not finite"),
        (["--seeds", "\u00b2"], "--seeds: expected a whole number of at least 1"),
        (["--out", "taken"], "results.json in it is a folder"),
        (["--set", "lr=1e30"], "This was collapse with seed 0."),
        (["--teachers", "two"], "teachers must be 'per-seed', 'search', 'fixed:N'"),
        (
            ["--baselines", "vea"],
            "--baselines: there is no baseline 'vea'; there are vae, auto",
        ),
        (["--teachers", "fixed:0"], "teachers must be 'per-seed', 'search', 'fixed:N'"),
        (["--set", "latent_dim"], "--set: expected NAME=VALUE, got 'latent_dim'"),
        (["--set", "latent_dims=2"], "collapse: latent_dims cannot be set"),
        (["--data", "few.npy", "--architecture", "conv"], "wants images, and few.npy has none"),
        (["--data", "table.csv"], "must be a .npy or .npz file, got suffix '.csv'"),
        (["--out", "table.csv"], "table.csv is not a folder that can be written to"),
        (["--out", "table.csv/below"], "table.csv is not a folder that can be written to"),
        (["--out", 300 * "n"], "File name too long"),
        (["--max-bytes", "0"], "--max-bytes: expected a whole number of at least 1"),
        (["--data", "few.npz", "--max-bytes", "9"], "and max_bytes is 9: give a larger one"),
        (["--alignment-weight", "0"], "--alignment-weight: expected a number above 0, got '0'"),
        (["--alignment-weight", "inf"], "--alignment-weight: expected a number above 0"),
        (["--set", "likelihood=bernoulli", "--data", "ten.npy"], "wants X in [0, 1]"),
        (["--set", "image_shape=[1,8,9]"], "have 72 columns, got X of shape (1797, 64)"),
        (["--set", "max_epochs=0"], "'max_epochs' parameter of TeacherGuidedVAE"),
    ],
)
def test_unusable_options_and_data_are_one_line_and_status_two(
    tmp_path, monkeypatch, capfd, arguments, message
):
    arrays(tmp_path)
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    try:
        status = run(*arguments)
    except SystemExit as stop:
        status = stop.code
    printed = capfd.readouterr()
    assert status == 2
    assert message in printed.err
    assert printed.err.startswith("skvae: error: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_ctrl_c_writes_nothing(table, tmp_path, monkeypatch, capfd):
    def interrupted(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(VAENet, "train_step", interrupted)
    out = tmp_path / "out"
    assert run("--data", table, "--seeds", 1, "--out", out) == 130
    assert "nothing was written" in capfd.readouterr().err
    assert not out.exists()


def test_without_matplotlib_the_rest_is_written(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run(
        "--data",
        table,
        "--seeds",
        1,
        "--epochs",
        1,
        "--device",
        "cpu",
        "--out",
        tmp_path / "out",
    )
    assert (
        "No figure: Plots need matplotlib: pip install 'skvae[plot]'" in capsys.readouterr().out
    )
    assert not list((tmp_path / "out").glob("*.png"))
    assert (tmp_path / "out" / "results.json").exists()


def test_results_that_cannot_be_written_are_one_line(table, tmp_path, monkeypatch, capsys):
    def full(path, write):
        raise OSError("No space left on device")

    monkeypatch.setattr(command_line, "write_text", full)
    assert run("--data", table, "--seeds", 1, "--epochs", 1, "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err.endswith("skvae: error: No space left on device\n")


@pytest.mark.parametrize(
    "error",
    [
        BrokenProcessPool("A process that trained was killed."),
        DeviceMemoryError("'cuda' ran out of memory: try batch_size=4."),
        OSError(errno.ENOSPC, "runs/one.json could not be written: make room."),
    ],
    ids=["a killed process", "a full device", "a full disk"],
)
def test_what_ends_training_is_one_line(table, tmp_path, monkeypatch, capsys, error):
    def ended(*args, **kwargs):
        raise error

    monkeypatch.setattr(protocol, "run", ended)
    assert run("--data", table, "--out", tmp_path) == 2
    assert capsys.readouterr().err == f"skvae: error: {error}\n"


def test_full_disk_is_told_with_the_path_before_training(table, tmp_path, monkeypatch, capsys):
    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(VAENet, "train_step", None)
    out = tmp_path / "out"
    assert run("--data", table, "--out", out) == 2
    error = capsys.readouterr().err
    assert f"{out / 'runs'} must be a folder that can be written to (No space left" in error
    assert error.count("\n") == 1
    assert not out.exists()


def baselines(table, out, *arguments):
    setting = ("--set", "latent_dim=2", "--set", "hidden_layer_sizes=[8]")
    options = ("--baselines", "--teachers", "fixed:2", "--seeds", 1, "--epochs", 2)
    return run("--data", table, *options, *setting, "--device", "cpu", "--out", out, *arguments)


def test_baselines_print_a_row_an_arm_and_a_second_start_does_nothing(
    table, tmp_path, monkeypatch, capsys
):
    assert baselines(table, tmp_path / "out") == 1
    printed = capsys.readouterr()
    n_runs = 2 * len({*protocol.ARMS, *protocol.TEACHER_GUIDED, *protocol.BASELINES})
    assert f"{n_runs}/{n_runs}" in printed.err
    assert (tmp_path / "out" / "results.md").read_text() in printed.out
    assert "| vae |" in printed.out
    assert "no baseline certified" not in printed.out
    assert "prevention, seed 0, teacher 1: expected" in printed.out

    def untrained(self, *args, **kwargs):
        raise AssertionError("trained again")

    before = (tmp_path / "out" / "results.csv").read_bytes()
    monkeypatch.setattr(VAENet, "train_step", untrained)
    assert baselines(table, tmp_path / "out") == 1
    assert (tmp_path / "out" / "results.csv").read_bytes() == before


def test_baselines_can_be_named(table, tmp_path, capsys):
    options = ("--baselines", "vae,free-bits", "--teachers", "fixed:2+per-seed", "--epochs", 1)
    run("--data", table, *options, "--seeds", 1, "--device", "cpu", "--out", tmp_path)
    result = json.loads((tmp_path / "results.json").read_text())
    assert list(result["arms"]) == [
        *protocol.ARMS,
        *protocol.TEACHER_GUIDED,
        *("vae", "free-bits"),
    ]
    assert len(result["runs"]) == 3 * len(result["arms"])
    assert "18/18" in capsys.readouterr().err


def test_ctrl_c_keeps_finished_runs_and_the_same_command_goes_on(
    table, tmp_path, monkeypatch, capsys
):
    step = VAENet.train_step
    steps = []

    def interrupted(self, *args, **kwargs):
        steps.append(None)
        if len(steps) == 12:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(VAENet, "train_step", interrupted)
    out = tmp_path / "out"
    assert baselines(table, out) == 130
    kept = len(list((out / "runs").iterdir()))
    assert kept > 0
    assert "finished runs are kept in" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["runs"]
    assert baselines(table, out) == 1
    assert (out / "results.csv").exists()


def test_damaged_and_foreign_files_are_named(table, tmp_path, capsys):
    out = tmp_path / "out"

    def start(epochs):
        options = ("--seeds", 1, "--epochs", epochs, "--device", "cpu", "--out", out)
        run("--data", table, *options)
        return capsys.readouterr()

    start(1)
    (damaged,) = (out / "runs").glob("collapse-*")
    damaged.write_text("{")
    assert f"skvae: warning: {damaged} is damaged" in start(1).err
    (other,) = (out / "runs").glob("prevention-*")
    damaged.write_bytes(other.read_bytes())
    assert f"skvae: warning: {damaged} holds the run {other.stem}" in start(1).err
    assert f"3 files in {out / 'runs'} are runs of other set-ups, and were left alone." in (
        start(2).out
    )


def test_labels_and_test_rows_are_used_where_there_are_some(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((80, 4)), rng.integers(0, 2, 80)
    data = Bunch(
        data=X[:60], target=y[:60], image_shape=None, test_data=X[60:], test_target=y[60:]
    )
    monkeypatch.setattr(command_line.datasets, "load", lambda spec, **options: data)
    run("--data", "some", "--seeds", 1, "--epochs", 1, "--device", "cpu", "--out", tmp_path)
    result = json.loads((tmp_path / "results.json").read_text())
    assert (result["n_train"], result["n_test"]) == (60, 20)
    assert all(0 <= record["accuracy"] <= 1 for record in result["runs"])


def test_module_runs_and_helps():
    done = subprocess.run(
        [sys.executable, "-m", "skvae", "--help"],
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    for option in (
        *("--data", "--max-bytes", "--seeds", "--epochs", "--device", "--out", "--jobs"),
        *("--baselines", "--teachers", "--architecture", "--set", "--verbose"),
    ):
        assert option in done.stdout


@pytest.mark.parametrize("verbose", [0, 2])
def test_how_much_is_told_can_be_said(table, tmp_path, capsys, verbose):
    options = ("--seeds", 1, "--epochs", 1, "--device", "cpu", "--out", tmp_path)
    run("--data", table, *options, "--verbose", verbose)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert ("Protocol, run 3 of 3: " in printed.out) == (verbose == 2)
