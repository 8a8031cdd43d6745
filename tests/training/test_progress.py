"""What is told of a fit: at each loudness, by each way of training, and after it."""

import logging
import pickle
import re

import numpy as np
import pytest
import tqdm
from sklearn.model_selection import GridSearchCV

from skvae import protocol, rescue
from skvae.exceptions import DivergenceError, InterruptedFitWarning
from skvae.model_selection import StackedGridSearchCV
from skvae.training.net import VAENet
from skvae.training.progress import epoch_in_words, epochs_in_words

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")

SETTING = {"latent_dim": 2, "hidden_layer_sizes": [4]}


def messages(caplog):
    return [each.getMessage() for each in caplog.records if each.name == "skvae"]


def last_frame(text):
    return [frame for frame in re.split(r"[\r\n]", text) if frame.strip()][-1]


@pytest.mark.parametrize("verbose", [0, False])
def test_silent_unless_asked(small_vae, clusters, capfd, caplog, verbose):
    caplog.set_level(logging.INFO)
    vae = small_vae(verbose=verbose, early_stopping=True, n_iter_no_change=1, tol=10.0)
    vae.fit(clusters).partial_fit(clusters)
    assert capfd.readouterr() == ("", "")
    assert messages(caplog) == []


@pytest.mark.parametrize("verbose", [1, True, np.True_])
def test_one_line_with_epochs_elbo_and_margin(small_vae, clusters, capfd, verbose):
    vae = small_vae(verbose=verbose).fit(clusters)
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    last = vae.history_[-1]
    words = f"ELBO {last['elbo']:.3f}, margin {last['margin']:.3f}]"
    assert "5/5" in last_frame(told.err)
    assert last_frame(told.err).endswith(words)


def test_held_out_rows_speak_where_there_are_any(small_vae, clusters, capfd):
    vae = small_vae(verbose=1, early_stopping=True).fit(clusters)
    last = vae.history_[-1]
    words = f"held-out ELBO {last['valid_elbo']:.3f}, margin {last['valid_margin']:.3f}]"
    assert last_frame(capfd.readouterr().err).endswith(words)


def test_a_line_an_epoch(small_vae, clusters, capfd):
    small_vae(verbose=2).fit(clusters)
    told = capfd.readouterr()
    assert told.err == ""
    begins, header, rule, *epochs, ends = told.out.splitlines()
    assert begins == "Training begins: 180 rows, 5 epochs at the most, on cpu."
    assert header.split()[0] == "epoch"
    assert {"elbo", "margin", "loss"} <= set(header.split())
    assert set(rule) == {"-", " "}
    assert [line.split()[0] for line in epochs] == ["1", "2", "3", "4", "5"]
    assert ends.startswith("Training is done after 5 epochs, ")


@pytest.mark.parametrize("verbose", [1, 2])
def test_the_logger_has_the_beginning_each_epoch_and_the_end(
    small_vae, clusters, caplog, verbose
):
    with caplog.at_level(logging.INFO, "skvae"):
        vae = small_vae(verbose=verbose).fit(clusters)
    begins, *epochs, ends = messages(caplog)
    assert begins == "Training begins: 180 rows, 5 epochs at the most, on cpu."
    assert epochs == [
        f"Training, epoch {record['epoch']} of 5: {epoch_in_words(record)}"
        for record in vae.history_
    ]
    assert ends.startswith("Training is done after 5 epochs, ")
    assert {each.levelno for each in caplog.records} == {logging.INFO}


@pytest.mark.parametrize("verbose", [1, 2])
def test_an_early_stop_is_told_with_its_last_epoch(small_vae, clusters, caplog, capfd, verbose):
    vae = small_vae(
        verbose=verbose, early_stopping=True, n_iter_no_change=2, tol=10.0, max_epochs=50
    )
    with caplog.at_level(logging.INFO, "skvae"):
        vae.fit(clusters)
    assert vae.n_iter_ < 50
    told = messages(caplog)
    assert "Stopping since valid_judged has not improved in the last 2 epochs." in told
    assert f"Training stopped early after {vae.n_iter_} epochs, " in "\n".join(told)
    assert sum(message.startswith("Training, epoch") for message in told) == vae.n_iter_
    drawn = capfd.readouterr()
    if verbose == 1:
        assert drawn.out == ""
        assert f"{vae.n_iter_}/50" in last_frame(drawn.err)
    else:
        numbers = re.findall(r"^ +(\d+) ", drawn.out, re.MULTILINE)
        assert numbers == [str(epoch) for epoch in range(1, vae.n_iter_ + 1)]


def interrupted_at(monkeypatch, n_steps):
    step, steps = VAENet.train_step, []

    def train_step(self, *args, **kwargs):
        steps.append(None)
        if len(steps) == n_steps:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(VAENet, "train_step", train_step)


def test_ctrl_c_closes_the_line(small_vae, clusters, monkeypatch, capfd, caplog):
    interrupted_at(monkeypatch, 6)
    vae = small_vae(verbose=1)
    with (
        caplog.at_level(logging.INFO, "skvae"),
        pytest.warns(InterruptedFitWarning, match="2 whole epochs"),
    ):
        vae.fit(clusters)
    assert messages(caplog)[-1].startswith("Training was interrupted after 2 epochs, ")
    drawn = capfd.readouterr().err
    assert drawn.endswith("\n")
    assert "2/5" in last_frame(drawn)
    assert not tqdm.tqdm._instances
    assert pickle.loads(pickle.dumps(vae)).n_iter_ == 2


