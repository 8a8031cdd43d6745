"""A training that was killed goes on from its checkpoint, and ends with the same bits."""

import os
import signal
import threading
import warnings
from datetime import timedelta

import numpy as np
import pytest
from shared import SETTINGS, rows_for
from sklearn.model_selection import GridSearchCV
from torch import nn

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.exceptions import InterruptedFitWarning
from skvae.training.net import VAENet

# What would otherwise warn of a margin is not what is looked at.
pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.SlowPrecisionWarning"),
]


class Killed(BaseException):
    """What no code waits for."""


class Dropping(nn.Sequential):
    """An encoder that draws from torch's own generator."""

    def __init__(self, shape, latent_dim):
        super().__init__(nn.Linear(shape[0], 8), nn.Dropout(0.3), nn.BatchNorm1d(8))
        self.append(nn.Linear(8, 2 * latent_dim))


FURTHER = {
    "dropout": {"encoder": Dropping},
    "stops early": {
        "early_stopping": True,
        "validation_fraction": 0.3,
        "n_iter_no_change": 2,
        "tol": 0.05,
        "max_epochs": 40,
    },
    "fp16": {"precision": "fp16"},
    "guard and early stopping": {"guard": 0.05, "early_stopping": True, "max_epochs": 8},
}


def what_was_found(vae):
    state = vae.net_.module_.state_dict()
    history = [{k: v for k, v in each.items() if k != "seconds"} for each in vae.history_]
    return {k: v.numpy(force=True).tobytes() for k, v in state.items()}, history, vae.margin_


def call_at_step(monkeypatch, number, act):
    """Act in the middle of the training step with this number, counted over all nets."""
    take = VAENet.train_step
    left = [number]

    def train_step(self, *args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            act()
        return take(self, *args, **kwargs)

    monkeypatch.setattr(VAENet, "train_step", train_step)


def kill():
    raise Killed


def killed(vae, X, monkeypatch, step=4):
    """Kill the fit of an estimator, or a search, in the middle of a step."""
    with monkeypatch.context() as patch:
        call_at_step(patch, step, kill)
        with pytest.raises(Killed):
            vae.fit(X)
    return vae


@pytest.mark.parametrize("name", [*SETTINGS, *FURTHER])
def test_a_killed_fit_goes_on_to_the_bit(name, small_vae, clusters, tmp_path, monkeypatch):
    setting = {**SETTINGS, **FURTHER}[name]
    rows = rows_for(setting, clusters)
    expected = what_was_found(small_vae(**setting).fit(rows))
    vae = small_vae(**setting, checkpoint=tmp_path / "fit.skvae")
    n_killed = 0
    for number in (3, 5, 1, 4):
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call_at_step(patch, number, kill)
            try:
                vae.fit(rows)
            except Killed:
                n_killed += 1
                assert not hasattr(vae, "net_")
    assert n_killed
    assert what_was_found(vae.fit(rows)) == expected
    # One that has ended is taken as it is.
    with monkeypatch.context() as patch:
        call_at_step(patch, 1, kill)
        assert (
            what_was_found(small_vae(**setting, checkpoint=vae.checkpoint).fit(rows))
            == expected
        )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that can be killed")
def test_ten_kills_of_a_process_change_nothing(small_vae, clusters, tmp_path, monkeypatch):
    setting = {"early_stopping": True, "max_epochs": 40, "n_iter_no_change": 40}
    whole = small_vae(**setting).fit(clusters)
    vae = small_vae(**setting, checkpoint=tmp_path / "fit.skvae")
    for number in np.random.default_rng(0).integers(3, 9, size=10):
        child = os.fork()
        if child == 0:
            with monkeypatch.context() as patch:
                call_at_step(patch, number, lambda: os.kill(os.getpid(), signal.SIGKILL))
                vae.fit(clusters)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
    vae.fit(clusters)
    assert what_was_found(vae) == what_was_found(whole)
    reports = [ConstantCollapseCertificate().certify(each, clusters) for each in (vae, whole)]
    assert reports[0].to_dict() == reports[1].to_dict()


def test_a_warm_start_goes_on_too(small_vae, clusters, tmp_path, monkeypatch):
    def begun():
        return small_vae(warm_start=True).fit(clusters)

    expected = what_was_found(begun().fit(clusters))
    vae = begun().set_params(checkpoint=tmp_path / "fit.skvae")
    killed(vae, clusters, monkeypatch).fit(clusters)
    assert what_was_found(vae) == expected


def test_without_a_seed_it_goes_on_with_the_one_that_was_drawn(
    small_vae, clusters, tmp_path, monkeypatch
):
    vae = small_vae(random_state=None, checkpoint=tmp_path / "fit.skvae")
    killed(vae, clusters, monkeypatch).fit(clusters)
    again = small_vae(random_state=None, checkpoint=tmp_path / "fit.skvae").fit(clusters)
    assert what_was_found(again) == what_was_found(vae)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": 0.02}, "lr was 0.01 and is 0.02"),
        ({"random_state": 1}, "random_state was 0 and is 1"),
        ({"teacher": GaussianMixtureTeacher(n_components=2)}, "teacher was Gaussian"),
        ({"encoder": Dropping}, "encoder was None and is type"),
    ],
)
def test_the_file_of_another_fit_is_refused(
    change, words, small_vae, clusters, tmp_path, monkeypatch
):
    path = tmp_path / "fit.skvae"
    killed(small_vae(checkpoint=path), clusters, monkeypatch)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=words):
        small_vae(checkpoint=path, **change).fit(clusters)
    with pytest.raises(ValueError, match="X was"):
        small_vae(checkpoint=path).fit(clusters[:-1])
    assert path.read_bytes() == before


