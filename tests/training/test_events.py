"""Callbacks of skorch: what they are told, which bits they leave, how they end training."""

import copy
import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
from shared import SETTINGS, rows_for
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    GradientNormClipping,
    LRScheduler,
    PassthroughScoring,
    ProgressBar,
    TrainEndCheckpoint,
)

from skvae.exceptions import InterruptedFitWarning
from skvae.training import CertificateCallback
from skvae.training.steps import step_for
from skvae.training.stopping import StopTraining

pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.SlowPrecisionWarning"),
]


class Recorder(Callback):
    """Note all events, and what comes with them."""

    def __init__(self):
        self.events = []
        self.losses = []
        self.gradients = []

    def on_train_begin(self, net, **kwargs):
        self.events.append("train begins")

    def on_train_end(self, net, **kwargs):
        self.events.append("train ends")

    def on_epoch_begin(self, net, **kwargs):
        self.events.append("epoch begins")

    def on_epoch_end(self, net, **kwargs):
        self.events.append("epoch ends")

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.events.append("batch begins" if training else "held-out batch begins")

    def on_batch_end(self, net, batch=None, training=None, loss=None, **kwargs):
        self.events.append("batch ends" if training else "held-out batch ends")
        self.losses.append((training, len(batch[0]), loss.item()))

    def on_grad_computed(self, net, named_parameters, batch=None, training=None, **kwargs):
        assert training
        self.events.append("gradients")
        self.gradients.append({name: p.grad.clone() for name, p in named_parameters})


class Watching(Callback):
    def on_grad_computed(self, net, named_parameters, **kwargs):
        pass

    def on_batch_end(self, net, **kwargs):
        pass


class Changing(Callback):
    """Halve all gradients: where they lie, or by others in their place."""

    def __init__(self, in_place):
        self.in_place = in_place

    def on_grad_computed(self, net, named_parameters, **kwargs):
        for _, parameter in named_parameters:
            if self.in_place:
                parameter.grad.mul_(0.5)
            else:
                parameter.grad = 0.5 * parameter.grad


@pytest.mark.parametrize("name", SETTINGS)
def test_callbacks_that_watch_change_no_bit(small_vae, clusters, name):
    setting, X = SETTINGS[name], rows_for(SETTINGS[name], clusters)
    alone = small_vae(**setting).fit(X)
    callbacks = [Watching(), CertificateCallback(X[::2], every=2)]
    watched = small_vae(**setting, callbacks=callbacks).fit(X)
    for one, other in zip(
        alone.net_.module_.parameters(), watched.net_.module_.parameters(), strict=True
    ):
        assert torch.equal(one, other)
    for one, other in zip(alone.history_, watched.history_, strict=True):
        shared = one.keys() - {"seconds"}
        assert {key: one[key] for key in shared} == {key: other[key] for key in shared}


def test_all_events_come_in_order(small_vae, clusters):
    recorder = Recorder()
    small_vae(callbacks=[recorder], max_epochs=2, batch_size=100).fit(clusters)
    batch = ["batch begins", "gradients", "batch ends"]
    epoch = ["epoch begins", *batch, *batch, "epoch ends"]
    assert recorder.events == ["train begins", *epoch, *epoch, "train ends"]


def test_held_out_batches_are_told_too_and_losses_are_those_of_the_history(small_vae, clusters):
    recorder = Recorder()
    vae = small_vae(
        callbacks=[recorder],
        early_stopping=True,
        validation_fraction=0.5,
        max_epochs=1,
        batch_size=50,
    ).fit(clusters)
    assert recorder.events.count("held-out batch ends") == 2
    for training, key in ((True, "loss"), (False, "valid_loss")):
        losses = np.array([(n, loss) for t, n, loss in recorder.losses if t is training])
        mean = np.average(losses[:, 1], weights=losses[:, 0])
        assert mean == pytest.approx(vae.history_[0][key])


@pytest.mark.parametrize("setting", [{}, {"witness": "mlp"}, {"alignment_weight": 0.0}])
def test_gradients_are_those_of_autograd(small_vae, clusters, setting, monkeypatch):
    by_hand, by_autograd = Recorder(), Recorder()
    small_vae(callbacks=[by_hand], max_epochs=1, **setting).fit(clusters)
    monkeypatch.setattr("skvae.training.net.step_for", lambda *args: None)
    small_vae(callbacks=[by_autograd], max_epochs=1, **setting).fit(clusters)
    assert len(by_hand.gradients) == len(by_autograd.gradients) == 2
    for one, other in zip(by_hand.gradients, by_autograd.gradients, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-5)