def test_an_error_closes_the_line(small_vae, clusters, capfd, caplog):
    with (
        caplog.at_level(logging.INFO, "skvae"),
        pytest.raises(DivergenceError),
    ):
        small_vae(verbose=1, lr=1e30).fit(clusters)
    assert messages(caplog)[-1].startswith("Training failed after ")
    assert capfd.readouterr().err.endswith("\n")
    assert not tqdm.tqdm._instances


def test_loudness_changes_no_bit_and_leaves_nothing_in_the_model(small_vae, clusters, capfd):
    quiet, *loud = (
        small_vae(verbose=verbose, early_stopping=True).fit(clusters) for verbose in (0, 1, 2)
    )
    for vae in loud:
        np.testing.assert_array_equal(vae.transform(clusters), quiet.transform(clusters))
        assert vae.net_._progress is None
        assert vars(vae.net_).keys() - {"_progress"} == vars(quiet.net_).keys()
        twin = pickle.loads(pickle.dumps(vae))
        assert b"tqdm" not in pickle.dumps(vae)
        np.testing.assert_array_equal(twin.transform(clusters), quiet.transform(clusters))


def test_each_pass_of_a_stream_is_told(small_vae, clusters, caplog):
    with caplog.at_level(logging.INFO, "skvae"):
        vae = small_vae(verbose=1)
        for _ in range(2):
            vae.partial_fit(clusters)
    passes = [each for each in messages(caplog) if each.startswith("Training, epoch 1 of 1: ")]
    assert len(passes) == 2


def test_prefit_and_design_are_told(small_vae, clusters, caplog, capfd):
    setting = {"witness": "simplex", "prefit_epochs": 2, "max_epochs": 1}
    with caplog.at_level(logging.INFO, "skvae"):
        small_vae(verbose=1, **setting).fit(clusters)
    design, first, second, begins, *_ = messages(caplog)
    assert design.startswith("Designed margin at the sample: ")
    assert first.startswith("Prefit, epoch 1 of 2: divergence ")
    assert second.startswith("Prefit, epoch 2 of 2: divergence ")
    assert begins.startswith("Training begins: ")
    told = capfd.readouterr()
    assert told.out == ""
    assert "Prefit: 100%" in told.err


def test_a_rescue_is_told(fitted, clusters, capfd):
    rescue(fitted, clusters, max_epochs=1, verbose=2)
    last = capfd.readouterr().out.splitlines()[-1]
    assert re.fullmatch(
        r"Rescue: certified \(bound at the sample \d.\d+\) before, "
        r"certified \(bound at the sample \d.\d+\) after\.",
        last,
    )
    rescue(fitted, clusters, max_epochs=1)
    assert capfd.readouterr() == ("", "")


def test_a_stacked_search_is_told_by_folds_and_its_stacks_by_epochs(small_vae, clusters, capfd):
    def search(verbose):
        grid = {"beta": [0.5, 1.0, 2.0]}
        vae = small_vae(verbose=verbose, max_epochs=2)
        setting = {"cv": 2, "refit": False, "verbose": verbose}
        return StackedGridSearchCV(vae, grid, **setting).fit(clusters)

    search(0)
    assert capfd.readouterr() == ("", "")
    search(1)
    told = capfd.readouterr()
    assert told.out == ""
    assert last_frame(told.err).startswith("Stacked search: 100%")
    assert "Training 3 models" in told.err
    search(2)
    told = capfd.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert "Stacked search, fold 2 of 2" in lines
    assert "Fitting 2 folds for each of 3 candidates, totalling 6 fits" in lines
    epochs = [line for line in lines if line.startswith("Training 3 models, epoch ")]
    assert len(epochs) == 4
    assert re.search(r"2 of 2: ELBO -\d+\.\d+ to -\d+\.\d+, margin .* to ", epochs[-1])


def test_a_grid_search_in_processes_draws_the_refit_alone(small_vae, clusters, capfd):
    grid = {"beta": [0.5, 1.0]}
    GridSearchCV(small_vae(verbose=1), grid, cv=2, n_jobs=2).fit(clusters)
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "5/5" in last_frame(told.err)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_protocol_is_told_by_runs(clusters, tmp_path, capfd, n_jobs):
    def run(verbose):
        options = {"seeds": [0], "epochs": 1, "device": "cpu", "setting": SETTING}
        options |= {"folder": tmp_path / "runs", "n_jobs": n_jobs}
        return protocol.run(clusters, verbose=verbose, **options)

    run(2)
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"Protocol, run {number} of 3" for number in (1, 2, 3)
    ]
    assert {line.split(": ")[1].split(",")[0] for line in lines} == set(protocol.ARMS)
    assert all("uncertified, bound -" in line and "ELBO -" in line for line in lines)
    # All is there: nothing is to be told.
    run(1)
    assert capfd.readouterr() == ("", "")
    (found, *_) = (tmp_path / "runs").iterdir()
    found.unlink()
    run(True)
    told = capfd.readouterr()
    assert told.out == ""
    assert "3/3" in last_frame(told.err)


def test_words_of_an_epoch():
    record = {"elbo": -1234.5678, "margin": 0.25}
    assert epoch_in_words(record) == "ELBO -1234.568, margin 0.250"
    held_out = {**record, "valid_elbo": -2.0, "valid_margin": 0.125}
    assert epoch_in_words(held_out) == "held-out ELBO -2.000, margin 0.125"
    other = {"elbo": -3.0, "margin": -0.5}
    assert epochs_in_words([record, other]) == (
        "ELBO -1234.568 to -3.000, margin -0.500 to 0.250"
    )
    assert epochs_in_words([]) == "none is left"
