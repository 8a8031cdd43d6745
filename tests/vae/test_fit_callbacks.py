"""Callbacks of scikit-learn: they are told of epochs, of searches, and of nothing else."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherSearch
from skvae.model_selection import StackedGridSearchCV

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has none before 1.9")

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")


class Recorder:
    """Note every call: which event, whose fit, and which task it is of."""

    def __init__(self, stops_after=None, fails_at=None):
        self.calls = []
        self.models = []
        self.stops_after = stops_after
        self.fails_at = fails_at

    def _note(self, event, estimator, context):
        self.calls.append((event, type(estimator).__name__, context.task_name))
        if self.fails_at == (event, context.task_name):
            raise ZeroDivisionError

    def setup(self, estimator, context):
        self._note("setup", estimator, context)

    def teardown(self, estimator, context):
        self._note("teardown", estimator, context)

    def on_fit_task_begin(self, estimator, context):
        self._note("begin", estimator, context)

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self._note("end", estimator, context)
        if context.task_name != "epoch":
            return False
        self.models.append(fitted_estimator)
        return context.task_id + 1 == self.stops_after

    def names(self, event):
        return [task for each, _, task in self.calls if each == event]


class Propagated(Recorder):
    """One that a search hands on to what it searches."""

    max_propagation_depth = None


def test_epochs_are_tasks_of_a_fit(small_vae, clusters):
    recorder = Recorder()
    vae = small_vae(max_epochs=3)
    plain = clone(vae).fit(clusters)
    assert vae.set_callbacks(recorder) is vae
    vae.fit(clusters)
    epoch = [("begin", "TeacherGuidedVAE", "epoch"), ("end", "TeacherGuidedVAE", "epoch")]
    assert recorder.calls == [
        ("setup", "TeacherGuidedVAE", "fit"),
        ("begin", "TeacherGuidedVAE", "fit"),
        *(3 * epoch),
        ("end", "TeacherGuidedVAE", "fit"),
        ("teardown", "TeacherGuidedVAE", "fit"),
    ]
    # Each model is that of its epoch, and stays so.
    for n_epochs, model in enumerate(recorder.models, start=1):
        alone = small_vae(max_epochs=n_epochs).fit(clusters)
        np.testing.assert_array_equal(model.transform(clusters), alone.transform(clusters))
        assert model.score(clusters) == alone.score(clusters)
    np.testing.assert_array_equal(vae.transform(clusters), plain.transform(clusters))
    assert vars(vae).keys() - vars(plain).keys() == {"_skl_callbacks"}


def test_one_that_answers_true_ends_training(small_vae, clusters):
    recorder = Recorder(stops_after=2)
    vae = small_vae(max_epochs=9).set_callbacks(recorder).fit(clusters)
    assert vae.n_iter_ == 2
    assert recorder.names("end") == ["epoch", "epoch", "fit"]


def test_a_pass_is_a_fit_of_one_epoch(small_vae, clusters):
    recorder = Recorder()
    vae = small_vae().set_callbacks(recorder)
    vae.partial_fit(clusters).partial_fit(clusters)
    assert recorder.names("end") == 2 * ["epoch", "fit"]
    assert recorder.names("teardown") == ["fit", "fit"]


@pytest.mark.parametrize(
    "moment",
    [
        ("setup", "fit"),
        ("begin", "fit"),
        ("begin", "epoch"),
        ("end", "epoch"),
        ("end", "fit"),
        ("teardown", "fit"),
    ],
)
def test_an_error_in_one_leaves_the_estimator_as_it_was(small_vae, clusters, moment):
    vae = small_vae(warm_start=True).fit(clusters)
    recorder = Recorder(fails_at=moment)
    vae.set_callbacks(recorder)
    before = dict(vars(vae))
    with pytest.raises(ZeroDivisionError):
        vae.fit(clusters)
    assert recorder.names("teardown") == ["fit"]
    if moment[0] == "teardown":
        # The fit was over.
        assert vars(vae).keys() == before.keys()
    else:
        assert vars(vae) == before


def elbo(vae, X, y=None):
    return vae.score(X)


def test_a_monitor_scores_each_epoch(small_vae, clusters):
    monitor = callback.ScoringMonitor(scoring={"elbo": elbo})
    labels = np.repeat([0, 1, 2], 60)
    vae = small_vae(max_epochs=3).set_callbacks(monitor).fit(clusters, labels)
    log = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert [row["task_id"] for row in log] == [0, 1, 2]
    assert log[-1]["elbo"] == vae.score(clusters)


def test_a_search_hands_its_callbacks_on(small_vae, clusters):
    recorder = Propagated()
    search = GridSearchCV(small_vae(max_epochs=2), {"beta": [0.5, 1.0]}, cv=2)
    search.set_callbacks(recorder).fit(clusters)
    assert recorder.names("end").count("epoch") == 2 * (4 + 1)
    assert recorder.names("teardown") == ["fit"]


def test_a_pipeline_fits_one_with_callbacks(small_vae, clusters):
    recorder = Recorder()
    vae = small_vae(max_epochs=2).set_callbacks(recorder)
    make_pipeline(StandardScaler(), vae).fit(clusters)
    assert recorder.names("end") == ["epoch", "epoch", "fit"]


@pytest.mark.parametrize("n_teachers", [1, 2])
def test_a_search_for_teachers_tells_of_each_measure(clusters, n_teachers):
    recorder = Recorder()
    search = TeacherSearch(
        {"n_components": [2, 3], "temperature": [1.0, 2.0]},
        n_teachers=n_teachers,
        random_state=0,
    )
    plain = clone(search).fit(clusters)
    search.set_callbacks(recorder).fit(clusters)
    # Candidates that differ in temperature are measured together.
    measured = 2 * n_teachers * ["measure-candidates"]
    assert recorder.names("end") == [*measured, "search", "fit-winners", "fit"]
    assert search.results_ == plain.results_
    assert vars(search).keys() - vars(plain).keys() == {"_skl_callbacks"}


def stacked(vae, **settings):
    grid = {"alignment_weight": [2.0, 10.0]}
    return StackedGridSearchCV(
        vae, grid, cv=2, scoring=ConstantCollapseCertificate(), **settings
    )


@pytest.mark.parametrize("refit", [True, False])
def test_a_stacked_search_tells_of_folds_and_hands_on_to_the_refit(small_vae, clusters, refit):
    recorder = Propagated()
    search = stacked(small_vae(max_epochs=2), refit=refit)
    plain = clone(search).fit(clusters)
    search.set_callbacks(recorder).fit(clusters)
    ends = recorder.names("end")
    assert ends[:3] == ["fold", "fold", "train"]
    assert ends.count("epoch") == (2 if refit else 0)
    # Its last part is, to the callbacks, the fit of the search inside.
    assert ends[-2:] == ["fit", "fit"]
    assert recorder.names("teardown") == ["fit"]
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )
    assert vars(search).keys() - vars(plain).keys() == {"_skl_callbacks"}


def test_a_stack_refuses_callbacks_of_its_estimator(small_vae, clusters):
    with pytest.raises(ValueError, match="set them on the search"):
        stacked(small_vae().set_callbacks(Recorder())).fit(clusters)


@pytest.mark.parametrize("name", ["callbacks", "optimizer", "lr_schedule", "max_grad_norm"])
def test_a_stack_refuses_what_it_cannot_train_with(small_vae, clusters, name):
    values = {
        "callbacks": [],
        "optimizer": torch.optim.SGD,
        "lr_schedule": "cosine",
        "max_grad_norm": 1.0,
    }
    with pytest.raises(ValueError, match=f"{name}=.* cannot be trained in a stack"):
        stacked(small_vae(**{name: values[name]})).fit(clusters)


@pytest.mark.parametrize("make", [stacked, None], ids=["stacked search", "search for teachers"])
def test_a_bar_shows_the_progress_of_searches(small_vae, clusters, make, capsys):
    pytest.importorskip("rich")
    if make is None:
        search = TeacherSearch({"n_components": [2, 3]}, n_jobs=2, random_state=0)
    else:
        search = stacked(small_vae(max_epochs=2))
    search.set_callbacks(callback.ProgressBar()).fit(clusters)
    assert "100%" in capsys.readouterr().out


def test_a_teacher_keeps_the_callbacks_that_it_was_given(small_vae, clusters):
    recorder = Recorder()
    teacher = TeacherSearch({"n_components": [2, 3]}, random_state=0).set_callbacks(recorder)
    small_vae(teacher=teacher, max_epochs=1).fit(clusters)
    assert recorder.names("end")[-1] == "fit"
    assert {who for _, who, _ in recorder.calls} == {"TeacherSearch"}


def test_without_callbacks_nobody_is_asked(small_vae, clusters, monkeypatch):
    def never(self):
        raise AssertionError

    monkeypatch.setattr("skvae.training.net.VAENet.model_so_far", never)
    vae = small_vae(teacher=GaussianMixtureTeacher(n_components=3), max_epochs=1)
    assert vae.fit(clusters).n_iter_ == 1