def test_gradients_of_float16_are_told_as_they_are_before_scaling(small_vae, clusters):
    full, half = Recorder(), Recorder()
    small_vae(callbacks=[full], max_epochs=1, batch_size=180).fit(clusters)
    small_vae(callbacks=[half], max_epochs=1, batch_size=180, precision="fp16").fit(clusters)
    for name, gradient in full.gradients[0].items():
        torch.testing.assert_close(half.gradients[0][name], gradient, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("optimizer", [None, torch.optim.SGD])
def test_gradients_that_are_changed_are_the_ones_stepped_by(small_vae, clusters, optimizer):
    setting = {"max_epochs": 2, "optimizer": optimizer, "decoder_variance": 1.0}
    in_place, replaced = (
        small_vae(callbacks=[Changing(way)], **setting).fit(clusters).transform(clusters)
        for way in (True, False)
    )
    np.testing.assert_array_equal(in_place, replaced)
    alone = small_vae(**setting).fit(clusters).transform(clusters)
    assert not np.array_equal(in_place, alone)
    if optimizer is not None:
        # A step of half the gradient is half a step.
        halved = small_vae(**{**setting, "lr": 0.5e-2}).fit(clusters).transform(clusters)
        np.testing.assert_allclose(in_place, halved, rtol=1e-4, atol=1e-5)


def test_a_hook_makes_all_of_a_step_go_by_autograd(small_vae, clusters):
    class Hooked(Callback):
        calls = 0

        def on_train_begin(self, net, **kwargs):
            layer = net.module_.encoder.layers[0]
            self.handle_ = layer.register_forward_hook(self._count)
            assert step_for(net.module_, net.criterion_) is None

        def _count(self, *args):
            self.calls += 1

        def on_train_end(self, net, **kwargs):
            self.handle_.remove()
            assert step_for(net.module_, net.criterion_) is not None

    hooked = Hooked()
    small_vae(callbacks=[hooked], max_epochs=2, batch_size=60).fit(clusters)
    assert hooked.calls == 6


@pytest.mark.parametrize(
    "event",
    [
        "on_train_begin",
        "on_epoch_begin",
        "on_batch_begin",
        "on_grad_computed",
        "on_batch_end",
        "on_epoch_end",
        "on_train_end",
    ],
)
def test_an_error_in_a_callback_leaves_the_estimator_as_it_was(small_vae, clusters, event):
    class Failing(Callback):
        pass

    def fail(self, net, *args, **kwargs):
        raise ZeroDivisionError

    setattr(Failing, event, fail)
    vae = small_vae(warm_start=True).fit(clusters)
    vae.set_params(callbacks=[Failing()])
    before = dict(vars(vae))
    codes = vae.transform(clusters)
    with pytest.raises(ZeroDivisionError):
        vae.fit(clusters)
    assert vars(vae) == before
    np.testing.assert_array_equal(vae.transform(clusters), codes)


def test_early_stopping_of_skorch_is_no_interruption(small_vae, clusters):
    stop = EarlyStopping(monitor="loss", patience=2, threshold=1e9, threshold_mode="abs")
    recorder = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("error", InterruptedFitWarning)
        vae = small_vae(callbacks=[stop, recorder], max_epochs=50).fit(clusters)
    assert vae.n_iter_ == 3
    # Those that come after it are told of the last epoch too.
    assert recorder.events.count("epoch ends") == 3
    assert recorder.events[-1] == "train ends"


def test_a_person_may_interrupt_a_callback(small_vae, clusters):
    class Interrupted(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    with pytest.warns(InterruptedFitWarning, match="after 2 whole epochs"):
        vae = small_vae(callbacks=[Interrupted()], max_epochs=9).fit(clusters)
    assert vae.n_iter_ == 2


def test_an_epoch_that_a_callback_ends_in_the_middle_does_not_count(small_vae, clusters):
    class Ending(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise StopTraining

    vae = small_vae(callbacks=[Ending()], batch_size=60, max_epochs=9).fit(clusters)
    assert [record["epoch"] for record in vae.history_] == [1, 2]


def test_callbacks_of_skorch_work(small_vae, clusters, tmp_path, capsys):
    callbacks = [
        ProgressBar(detect_notebook=False),
        ("weights", Checkpoint(monitor=None, dirname=tmp_path)),
        ("end", TrainEndCheckpoint(dirname=tmp_path)),
        ("rates", LRScheduler("StepLR", step_size=1, gamma=0.5, event_name="event_lr")),
        ("losses", PassthroughScoring("train_loss", on_train=True)),
        GradientNormClipping(1.0),
    ]
    vae = small_vae(callbacks=callbacks, max_epochs=3, decoder_variance=1.0).fit(clusters)
    capsys.readouterr()
    records = vae.net_.history
    assert [record["event_lr"] for record in records] == pytest.approx([1e-2, 5e-3, 2.5e-3])
    for record in records:
        assert record["train_loss"] == pytest.approx(record["loss"])
    weights = torch.load(tmp_path / "train_end_params.pt", weights_only=True)
    for name, weight in vae.net_.module_.state_dict().items():
        assert torch.equal(weights[name], weight)


def test_clipping_by_a_callback_is_clipping(small_vae, clusters):
    by_callback = small_vae(callbacks=[GradientNormClipping(0.5)]).fit(clusters)
    by_parameter = small_vae(max_grad_norm=0.5).fit(clusters)
    np.testing.assert_allclose(
        by_callback.transform(clusters), by_parameter.transform(clusters), rtol=1e-4, atol=1e-5
    )


class Unpicklable(Callback):
    """Hold what cannot be copied or pickled, as a writer does."""

    def __init__(self, writer):
        self.writer = writer


def test_the_net_lets_go_of_callbacks_and_pickles_leave_out_what_they_cannot_hold(
    small_vae, clusters
):
    stop, writing = EarlyStopping(monitor="loss"), Unpicklable(threading.Lock())
    vae = small_vae(callbacks=[stop, ("writer", writing)], early_stopping=True).fit(clusters)
    assert [name for name, _ in vae.net_.callbacks] == ["bound", "stop"]
    assert {name for name, _ in vae.net_.callbacks_} == {
        "bound",
        "stop",
        "epoch_timer",
        "print_log",
    }
    with pytest.raises(RuntimeError, match="for callbacks, while fit"):
        vae.net_.model_so_far()
    with pytest.warns(UserWarning, match="Unpicklable.*cannot be pickled"):
        copied = pickle.loads(pickle.dumps(vae))
    assert [type(each) for each in copied.callbacks] == [EarlyStopping]
    np.testing.assert_array_equal(copied.transform(clusters), vae.transform(clusters))
    assert vae.callbacks == [stop, ("writer", writing)]
    assert copy.copy(vae).callbacks is vae.callbacks


def test_a_clone_has_callbacks_of_its_own_where_they_can_be_cloned(small_vae):
    stop, writing = EarlyStopping(patience=7), Unpicklable(threading.Lock())
    recorder, rows = Recorder(), np.zeros((3, 4))
    certifying = CertificateCallback(rows, every=2)
    given = [stop, ("writer", writing), recorder, certifying, EarlyStopping]
    vae = small_vae(callbacks=given)
    twin = clone(vae)
    assert twin.callbacks[0] is not stop
    assert twin.callbacks[0].patience == 7
    assert twin.callbacks[1] == ("writer", writing)
    assert twin.callbacks[2] is recorder
    assert twin.callbacks[3] is not certifying
    assert twin.callbacks[3].X is rows
    assert twin.callbacks[4] is EarlyStopping
    assert vae.callbacks is given


def test_a_search_trains_every_candidate_with_callbacks(small_vae, clusters):
    recorder = Recorder()
    search = GridSearchCV(
        small_vae(callbacks=[recorder], max_epochs=2), {"beta": [0.5, 1.0]}, cv=2
    ).fit(clusters)
    assert recorder.events.count("train ends") == 5
    assert search.best_estimator_.callbacks == [recorder]


def test_partial_fit_and_warm_fits_have_their_callbacks(small_vae, clusters):
    recorder = Recorder()
    vae = small_vae(callbacks=[recorder], max_epochs=2, warm_start=True)
    vae.partial_fit(clusters).partial_fit(clusters).fit(clusters)
    assert recorder.events.count("train begins") == 3
    assert recorder.events.count("epoch ends") == 4
    assert [record["epoch"] for record in vae.history_] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("callbacks", "error", "words"),
    [
        ([3], TypeError, "must hold callbacks of skorch"),
        ([("name", "no callback")], TypeError, "set_callbacks"),
        ([(3, EarlyStopping())], TypeError, "pairs of a name and one"),
        ([("stop", EarlyStopping())], ValueError, "'stop' 1 times.*name of its own"),
        ([("a", EarlyStopping()), ("a", EarlyStopping)], ValueError, "'a' 2 times"),
        (EarlyStopping(), ValueError, "'callbacks' parameter"),
    ],
)
def test_what_are_no_callbacks_is_refused_before_anything_is_fitted(
    small_vae, clusters, callbacks, error, words
):
    class Never:
        def fit(self, X, y=None):
            raise AssertionError

        predict_proba = fit

        def get_params(self, deep=True):
            return {}

    vae = small_vae(callbacks=callbacks, teacher=Never())
    with pytest.raises(error, match=words):
        vae.fit(clusters)


def test_callbacks_of_one_class_have_names_of_their_own(small_vae, clusters):
    one, two = Recorder(), Recorder()
    small_vae(callbacks=[one, two, EarlyStopping(monitor="loss")], max_epochs=1).fit(clusters)
    assert one.events == two.events