def test_one_that_has_ended_makes_room_for_another(small_vae, clusters, tmp_path):
    path = tmp_path / "fit.skvae"
    small_vae(checkpoint=path).fit(clusters)
    other = small_vae(checkpoint=path, lr=0.02).fit(clusters)
    assert what_was_found(other) == what_was_found(small_vae(lr=0.02).fit(clusters))


def test_a_teacher_that_says_something_else_is_refused(
    small_vae, clusters, tmp_path, monkeypatch
):
    class Fickle(GaussianMixtureTeacher):
        n_fits = 0

        def predict_proba(self, X):
            Fickle.n_fits += 1
            return np.roll(super().predict_proba(X), Fickle.n_fits, axis=1)

    vae = small_vae(checkpoint=tmp_path / "fit.skvae", teacher=Fickle(n_components=3))
    killed(vae, clusters, monkeypatch)
    with pytest.raises(ValueError, match="what the teacher says of the rows"):
        vae.fit(clusters)


def test_a_folder_has_a_file_for_each_fit_of_a_search(
    small_vae, clusters, tmp_path, monkeypatch
):
    def search(**parameters):
        return GridSearchCV(
            small_vae(**parameters), {"lr": [0.01, 0.02]}, cv=2, error_score="raise"
        )

    expected = search().fit(clusters).cv_results_["mean_test_score"]
    killed(search(checkpoint=tmp_path), clusters, monkeypatch, step=14)
    n_before = len(list(tmp_path.iterdir()))
    found = search(checkpoint=tmp_path).fit(clusters).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(found, expected)
    # Four fits, and that of the best on all rows.
    assert 1 < n_before < len(list(tmp_path.iterdir())) == 5


def test_it_is_written_when_it_is_due(small_vae, clusters, tmp_path, monkeypatch):
    def n_writings(every):
        written = []
        with monkeypatch.context() as patch:
            patch.setattr(
                "skvae.training.checkpoints.write_archive",
                lambda path, kind, record, arrays: written.append(len(record["history"])),
            )
            small_vae(checkpoint=tmp_path / "fit", checkpoint_every=every).fit(clusters)
        return written

    # After the last epoch its end is written.
    assert n_writings(1) == [1, 2, 3, 4, 5, 5]
    assert n_writings(2) == [2, 4, 5]
    assert n_writings(100) == [5]
    assert n_writings(timedelta(0)) == [1, 2, 3, 4, 5, 5]
    assert n_writings(timedelta(days=1)) == [5]


def test_partial_fit_keeps_none(small_vae, clusters, tmp_path):
    small_vae(checkpoint=tmp_path / "fit").partial_fit(clusters)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_told_before_training(
    small_vae, clusters, tmp_path, monkeypatch
):
    call_at_step(monkeypatch, 1, kill)
    with pytest.raises(ValueError, match="make it first"):
        small_vae(checkpoint=tmp_path / "nowhere" / "fit").fit(clusters)


def test_sigterm_ends_a_fit_as_ctrl_c_does(small_vae, clusters, tmp_path, monkeypatch):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    vae = small_vae(checkpoint=tmp_path / "fit.skvae")
    with monkeypatch.context() as patch:
        # An epoch has two steps.
        call_at_step(patch, 8, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.warns(InterruptedFitWarning):
            vae.fit(clusters)
    assert vae.n_iter_ == 3
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert what_was_found(vae.fit(clusters)) == what_was_found(small_vae().fit(clusters))


def test_who_handles_sigterm_keeps_it(small_vae, clusters):
    def handle(number, frame):
        raise AssertionError

    seen = []

    class Teacher(GaussianMixtureTeacher):
        def fit(self, X, y=None):
            seen.append(signal.getsignal(signal.SIGTERM))
            return super().fit(X, y)

    vae = small_vae(teacher=Teacher(n_components=3))
    in_thread = threading.Thread(target=vae.fit, args=(clusters,))
    in_thread.start()
    in_thread.join()
    try:
        signal.signal(signal.SIGTERM, handle)
        vae.fit(clusters)
        assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert seen == [signal.SIG_DFL, handle]


def test_clone_keeps_where_it_is_written(tmp_path):
    vae = TeacherGuidedVAE(checkpoint=tmp_path, checkpoint_every=timedelta(minutes=5))
    assert vae.get_params()["checkpoint_every"] == timedelta(seconds=300)
