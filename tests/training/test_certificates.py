"""Certificates on the way: what is recorded is what a certificate of that epoch says."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, PrecomputedTeacher
from skvae.exceptions import ConstantTeacherError, DivergenceError
from skvae.training import CertificateCallback, VAENet

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")


@pytest.mark.parametrize("latent", ["sample", "mean"])
def test_what_is_recorded_is_the_certificate_of_that_epoch(small_vae, clusters, latent):
    X, X_held_out = clusters[::2], clusters[1::2]
    certificate = ConstantCollapseCertificate(latent=latent)
    certifying = CertificateCallback(X_held_out, certificate=certificate, every=2)
    vae = small_vae(callbacks=[certifying], max_epochs=5).fit(X)
    assert [sorted(record) for record in vae.history_ if "certified_rate" in record] == [
        sorted(vae.history_[1])
    ] * 2
    assert sorted(certifying.reports_) == [0, 2, 4]
    for epoch in (2, 4):
        record, report = vae.history_[epoch - 1], certifying.reports_[epoch]
        expected = certificate.certify(small_vae(max_epochs=epoch).fit(X), X_held_out)
        assert report == expected
        at_sample = latent == "sample"
        margin = expected.margin_sample if at_sample else expected.margin_mean
        assert record["certified_margin"] == margin
        assert record["certified_lower_bound"] == expected.lower_bound
        assert record["certified_rate"] == expected.rate
        assert report.rows == "held-out"
    assert not certifying.reports_[0].certified


def test_the_default_is_the_read_that_the_decoder_has(small_vae, clusters):
    certifying = CertificateCallback(clusters[1::2], every=1)
    small_vae(callbacks=[certifying], max_epochs=1).fit(clusters[::2])
    assert certifying.reports_[1].latent == "sample"


@pytest.mark.parametrize("setting", [{}, {"early_stopping": True}])
def test_rows_of_fit_are_called_so(small_vae, clusters, setting):
    # Those that early stopping holds out choose the epoch: they were in `fit`.
    certifying = CertificateCallback(clusters[:50], every=5)
    small_vae(callbacks=[certifying], **setting).fit(clusters)
    assert {report.rows for report in certifying.reports_.values()} == {"training"}


def test_epochs_are_counted_from_the_first_of_all(small_vae, clusters):
    certifying = CertificateCallback(clusters[1::2], every=2)
    vae = small_vae(callbacks=[certifying], max_epochs=3, warm_start=True)
    vae.fit(clusters[::2]).partial_fit(clusters[::2])
    epochs = [record["epoch"] for record in vae.history_ if "certified_margin" in record]
    assert epochs == [2, 4]
    # What it holds is of the last training, and what that began with.
    assert sorted(certifying.reports_) == [3, 4]


def test_another_view_goes_to_the_teacher(small_vae, clusters):
    T = GaussianMixtureTeacher(n_components=3, random_state=0).fit(clusters)
    T = T.predict_proba(clusters)
    certifying = CertificateCallback(clusters[::2], T[::2], every=1)
    vae = small_vae(callbacks=[certifying], teacher=PrecomputedTeacher(), max_epochs=1)
    vae.fit(clusters, X_teacher=T)
    assert certifying.reports_[1].teacher_information > 0.5


class Logger(Callback):
    """Note what a logger finds in the last record."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, net, **kwargs):
        self.seen.append("certified_margin" in net.history[-1])


def test_loggers_find_margins_wherever_they_are_given(small_vae, clusters):
    first, last = Logger(), Logger()
    certifying = CertificateCallback(clusters[::2], every=2)
    small_vae(callbacks=[first, ("margins", certifying), last], max_epochs=4).fit(clusters)
    assert first.seen == last.seen == [False, True, False, True]


@pytest.mark.parametrize(
    ("rows", "settings", "error", "words"),
    [
        (slice(None), {"every": 0}, ValueError, "every must be a whole number"),
        (slice(None), {"every": True}, ValueError, "every must be a whole number"),
        (slice(None), {"certificate": 3}, TypeError, "a ConstantCollapseCertificate or None"),
        (
            slice(None),
            {"certificate": ConstantCollapseCertificate(teacher=[])},
            TypeError,
            "give a callback to each",
        ),
        (slice(0, 0), {}, ValueError, "no rows to certify"),
        ((slice(None), slice(2)), {}, ValueError, "2 features"),
        (np.zeros(9, dtype=int), {}, ConstantTeacherError, "constant over these 9 rows"),
    ],
)
def test_what_cannot_be_certified_is_refused_before_a_step(
    small_vae, clusters, rows, settings, error, words, monkeypatch
):
    def never(self, *args, **kwargs):
        raise AssertionError

    monkeypatch.setattr("skvae.training.net.VAENet.train_step", never)
    vae = small_vae(callbacks=[CertificateCallback(clusters[rows], **settings)])
    with pytest.raises(error, match=words):
        vae.fit(clusters)
    assert not hasattr(vae, "net_")


def test_weights_that_are_no_longer_finite_are_a_divergence(small_vae, clusters, monkeypatch):
    step = VAENet.train_step

    def diverging(self, *args, **kwargs):
        terms = step(self, *args, **kwargs)
        with torch.no_grad():
            next(self.module_.decoder.parameters()).fill_(torch.inf)
        return terms

    monkeypatch.setattr(VAENet, "train_step", diverging)
    vae = small_vae(callbacks=[CertificateCallback(clusters, every=1)], batch_size=200)
    with pytest.raises(DivergenceError, match="last step of epoch 1"):
        vae.fit(clusters)


def test_a_model_on_the_way_is_apart_from_the_training(small_vae, clusters):
    class Keeping(Callback):
        def __init__(self):
            self.models = []

        def on_epoch_end(self, net, **kwargs):
            self.models.append(net.model_so_far())

    keeping = Keeping()
    vae = small_vae(callbacks=[keeping], max_epochs=3).fit(clusters)
    for epoch, model in enumerate(keeping.models, start=1):
        alone = small_vae(max_epochs=epoch).fit(clusters)
        np.testing.assert_array_equal(model.transform(clusters), alone.transform(clusters))
        assert model.margin_ == alone.margin_
        assert model.n_iter_ == len(model.history_) == epoch
    # Training it on changes no other.
    codes = vae.transform(clusters)
    keeping.models[0].set_params(callbacks=None).partial_fit(clusters)
    np.testing.assert_array_equal(vae.transform(clusters), codes)
